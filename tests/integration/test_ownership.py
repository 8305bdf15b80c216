"""Whatever breaks a producer's membership, it is a member again, or its process ends: silence would leave its jobs to
nobody."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import GroupAuthorizationFailedError

from headrace.kafka.admin import ensure_topics
from headrace.settings import Settings
from producer.ownership import Ownership
from tests.support.waiting import until

REFUSED = GroupAuthorizationFailedError("refused once")
UNFORESEEN = RuntimeError("unforeseen")


@pytest.fixture(autouse=True)
def topics(settings: Settings) -> None:
    ensure_topics(settings.bootstrap_servers, prefix=settings.topic_prefix, partitions=settings.partitions)


@pytest.mark.parametrize(
    ("method", "error"),
    [
        ("ensure_coordinator_known", REFUSED),
        ("_do_heartbeat", REFUSED),
        ("_do_rejoin_group", REFUSED),
        ("_do_rejoin_group", UNFORESEEN),
    ],
)
async def test_a_broken_membership(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, method: str, error: Exception
) -> None:
    async with _member(settings) as (told, ownership, _):
        before, failed = len(told), _fails_once(monkeypatch, method, error)
        if method == "_do_rejoin_group":
            ownership._listener.consumer._coordinator.request_rejoin()  # type: ignore[union-attr]
        await asyncio.wait_for(failed.wait(), 60)
        await _owns_all(settings, told, before)


async def test_an_unforeseen_error_ends_the_membership(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _member(settings) as (_, _, holding):
        _fails_once(monkeypatch, "_do_heartbeat", UNFORESEEN)
        with pytest.raises(RuntimeError, match="unforeseen"):
            await asyncio.wait_for(asyncio.shield(holding), 60)


Told = list[frozenset[int] | None]


@contextlib.asynccontextmanager
async def _member(settings: Settings) -> AsyncIterator[tuple[Told, Ownership, "asyncio.Task[Any]"]]:
    """With what it was told: partitions, None where they were revoked."""
    told: Told = []

    async def revoked() -> None:
        told.append(None)

    ownership = Ownership(settings, told.append, revoked)
    holding = asyncio.create_task(ownership.hold())
    try:
        await _owns_all(settings, told)
        yield told, ownership, holding
    finally:
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
        await ownership.leave()


async def _owns_all(settings: Settings, told: Told, since: int = 0) -> None:
    async def given() -> bool:
        return len(told) > since and told[-1] == frozenset(range(settings.partitions))

    await until(given, what="all partitions")


def _fails_once(monkeypatch: pytest.MonkeyPatch, method: str, error: Exception) -> asyncio.Event:
    failed, real = asyncio.Event(), getattr(GroupCoordinator, method)

    async def failing(self: Any, *args: Any) -> Any:
        if failed.is_set():
            return await real(self, *args)
        failed.set()
        raise error

    monkeypatch.setattr(GroupCoordinator, method, failing)
    return failed
