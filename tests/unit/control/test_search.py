"""A search never sees a part of what is being undone, vacuumed or deleted, whatever comes while it is asked.

And it gives as many hits as were asked for, where there are so many."""

import threading
import uuid
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from control import search
from control.filters import Filters
from control.problems import Gone, NotFound, Problem
from control.search import MAX_CANDIDATES, Searcher, best
from control.search_request import SearchRequest
from control.view import View
from headrace.errors import DependencyUnwell
from headrace.settings import Settings
from headrace.vectors import Tenancy
from tests.unit.control.memory_log import MemoryLog, nothing

Happening = Callable[[MemoryLog], Awaitable[None]]


class Store:
    """A Weaviate whose tenants hold one chunk; `meanwhile` happens once, while the first question is on its way."""

    def __init__(self, meanwhile: Callable[[], Awaitable[None]], *, fails: bool = False) -> None:
        self._meanwhile, self._fails = meanwhile, fails
        self.query = SimpleNamespace(bm25=self._bm25)

    async def tenant(self, place: Tenancy) -> Any:
        meanwhile, self._meanwhile = self._meanwhile, nothing
        await meanwhile()
        return self

    async def _bm25(self, query: str, **_: Any) -> Any:
        if self._fails:
            self._fails = False
            raise DependencyUnwell("Weaviate", "tenant not found")
        chunk = SimpleNamespace(uuid=uuid.UUID(int=1), properties={}, metadata=SimpleNamespace(score=1.0))
        return SimpleNamespace(objects=[chunk])


async def asked(
    log: MemoryLog, happening: Happening, *, generation: int | None = None, fails: bool = False
) -> int | None:
    """The generation that the answer is of; None where nothing was searched."""
    store: Any = Store(lambda: happening(log), fails=fails)
    searcher = Searcher(log.books, store, Settings.from_env({}), lambda *_: None)
    request = SearchRequest(query="q", mode="keyword", generation=generation)
    answer = await searcher.search("docs", request)
    assert bool(answer.hits) == (answer.generation is not None)
    return answer.generation


async def rolled_back(log: MemoryLog) -> None:
    """Its command is read; that the consumer has begun to undo is not."""
    await log.desk.rollback("docs", None, by="test", reason=None)


async def published_and_vacuumed(log: MemoryLog) -> None:
    await log.published()
    await log.desk.vacuum("docs", keep=1, below=None, by="test")


async def deleted(log: MemoryLog) -> None:
    await log.desk.delete("docs", by="test", first=nothing, drop=nothing)


@pytest.mark.parametrize(
    ("happening", "named", "expected"),
    [
        (rolled_back, None, 1),
        (rolled_back, 2, NotFound),
        (rolled_back, 1, 1),
        (published_and_vacuumed, None, 3),
        (published_and_vacuumed, 2, Gone),
        (deleted, None, NotFound),
        (deleted, 2, NotFound),
    ],
)
@pytest.mark.parametrize("fails", [False, True], ids=["answers", "fails"])
async def test_what_no_longer_stands_is_not_answered_with(
    happening: Happening, named: int | None, expected: int | type[Problem], fails: bool
) -> None:
    log = MemoryLog()
    for _ in range(2):
        await log.published()
    if isinstance(expected, int):
        fails = fails and named is None  # what stands is asked once: then its trouble is Weaviate's
        assert await asked(log, happening, generation=named, fails=fails) == expected
    else:
        with pytest.raises(expected):
            await asked(log, happening, generation=named, fails=fails)


@pytest.mark.parametrize(("named", "expected"), [(None, 1), (2, NotFound)])
async def test_a_rollback_counts_from_before_it_is_durable(named: int | None, expected: int | type[Problem]) -> None:
    """The consumer may have read it, and deleted, before control reads its own command back."""
    log = MemoryLog()
    for _ in range(2):
        await log.published()
    found: list[Any] = []

    async def search() -> None:
        try:
            found.append(await asked(log, lambda log: nothing(), generation=named))
        except NotFound:
            found.append(NotFound)

    log.between = search
    await rolled_back(log)
    assert found == [expected]


async def test_a_vacuum_counts_from_before_it_is_durable() -> None:
    log = MemoryLog()
    for _ in range(2):
        await log.published()
    refused: list[Gone] = []

    async def search() -> None:
        try:
            await asked(log, lambda log: nothing(), generation=1)
        except Gone as gone:
            refused.append(gone)

    log.between = search
    await log.desk.vacuum("docs", keep=1, below=None, by="test")
    assert len(refused) == 1


async def test_a_cancelled_job_is_not_searched_provisionally() -> None:
    log = MemoryLog()
    command = await log.started()
    log.state(command, "open")
    assert await asked(log, lambda log: nothing()) == 1
    log.active.add(command.job_id)

    async def cancel(log: MemoryLog) -> None:
        await log.desk.change("docs", "cancel", by="test", reason=None)

    assert await asked(log, cancel) is None


async def test_a_rollback_that_the_consumer_refuses_hides_nothing() -> None:
    """Written by hand for a generation that the newest one builds on: that one is searched whole."""
    log = MemoryLog()
    first = await log.published()
    await log.published()
    log.told(msgspec.structs.replace(first, revision=2, desired="rolled_back"))
    assert log.books.undone("docs") == frozenset()
    assert await asked(log, lambda log: nothing()) == 2


class Tenant:
    """A Weaviate that finds these, best first; `asked` are the limits of its questions."""

    def __init__(self, found: list[dict[str, Any]]) -> None:
        self._found, self.asked = found, list[int]()
        self.query = SimpleNamespace(bm25=self._bm25)

    async def _bm25(self, query: str, *, limit: int, **_: Any) -> Any:
        self.asked.append(limit)
        score = SimpleNamespace(score=1.0)
        found = enumerate(self._found[:limit])
        return SimpleNamespace(
            objects=[SimpleNamespace(uuid=uuid.UUID(int=n), properties=each, metadata=score) for n, each in found]
        )


def chunks(number: int, *, text: str = "text {}", url: str = "https://h.example/a/{}") -> list[dict[str, Any]]:
    return [{"text": text.format(n), "url": url.format(n)} for n in range(number)]


async def hits(tenant: Tenant, **asked: Any) -> tuple[int, bool]:
    request = SearchRequest(query="q", mode="keyword", **asked)
    found, more = await best(tenant, request, None, View(1))  # type: ignore[arg-type]
    return len(found), more


async def test_more_is_asked_for_until_there_are_enough_that_differ() -> None:
    tenant = Tenant(chunks(60, text="same") + chunks(60))
    assert await hits(tenant, k=5) == (5, False)
    assert tenant.asked == [20, 80]
    tenant = Tenant(chunks(60, text="same") + chunks(60))
    assert await hits(tenant, k=5, fold=False) == (5, False)
    assert tenant.asked == [5]


async def test_where_nothing_more_is_found_there_are_fewer() -> None:
    assert await hits(Tenant(chunks(30, text="same")), k=5) == (1, False)
    assert await hits(Tenant([]), k=5) == (0, False)


async def test_there_is_a_bound_to_what_is_looked_at_and_it_is_told() -> None:
    tenant = Tenant(chunks(3_000) + chunks(5, url="https://h.example/b/{}"))
    assert await hits(tenant, k=5, filters=Filters(path="/b/*")) == (0, True)
    assert tenant.asked[-1] == MAX_CANDIDATES
    tenant = Tenant(chunks(1_000) + chunks(9, url="https://h.example/b/{}"))
    assert await hits(tenant, k=5, filters=Filters(path="/b/*")) == (5, False)


@pytest.mark.parametrize("name", ["fold", "highlights"])
async def test_what_takes_processor_time_leaves_the_event_loop_alone(monkeypatch: Any, name: str) -> None:
    """100 hits of usual length are a tenth of a second to fold, and 2,000 candidates more than one."""
    does, threads = getattr(search, name), set[int]()

    def seen(*args: Any) -> Any:
        threads.add(threading.get_ident())
        return does(*args)

    monkeypatch.setattr(search, name, seen)
    log = MemoryLog()
    await log.published()
    assert await asked(log, lambda log: nothing()) == 1
    assert threads and threading.get_ident() not in threads
