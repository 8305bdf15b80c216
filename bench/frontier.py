"""Memory and time of the frontier alone, with all URLs discovered and none visited.

    python -m bench frontier [--urls 1000000]

Baseline: the same entries in a deque beside a set of the URLs, as a crawler does it that keeps all in memory. Each runs
in a process of its own; the memory told is what it takes beyond an empty process (RSS).
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from bench.rig import line
from producer.frontier import Entry, Frontier

LINKS = 50
"""New URLs on one page: so many entries name the same page as the one that led to them."""


def entries(urls: int) -> Iterator[Entry]:
    url = "https://docs.example.org/3/library/section-{}/module-{}/page.html".format
    page = ""
    for number in range(urls):
        if number % LINKS == 0:
            page = url(number // 5_000, number // LINKS)
        yield Entry(url(number // 100, number), 1 + (number > urls // 3), page)


def in_memory(urls: int, _: Path) -> Callable[[], Entry | None]:
    seen: set[str] = set()
    waiting: deque[Entry] = deque()
    for entry in entries(urls):
        if entry.url not in seen:
            seen.add(entry.url)
            waiting.append(entry)
    return lambda: waiting.popleft() if waiting else None


def ours(urls: int, directory: Path) -> Callable[[], Entry | None]:
    frontier = Frontier(directory=directory)
    for entry in entries(urls):
        frontier.add(entry)
    return frontier.pop


FILLED = {"in_memory": in_memory, "ours": ours}


def measure(name: str, urls: int) -> None:
    """In a process of its own: prints MB, and microseconds per URL to add and to take it."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as directory:
        rss, started = psutil.Process().memory_info().rss, time.perf_counter()
        pop = FILLED[name](urls, Path(directory))
        added_s, taken = time.perf_counter() - started, 0
        mb = (psutil.Process().memory_info().rss - rss) / 1e6
        started = time.perf_counter()
        while pop() is not None:
            taken += 1
        assert taken == urls
        print(mb, 1e6 * added_s / urls, 1e6 * (time.perf_counter() - started) / urls)


def main(urls: int) -> None:
    print(f"frontier: {urls} URLs discovered, {LINKS} to a page; time includes making them up")
    figures = {}
    for name, label in (("in_memory", "deque and set"), ("ours", "frontier")):
        command = [sys.executable, "-m", "bench.frontier", "--measure", name, "--urls", str(urls)]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        mb, add_us, pop_us = figures[name] = [float(each) for each in told]
        line(label, mb, "MB", f"{add_us:.1f} us to add, {pop_us:.1f} us to take")
    line("ratio of memory", figures["ours"][0] / figures["in_memory"][0], "x")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--urls", type=int, default=1_000_000)
    parser.add_argument("--measure", choices=FILLED)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.measure, arguments.urls)
    else:
        main(arguments.urls)
