"""CPU work in other processes: a page's bytes to its chunks, without stalling the event loop.

A worker that dies (a crash in C code, the kernel's out-of-memory killer) fails every page in flight, and nobody knows
whose fault it was. So each of them is tried once more, alone in a fresh process: who breaks that one is to blame.
"""

import asyncio
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec

from producer.chunker import ChunkText, chunk
from producer.content.document import Document, NotExtractable
from producer.content.template import Sketch
from producer.extract import UNKNOWN, Site, extract
from schemas.kb import Strategy, Tokenizer

PAGE_LIMIT_S: Final = 20.0
"""Time for one page. The slowest real page seen, 1 MB of HTML, takes 0.2 s; the rest is for a busy machine."""
KILL_AFTER_S: Final = 3 * PAGE_LIMIT_S
"""A worker that the alarm could not stop (it waits for C code to return) is killed after this."""
PAGE_MEMORY_BYTES: Final = 1 << 30
"""What one page may take beyond what its process has already. Trees of the largest pages that are read take a fifth;
a PDF of 9 KB can unpack to 6 GB. Where C code ends its process for want of memory, the page is to blame: see above."""
MAX_TRIES: Final = 2


class PageInput(msgspec.Struct, frozen=True):
    """A fetched page and how to cut it. `url` is canonical; the two headers are as received. `with_text`: for
    who wants to see the whole text."""

    url: str
    body: bytes
    content_type: str | None = None
    x_robots_tag: str | None = None
    max_tokens: int = 512
    overlap_tokens: int = 50
    strategy: Strategy = "structure"
    tokenizer: Tokenizer = "cl100k"
    site: Site = UNKNOWN
    with_text: bool = False


class PageOutput(msgspec.Struct, frozen=True):
    """What the crawl needs of a page. With `failure` set, the page has no content and the reason is there;
    `limited` when that is a limit of ours, and not what the page is.

    `content_hash`: sha256 hex; empty on failure. `links`, `nofollow_links` as in `Document`.
    `text_chars`: the text's length. `text`: as Markdown, where it was asked for.
    `template`, `sketch` as in `Document`.
    """

    url: str
    title: str = ""
    language: str | None = None
    canonical_url: str | None = None
    refresh_to: str | None = None
    description: str | None = None
    published_on: str | None = None
    noindex: bool = False
    nofollow: bool = False
    nofollow_links: tuple[str, ...] = ()
    content_hash: str = ""
    method: str = ""
    template: str | None = None
    sketch: Sketch | None = None
    text_chars: int = 0
    text: str = ""
    links: tuple[str, ...] = ()
    chunks: tuple[ChunkText, ...] = ()
    failure: str | None = None
    limited: bool = False
    extract_ms: float = 0.0
    chunk_ms: float = 0.0


class _PageTimeout(BaseException):
    """Not an Exception, so that no library's `except Exception` swallows it."""


def process_page(page: PageInput) -> PageOutput:
    """Extract and chunk. Never raises for what the page holds; raises ValueError for impossible limits."""
    started = time.perf_counter()
    try:
        with _time_limit(PAGE_LIMIT_S), _memory_limit(PAGE_MEMORY_BYTES):
            document = extract(page.url, page.body, page.content_type, page.x_robots_tag, page.site)
            extracted = time.perf_counter()
            chunks = chunk(document, page.url, page.max_tokens, page.overlap_tokens, page.strategy, page.tokenizer)
    except NotExtractable as error:
        return PageOutput(page.url, failure=error.reason, limited=error.limited, links=error.links)
    except _PageTimeout:
        return PageOutput(page.url, failure=f"took longer than {PAGE_LIMIT_S:.0f} s to read", limited=True)
    except (MemoryError, RecursionError) as error:
        failure = f"too large or too deep to read ({type(error).__name__})"
        return PageOutput(page.url, failure=failure, limited=True)
    return _output(page, document, chunks, (extracted - started, time.perf_counter() - extracted))


def _output(page: PageInput, document: Document, chunks: list[ChunkText], spent_s: tuple[float, float]) -> PageOutput:
    return PageOutput(
        url=page.url,
        title=document.title,
        language=document.language,
        canonical_url=document.canonical_url,
        refresh_to=document.refresh_to,
        description=document.description,
        published_on=document.published_on,
        noindex=document.noindex,
        nofollow=document.nofollow,
        nofollow_links=document.nofollow_links,
        content_hash=document.content_hash,
        method=document.method,
        template=document.template,
        sketch=document.sketch,
        text_chars=sum(len(block.text) for block in document.blocks),
        text=document.text if page.with_text else "",
        links=tuple(document.links),
        chunks=tuple(chunks),
        extract_ms=spent_s[0] * 1e3,
        chunk_ms=spent_s[1] * 1e3,
    )


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise _PageTimeout in this thread after a while. Only a process's main thread can; elsewhere no limit."""
    try:
        previous = signal.signal(signal.SIGALRM, _on_alarm)
    except ValueError:
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@contextlib.contextmanager
def _memory_limit(more_bytes: int) -> Iterator[None]:
    """MemoryError beyond so much more address space. Only in a worker: elsewhere other threads, and the children that
    they start, would be bound by it. And only where /proc tells what there is."""
    if multiprocessing.parent_process() is None:
        yield
        return
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = pages * resource.getpagesize() + more_bytes
    tighter = wanted if soft == resource.RLIM_INFINITY else min(wanted, soft)
    resource.setrlimit(resource.RLIMIT_AS, (tighter, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _on_alarm(_signal: int, _frame: FrameType | None) -> None:
    raise _PageTimeout


def _prepare_worker() -> None:
    """Load what the first page would wait for. Ctrl-C is the parent's affair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    process_page(PageInput("https://warm.example/", b"<main><h1>Warm</h1><p>up</p></main>", "text/html"))


def _end_with_parent() -> None:
    """A parent that was killed can't end its workers, and they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _pid() -> int:
    return os.getpid()


class ContentPool:
    """Processes that read pages. `start`, then `process` from one event loop, then `stop`.

    `work` is for tests; it must be importable by the workers.
    """

    def __init__(
        self,
        workers: int | None = None,
        kill_after_s: float = KILL_AFTER_S,
        work: Callable[[PageInput], PageOutput] = process_page,
    ) -> None:
        self._workers = workers or os.cpu_count() or 1
        self._kill_after_s, self._work = kill_after_s, work
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["producer.work"])
        self._executor: ProcessPoolExecutor | None = None
        self._alone = asyncio.Lock()
        # Bounded, so that the time limit counts work and not the wait in a long queue.
        self._in_flight = asyncio.Semaphore(2 * self._workers)

    async def start(self) -> None:
        """Start the workers; returns when each has answered, ready for pages."""
        self._executor = self._new(self._workers)
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(self._executor, _pid) for _ in range(self._workers)))

    async def process(self, page: PageInput) -> PageOutput:
        """The page's content. A page that breaks its process MAX_TRIES times comes back with `failure` set."""
        async with self._in_flight:
            if (executor := self._executor) is None:
                raise RuntimeError("ContentPool.start has not been awaited, or stop has")
            try:
                return await self._run(executor, page)
            except (BrokenProcessPool, TimeoutError):
                # This page may be bad, or another one in flight: the pool is replaced, the page tried alone.
                self._replace(executor)
            return await self._try_alone(page)

    async def stop(self) -> None:
        """Wait for pages in work, then end the processes."""
        executor, self._executor = self._executor, None
        if executor is not None:
            await asyncio.to_thread(executor.shutdown, wait=True, cancel_futures=True)

    async def _run(self, executor: ProcessPoolExecutor, page: PageInput) -> PageOutput:
        future = asyncio.get_running_loop().run_in_executor(executor, self._work, page)
        return await asyncio.wait_for(future, self._kill_after_s)

    async def _try_alone(self, page: PageInput) -> PageOutput:
        async with self._alone:
            executor = self._new(1)
            try:
                return await self._run(executor, page)
            except (BrokenProcessPool, TimeoutError) as error:
                why = "did not finish" if isinstance(error, TimeoutError) else "crashed"
                return PageOutput(page.url, failure=f"reading it {why}, {MAX_TRIES} times", limited=True)
            finally:
                _kill(executor)

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        """Once per broken pool: the pages in flight all report it."""
        if self._executor is broken:
            self._executor = self._new(self._workers)
            _kill(broken)

    def _new(self, workers: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(workers, mp_context=self._context, initializer=_prepare_worker)


def _kill(executor: ProcessPoolExecutor) -> None:
    """End the processes now. Python 3.14 has `kill_workers`; before it, the processes are private."""
    for process in list((getattr(executor, "_processes", None) or {}).values()):
        process.kill()
    # Futures left over end as BrokenProcessPool; cancelled ones would look like cancelled callers.
    executor.shutdown(wait=False)
