"""Pages per second on one core: extraction and chunking, beside readability-lxml alone on the same pages.

    python -m bench.extract [--pages 60] [FOLDER OR FILE ...]

Without arguments the pages are what `pydoc` writes about the standard library's modules: present on any machine, but
frameless, so readability is never needed. Name a folder of HTML for others. Pages above 200 KB are left out.

Time is CPU time of this process, so that a busy machine does not blur the figures.
"""

import argparse
import logging
import pydoc
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from readability.readability import Document as Readability

from producer.work import PageInput, PageOutput, process_page

T = TypeVar("T")
MAX_PAGE_BYTES = 200_000
PYDOC_MODULES = (
    "argparse asyncio ast collections csv datetime decimal email functools json logging os pathlib re shutil socket "
    "sqlite3 ssl statistics string subprocess tarfile threading typing unittest urllib uuid xml zipfile"
).split()


def main() -> None:
    arguments = _arguments()
    pages = _pages(arguments.paths, arguments.pages)
    if not pages:
        sys.exit("no pages found")
    sizes = [len(page.body) for page in pages]
    process_page(pages[0])
    outputs, seconds = _timed(process_page, pages)
    median_kb, mean_kb = statistics.median(sizes) / 1e3, statistics.mean(sizes) / 1e3
    print(f"{len(pages)} pages, median {median_kb:.0f} KB, mean {mean_kb:.0f} KB")
    _report(outputs, seconds)
    _, baseline_s = _timed(_readability, pages)
    print(f"readability-lxml alone: {len(pages) / sum(baseline_s):8.1f} pages per CPU second   {_spread(baseline_s)}")
    print(f"ratio:                  {sum(baseline_s) / sum(seconds):8.1f}")


def _report(outputs: list[PageOutput], seconds: list[float]) -> None:
    chunks = sum(len(output.chunks) for output in outputs)
    print(f"extract and chunk:      {len(outputs) / sum(seconds):8.1f} pages per CPU second   {_spread(seconds)}")
    extract_ms, chunk_ms = sum(o.extract_ms for o in outputs), sum(o.chunk_ms for o in outputs)
    print(f"  extract {extract_ms:.0f} ms, chunk {chunk_ms:.0f} ms, {chunks} chunks")
    methods = Counter(output.method or "failure" for output in outputs).most_common()
    print("  main part by " + ", ".join(f"{name}: {n}" for name, n in methods))


def _spread(seconds: list[float]) -> str:
    ordered = sorted(1e3 * one for one in seconds)
    p95 = ordered[int(len(ordered) * 0.95)]
    return f"median {statistics.median(ordered):.1f} ms, p95 {p95:.1f} ms, max {ordered[-1]:.1f} ms"


def _timed(work: Callable[[PageInput], T], pages: list[PageInput]) -> tuple[list[T], list[float]]:
    results, seconds = [], []
    for page in pages:
        started = time.process_time()
        results.append(work(page))
        seconds.append(time.process_time() - started)
    return results, seconds


def _readability(page: PageInput) -> str:
    try:
        return str(Readability(page.body.decode("utf-8", "replace")).summary(html_partial=True))
    except Exception as error:  # a baseline that fails on a page is still timed on it
        return repr(error)


def _pages(paths: list[Path], limit: int) -> list[PageInput]:
    bodies = _files(paths) if paths else _pydoc_pages()
    found = [body for body in bodies if len(body) <= MAX_PAGE_BYTES]
    step = max(1, len(found) // limit)
    chosen = found[::step][:limit]
    return [PageInput(f"https://bench.example/{n}.html", body, "text/html") for n, body in enumerate(chosen)]


def _files(paths: list[Path]) -> Iterator[bytes]:
    for path in paths:
        for file in sorted(path.rglob("*.html")) if path.is_dir() else [path]:
            yield file.read_bytes()


def _pydoc_pages() -> Iterator[bytes]:
    writer = pydoc.HTMLDoc()
    for name in PYDOC_MODULES:
        module = pydoc.locate(name)
        yield writer.page(name, writer.document(module, name)).encode()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--pages", type=int, default=60)
    logging.disable(logging.CRITICAL)
    return parser.parse_args()


if __name__ == "__main__":
    main()
