"""A failure deletes nothing that its generation's state does not give up."""

from types import SimpleNamespace
from typing import Any

import pytest

from consumer.completion import Completion
from consumer.stalls import Stalls
from schemas.events import Event
from tests.unit.consumer.made import command, crawl_end, item


class World:
    """What a failing `crawl_end` meets: a generation that can be undone or not, its objects, and what is told."""

    def __init__(self, *, undoable: bool) -> None:
        self.undoable = undoable
        self.deleted: list[int] = []
        self.told: list[Event] = []

    def state(self, command: Any) -> None:
        return None

    async def open(self, command: Any, epoch: int) -> None: ...

    async def undo(self, place: Any, what: Any) -> Any:
        if isinstance(what, str):  # of the state, with the reason
            return self.undoable
        self.deleted += what
        return len(what)

    async def publish(self, event: Event, partition: int) -> None:
        self.told.append(event)

    async def bitten(self, command: Any) -> None: ...

    async def refresh(self) -> None: ...


@pytest.mark.parametrize(("undoable", "result", "deleted"), [(True, "done", [1]), (False, "superseded", [])])
async def test_what_was_published_or_opened_anew_meanwhile_keeps_its_objects(
    undoable: bool, result: str, deleted: list[int]
) -> None:
    world: Any = World(undoable=undoable)
    judge: Any = SimpleNamespace(
        reviewing=set(), refresh=world.refresh, cancelled=lambda job_id: False, outdated=lambda item: False,
        newest=lambda command: command,
    )  # fmt: skip
    unused: Any = None
    completion = Completion(
        store=world, stalls=Stalls(world), generations=world, prover=unused, missing=unused, parking=world,
        parked=SimpleNamespace(of=lambda job_id: [], requeued_through=lambda job_id: -1), reports=world, judge=judge,
    )  # type: ignore[arg-type]  # fmt: skip
    assert await completion.end(command(), item(crawl_end(failure="no page could be fetched"))) == result
    assert (world.deleted, len(world.told)) == (deleted, len(deleted))
