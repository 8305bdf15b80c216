"""The story of one record: read -> judged -> embedded -> written -> told -> acked -> committed."""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

import faust
from confluent_kafka import KafkaException

from consumer.calls import Calls, Profiles
from consumer.completion import Completion
from consumer.embed import EmbedStage
from consumer.generations import Generations
from consumer.health import Health
from consumer.item import Batch, Item, item_of
from consumer.judge import Judge
from consumer.keeper import Keeper
from consumer.ledger import Ledger
from consumer.losses import Losses
from consumer.missing import Missing
from consumer.offsets import Offsets
from consumer.parking import Parking
from consumer.proof import Prover
from consumer.reports import Reports
from consumer.settle import SettleStage
from consumer.shares import Shares
from consumer.spent import Spent
from consumer.stalls import Stalls
from consumer.stream import (
    NO_GENERATION,
    back_off_on_metadata,
    commit_offsets,
    committed_offsets,
    consume,
    fetch_all_but,
    log_end,
    log_start,
    make_app,
)
from consumer.tasks import Tasks
from consumer.upkeep import Upkeep
from consumer.vector_cache import VectorCache
from consumer.window import Window, split
from headrace.embedding import embedder_for
from headrace.kafka.follower import Follower
from headrace.kafka.publisher import Publisher
from headrace.kafka.records import RawRecord
from headrace.kafka.startup import topics_ready
from headrace.prices import Prices
from headrace.service import worker_name
from headrace.settings import Settings
from headrace.state.commands import Commands
from headrace.state.kbs import KnowledgeBases
from headrace.state.parked import Parked
from headrace.vectors import VectorStore
from schemas.chunks import Chunk
from schemas.commands import JobCommand
from schemas.kb import GenerationState, KbDefined
from schemas.topics import MAX_LETTER_BYTES

log = logging.getLogger(__name__)


MOST_SET_ASIDE = 2_048
"""Records that are set aside together, nothing of which is embedded: their outcomes are one record of some 300 KB."""
STREAM_STOP_S = 18.0
"""The drain, and a little for leaving the group."""
LAST_REPORTS_S = 2.0
CLOSE_S = 1.0


class Consumer:
    """`start`, `stop`; `crashed` resolves when the program is at fault."""

    def __init__(self, settings: Settings, partitions: int) -> None:
        self._settings = settings
        self._largest_batch = max(settings.embed_batch, min(4 * settings.embed_batch, MOST_SET_ASIDE))
        worker = worker_name("consumer")
        self._publisher = Publisher(
            settings.bootstrap_servers,
            prefix=settings.topic_prefix,
            source=worker,
            max_record_bytes=MAX_LETTER_BYTES,
        )
        commands, kbs, parked = (
            Commands(on_change=self._command_changed),
            KnowledgeBases(self._kbs_changed, self._hidden),
            Parked(),
        )
        self.follower = Follower(
            settings.bootstrap_servers,
            {"commands": commands.apply, "kbs": kbs.apply, "parked": parked.apply},
            prefix=settings.topic_prefix,
        )
        self._store = VectorStore(settings)
        self._profiles = Profiles(lambda embedding: embedder_for(embedding, settings))
        self._reports = Reports(self._publisher, worker)
        stalls = Stalls(self._reports, lambda: self.window.term)
        self._judge = Judge(self.follower, commands, kbs)
        self._shares = Shares(self._judge, settings.embed_batch)
        generations = Generations(self._publisher, self.follower, kbs, partitions)
        losses = Losses(self._reports, generations)
        parking = Parking(settings, self._publisher, self.follower, parked, losses)
        tasks = Tasks()
        self._failed = tasks.failed
        self._upkeep = Upkeep(
            commands=commands,
            kbs=kbs,
            generations=generations,
            store=self._store,
            stalls=stalls,
            reports=self._reports,
            tasks=tasks,
            partitions=partitions,
        )
        ledger = Ledger(
            self._reports,
            self._judge,
            Prices(settings.prices),
            Spent(settings, self._publisher),
            lambda: self.window.term,
        )
        self._calls = Calls(self._profiles, stalls, self._judge.may_embed, ledger)
        self._keeper = Keeper(
            commands=commands,
            parked=parked,
            judge=self._judge,
            generations=generations,
            parking=parking,
            stalls=stalls,
            store=self._store,
            probe=self._calls.probe,
            reports=self._reports,
            tasks=tasks,
        )
        completion = Completion(
            store=self._store,
            stalls=stalls,
            generations=generations,
            prover=Prover(settings, self._store, stalls, generations),
            missing=Missing(settings, self._publisher, parking, generations, self._judge, self._reports),
            parking=parking,
            parked=parked,
            reports=self._reports,
            judge=self._judge,
        )
        under_way = settings.embed_window + partitions - 1  # batches: a partition with none may always begin one
        cache = VectorCache(under_way * settings.embed_batch)
        embed = EmbedStage(self._judge, self._shares, stalls, self._store, self._calls, cache, self._keeper.step_aside)
        settle = SettleStage(
            self._judge,
            stalls,
            self._store,
            self._publisher,
            parking,
            completion,
            self._reports,
            self._keeper.parked,
            live=lambda batch: batch.group_generation == self.window.term,
            late_s=settings.session_s / 2,
        )
        self.app: faust.App = make_app(settings)
        self.window = Window(
            width=settings.embed_window,
            most_records=self._largest_batch,
            cut=self._batches,
            prepare=embed.prepare,
            settle=settle.settle,
            generation=lambda: self.app.consumer_generation_id,
            commit=self._commit,
            crash=self.app.crash,
            hold=lambda partitions: fetch_all_but(self.app, partitions),
        )
        self._keeper.window = self.window
        self._offsets = Offsets(
            settings,
            commands,
            generations,
            self._reports,
            losses,
            tasks,
            committed=lambda partitions: committed_offsets(self.app, settings.topic("chunks"), partitions),
            ends=lambda partitions: log_end(self.app, settings.topic("chunks"), partitions),
            commit=lambda offsets: commit_offsets(self.app, settings.topic("chunks"), offsets),
        )
        self._topic = settings.topic("chunks")
        self._taking_up: asyncio.Task[None] | None = None
        self._watching: list[asyncio.Future[None]] = []
        consume(self.app, settings, self._handle)
        self.app.on_partitions_revoked.connect(self._revoked)  # type: ignore[arg-type]
        self.app.on_partitions_assigned.connect(self._assigned)  # type: ignore[arg-type]
        self.app.on_before_shutdown.connect(self._before_shutdown)  # type: ignore[arg-type]

    async def start(self) -> None:
        await self._publisher.start()
        self.follower.start()
        await self.follower.catch_up()  # before joining: the others keep working meanwhile
        self.window.start()
        self._failed.add_done_callback(lambda done: asyncio.ensure_future(self._crash(done)))
        for failed in (self.follower.failed(), self._publisher.failed()):
            self._watching.append(asyncio.ensure_future(failed))
            self._watching[-1].add_done_callback(lambda done: asyncio.ensure_future(self._crash(done)))
        self.app.finalize()
        await self.app.start()

    async def stop(self) -> None:
        """Ends in bounded time, whatever hangs: what is cut off here is delivered again, and done again."""
        for watching in self._watching:
            watching.cancel()
        if self.app.started:
            await _at_most(STREAM_STOP_S, self.app.stop(), "the stream")
        await self._released()
        await self.window.stop()
        await _at_most(CLOSE_S, self._calls.stop(), "calls of the embedding API")
        await self.follower.stop()
        await _at_most(LAST_REPORTS_S, self._publisher.drain(), "the last reports")
        await self._publisher.stop()
        await _at_most(CLOSE_S, self._profiles.stop(), "the embedders")
        await _at_most(CLOSE_S, self._store.stop(), "Weaviate's client")

    async def _handle(self, events: list[Any]) -> None:
        await self.window.submit(events)

    def _batches(self, events: list[Any]) -> list[Batch]:
        items = [item_of(_raw(event.message)) for event in events]
        for item in items:
            self._judge.note(item)
            self._shares.note(item)
            command = self._judge.command_known(item.job_id)
            item.waits = command is not None and self._shares.waits(item, command)
        return split(items, events, self.app.consumer_generation_id, self._batch_size)

    def _batch_size(self, item: Item) -> int:
        if item.waits:
            return self._largest_batch
        command = self._judge.command_known(item.job_id) if isinstance(item.event, Chunk) else None
        if command is None:
            return self._settings.embed_batch
        return min(self._settings.embed_batch, self._profiles.of(command.definition.embedding).max_texts)

    async def _revoked(self, app: faust.App, revoked: set[Any], **kwargs: Any) -> None:
        """The flow is stopped and the partitions are still ours: finish what is under way."""
        self.window.gate.clear()
        await self._released()
        await self.window.drain()

    async def _assigned(self, app: faust.App, assigned: set[Any], **kwargs: Any) -> None:
        """Returns at once: no heartbeat goes out before, and what took longer than a session would never end."""
        self._taking_up = asyncio.create_task(self._take_up({tp for tp in assigned if tp.topic == self._topic}))
        self._taking_up.add_done_callback(lambda done: asyncio.ensure_future(self._crash(done)))

    async def _take_up(self, partitions: set[Any]) -> None:
        if self.app.consumer_generation_id == NO_GENERATION:
            return  # the gate stays shut until the next assignment
        starts = await log_start(self.app, partitions)
        await self.follower.catch_up()
        self._reports.group_generation = self.app.consumer_generation_id
        begins = await self._offsets.settle(starts)
        if begins is None:
            return
        self.window.assigned(begins)
        mine = frozenset(tp.partition for tp in partitions)
        self._keeper.assigned(mine)
        self._upkeep.assigned(mine)
        log.info("owns partitions %s", sorted(mine))
        self.window.gate.set()

    async def _before_shutdown(self, app: faust.App, **kwargs: Any) -> None:
        self.window.gate.clear()
        await self._released()
        await self.window.drain()

    async def _released(self) -> None:
        if self._taking_up is not None:
            self._taking_up.cancel()
            await asyncio.wait({self._taking_up})
        self._upkeep.release()
        self._offsets.release()
        await self._keeper.release()

    async def _commit(self) -> None:
        if not self.app.crashed and self.app.started:
            await self.app.consumer.commit()

    async def _crash(self, failed: "asyncio.Future[None]") -> None:
        exc = None if failed.cancelled() else failed.exception()
        if exc:
            await self.app.crash(exc)

    def _kbs_changed(self, event: KbDefined | GenerationState) -> None:
        self._upkeep.changed(event)

    def _hidden(self, state: GenerationState) -> None:
        self._upkeep.hidden(state)

    def _command_changed(self, command: JobCommand) -> None:
        self._keeper.command_changed(command)
        self._calls.reconsider()
        self._calls.give_way(self._shares.gives_way)
        self._offsets.command_changed(command)


async def _at_most(seconds: float, stopping: Awaitable[Any], what: str) -> None:
    """Waits for what stops, but not for ever."""
    try:
        async with asyncio.timeout(seconds):
            await stopping
    except TimeoutError:
        log.warning("%s did not end within %.0f s: left behind", what, seconds)
    except KafkaException as exc:
        log.warning("%s: %s", what, exc)


def _raw(message: Any) -> RawRecord:
    return RawRecord(
        topic="chunks",
        partition=message.partition,
        offset=message.offset,
        key=message.key,
        value=message.value,
        headers=_headers(message.headers),
        timestamp_ms=int((message.timestamp or 0) * 1000),
    )


def _headers(headers: Any) -> tuple[tuple[str, bytes | None], ...]:
    return tuple(headers.items() if isinstance(headers, dict) else headers or ())


async def main(settings: Settings, stop: asyncio.Event) -> None:
    """Runs until `stop`; raises what crashed it."""
    back_off_on_metadata()
    ready = asyncio.ensure_future(topics_ready(settings))
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({ready, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not ready.done():
        ready.cancel()
        return
    consumer = Consumer(settings, ready.result())
    health = Health(settings, consumer.app, consumer.window, consumer.follower)
    await health.start()
    try:
        await _serve(consumer, stopping)
    finally:
        await consumer.stop()
        await health.stop()
    if consumer.app.crash_reason:
        raise consumer.app.crash_reason


async def _serve(consumer: Consumer, stopping: "asyncio.Future[Any]") -> None:
    async def serve() -> None:
        await consumer.start()
        await consumer.app.wait_until_stopped()

    serving = asyncio.ensure_future(serve())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        await serving
        if not stopping.done() and consumer.app.crash_reason is None:
            raise RuntimeError("the stream ended by itself")
    else:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
