"""How soon control answers 1,000 status requests a second while 500 watch by server-sent events and a job runs.

    python -m bench.watchers [--watchers 500] [--rate 1000] [--seconds 20] [--full-speed]

Baseline: the same requests while nobody watches, in the same run. Requests come at fixed times, and each is timed from
when it was due, so that a slow answer counts for those that wait behind it. The job is one that politeness bounds, as
for one site it is; `--full-speed` takes whatever both cores give.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import count
from urllib.parse import urlsplit

import uvloop

from bench.rig import Rig, line, rig

CONNECTIONS = 64
DELAY_S = 0.05
"""Between two pages of the polite job: 20 pages/s."""
PATH = "/api/ingestion/kb/bench/status"
DEADLINE_S = 30.0


async def benchmark(watchers: int, rate: int, seconds: float, *, full_speed: bool) -> None:
    async with rig(20_000, min_kb=8, max_kb=20) as built:
        await built.start()
        definition = built.definition() | {"crawl": {"delay_s": 0.0 if full_speed else DELAY_S}}
        await built.api.start("bench", definition)
        await built.api.until_metric("bench", "chunks_processed", 1)
        pace = "at full speed" if full_speed else f"of {1 / DELAY_S:.0f} pages/s"
        print(f"watchers: {rate} status requests/s for {seconds:.0f} s, while a job {pace} runs on the same two cores")
        alone = await _load(built, rate, seconds)
        _say("nobody watches", alone, alone)
        watched = [Watcher() for _ in range(watchers)]
        watching = [asyncio.create_task(each.watch(built.api.url)) for each in watched]
        await _until(lambda: all(each.statuses for each in watched), "every watcher is told of the job")
        before = [each.statuses for each in watched]
        beside = await _load(built, rate, seconds)
        told = [each.statuses - first for each, first in zip(watched, before, strict=True)]
        _say(f"{watchers} watch", beside, alone)
        line("status events to each watcher, median", statistics.median(told) / seconds, "/s", f"least {min(told)}")
        await _all_see_the_pause(built, watched)
        for task in watching:
            task.cancel()


class Watcher:
    """Reads the stream as fast as it comes; `newest` is the last `status` event's data."""

    def __init__(self) -> None:
        self.statuses, self.newest = 0, b""

    async def watch(self, url: str) -> None:
        reader, _ = await _asked(url, "/api/ingestion/events")
        kind = b""
        while said := await reader.readline():
            if said.startswith(b"event: "):
                kind = said[7:-1]
            elif said.startswith(b"data: ") and kind == b"status":
                self.statuses, self.newest = self.statuses + 1, said


async def _all_see_the_pause(built: Rig, watched: list[Watcher]) -> None:
    began = time.monotonic()
    await built.api.ok("POST", "/kb/bench/pause")
    await _until(lambda: all(b'"desired":"paused"' in each.newest for each in watched), "every watcher sees the pause")
    line("POST pause until the last watcher sees it", (time.monotonic() - began) * 1e3, "ms")


async def _load(built: Rig, rate: int, seconds: float) -> list[float]:
    """Seconds from when each request was due."""
    due = count()
    taken: list[float] = []
    began = time.monotonic() + 0.1
    workers = [_requests(built.api.url, due, began, rate, int(rate * seconds), taken) for _ in range(CONNECTIONS)]
    await asyncio.gather(*workers)
    return taken


async def _requests(url: str, due: Iterator[int], began: float, rate: int, most: int, taken: list[float]) -> None:
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    request = f"GET {PATH} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n\r\n".encode()
    while (number := next(due)) < most:
        at = began + number / rate
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = next(each for each in head.lower().split(b"\r\n") if each.startswith(b"content-length:"))
        await reader.readexactly(int(length[15:]))
        taken.append(time.monotonic() - at)
    writer.close()


async def _asked(url: str, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    return reader, writer


async def _until(reached: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not reached():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.01)


def _say(label: str, taken: list[float], baseline: list[float]) -> None:
    line(f"GET status, p50, {label}", statistics.median(taken) * 1e3, "ms")
    note = "" if taken is baseline else f"{_p99(taken) / _p99(baseline):.1f} x without watchers"
    line(f"GET status, p99, {label}", _p99(taken) * 1e3, "ms", note)


def _p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--watchers", type=int, default=500)
    parser.add_argument("--rate", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--full-speed", action="store_true")
    chosen = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(benchmark(chosen.watchers, chosen.rate, chosen.seconds, full_speed=chosen.full_speed))
