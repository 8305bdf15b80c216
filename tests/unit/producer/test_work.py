"""The process pool: pages in, chunks out, and what a bad page can do to it."""

import asyncio
import os
import resource
import signal
import threading
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from producer import work
from producer.content.document import NotExtractable
from producer.work import ContentPool, PageInput, PageOutput, process_page

HTML = b"<title>T</title><main><h1>Head</h1><p>" + b"Water runs. " * 40 + b"</p><a href=b.html>b</a></main>"
GOOD = PageInput("https://h.example/a", HTML, "text/html")


def work_or_die(page: PageInput) -> PageOutput:
    """Runs in a worker: the body says what goes wrong there."""
    if page.body == b"die":
        os.kill(os.getpid(), signal.SIGKILL)
    if page.body == b"hang":
        threading.Event().wait()
    if page.body == b"hoard":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(work, "extract", lambda *_: bytearray(2 * work.PAGE_MEMORY_BYTES))
            return process_page(page)
    return process_page(page)


@pytest_asyncio.fixture(scope="module")
async def pool() -> AsyncIterator[ContentPool]:
    one = ContentPool(workers=2, work=work_or_die, kill_after_s=6.0)
    await one.start()
    yield one
    await one.stop()


def test_a_page_becomes_chunks() -> None:
    output = process_page(GOOD)
    assert (output.title, output.method, output.failure) == ("T", "main", None)
    assert output.links == ("https://h.example/b.html",)
    assert output.chunks[0].heading_path == ("Head",)
    assert len(output.content_hash) == 64


def test_a_page_without_text_is_an_outcome() -> None:
    output = process_page(PageInput("https://h.example/a", b"GIF89a", "application/pdf"))
    assert output.failure == "GIF data under the content type application/pdf"


def test_a_feed_is_no_page_and_its_links_are_there() -> None:
    output = process_page(PageInput("https://h.example/a", b"<rss><item><link>/b</link></item></rss>", "text/xml"))
    assert (output.failure, output.links) == ("an RSS feed: 1 link", ("https://h.example/b",))


def test_a_page_that_takes_too_long_is_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "PAGE_LIMIT_S", 0.05)
    monkeypatch.setattr(work, "extract", lambda *_: time.sleep(30))
    assert "took longer" in (process_page(GOOD).failure or "")


async def test_the_pool_gives_the_same_as_the_function(pool: ContentPool) -> None:
    outputs = await asyncio.gather(*(pool.process(GOOD) for _ in range(10)))
    assert {output.chunks for output in outputs} == {process_page(GOOD).chunks}


@pytest.mark.parametrize(("body", "why"), [(b"die", "crashed"), (b"hang", "did not finish")])
async def test_a_page_that_breaks_its_process_fails_alone(pool: ContentPool, body: bytes, why: str) -> None:
    bad = PageInput("https://h.example/bad", body, "text/html")
    outputs = await asyncio.gather(*(pool.process(page) for page in [GOOD, bad, GOOD, GOOD]))
    assert outputs[1].failure == f"reading it {why}, 2 times"
    assert [output.failure for output in outputs if output is not outputs[1]] == [None] * 3
    assert (await pool.process(GOOD)).failure is None


async def test_a_page_that_takes_too_much_memory_is_an_outcome(pool: ContentPool) -> None:
    output = await pool.process(PageInput("https://h.example/a", b"hoard", "text/html"))
    assert (output.limited, output.failure) == (True, "too large or too deep to read (MemoryError)")
    assert (await pool.process(GOOD)).failure is None


def test_the_memory_of_others_is_not_bound() -> None:
    """Threads of this process, and what it starts, have limits of their own."""
    seen: list[tuple[int, int]] = []

    def look(*_: object) -> None:
        seen.append(resource.getrlimit(resource.RLIMIT_AS))
        raise NotExtractable("seen")

    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "extract", look)
        process_page(GOOD)
    assert seen == [before]


async def test_a_pool_that_was_not_started_says_so() -> None:
    with pytest.raises(RuntimeError, match="start"):
        await ContentPool(1).process(GOOD)
