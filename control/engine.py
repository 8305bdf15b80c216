"""Everything behind HTTP, as one object: what was read, who writes, and how far starting has come."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from confluent_kafka import KafkaException, TopicCollection

from control import answers
from control.ailments import Ailments
from control.bill import Bill
from control.books import Books
from control.budgets import Budgets, reader
from control.desk import Desk
from control.estimates import Estimates
from control.offsets import OffsetWatch
from control.preconditions import tag_of
from control.problems import Problem, Unavailable
from control.projection import Projection
from control.questions import refused_places, started_jobs
from control.retry import Retrier
from control.search import Searcher
from control.snapshots import Snapshots
from control.sql import Sql
from control.token_audit import TokenAudit
from control.watch import Gone, Hub
from control.webhooks import Webhooks
from control.writer import Fenced, Writer
from headrace.embedding.endpoints import endpoints
from headrace.kafka.admin import absence, admin_client
from headrace.kafka.publisher import Publisher
from headrace.kafka.startup import topics_ready
from headrace.prices import Prices
from headrace.service import worker_name
from headrace.settings import Settings
from headrace.vectors import VectorStore
from schemas.commands import JobCommand
from schemas.events import Place
from schemas.kb import KbDefined

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_S = 1.0
"""How long Kafka may take to answer at first, before the reason on /readyz says that it is away."""
PAUSE_WAIT_S = 10.0
"""How long a stop waits for jobs to be paused: less than supervisors give a process before they kill it."""


class Engine:
    """`start` until `unready` is None, `failure` while it serves, `stop`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.unready: str | None = "starting"
        self._chores = asyncio.Event()
        self._ailments = Ailments(on_change=self._ailing)
        self.projection = Projection(
            settings.data_dir / "projection.duckdb",
            on_applied=self._applied,
            ailments=self._ailments,
        )
        self._books = Books(
            settings.bootstrap_servers,
            prefix=settings.topic_prefix,
            on_change=self._kb_changed,
            on_refused=self._chores.set,
        )
        self.hub = Hub()
        self.snapshots = Snapshots(
            self._books,
            self.projection,
            self._ailments,
            on_change=self._status_changed,
            watched=lambda: self.hub.watchers > 0 or self.webhooks.any,
        )
        self.webhooks = Webhooks(
            settings.webhooks,
            settings.data_dir / "webhooks.sqlite",
            kbs=lambda: [kb.kb_id for kb in self._books.kbs.all()],
            jobs=self._books.jobs,
            status_of=self.snapshots.of,
        )
        self.store = VectorStore(settings)
        self.estimates = Estimates()
        self.sql = Sql(self.projection, settings.data_dir)
        self._source = worker_name("control")
        self.writer = Writer(settings.bootstrap_servers, prefix=settings.topic_prefix, source=self._source)
        self._publisher = Publisher(settings.bootstrap_servers, prefix=settings.topic_prefix, source=self._source)
        self._prices = Prices(settings.prices)
        self._bill = Bill(self._publisher, self._prices, self._source)
        self.searcher = Searcher(self._books, self.store, settings, self._bill.add)
        self._desk: Desk | None = None
        self._retrier: Retrier | None = None
        self._offsets: OffsetWatch | None = None
        self._budgets: Budgets | None = None
        self._working: list[asyncio.Task[None]] = []
        """What no request asks for; the bill is beside it, since it tells the rest as it stops."""
        self._billing: asyncio.Task[None] | None = None

    @property
    def desk(self) -> Desk:
        """Raises Unavailable until all is read."""
        self.check_ready()
        assert self._desk is not None
        return self._desk

    @property
    def retrier(self) -> Retrier:
        """Raises Unavailable until all is read."""
        self.check_ready()
        assert self._retrier is not None
        return self._retrier

    @property
    def books(self) -> Books:
        """Raises Unavailable until all is read."""
        self.check_ready()
        return self._books

    def check_ready(self) -> None:
        if self.unready is not None:
            raise Unavailable(self.unready, code="not-ready", retry_after_s=1)

    async def start(self) -> None:
        """Takes up the service. Raises ProjectionLocked, ProjectionForbidden or Fenced.

        1. The projection's file is ours, so no second control shares it.
        2. Kafka is there and its topics are.
        3. The older writer is fenced; only then is the log read to its end, so nothing comes behind what is known.
        4. What was refused while no control ran is reported.
        """
        await self.projection.open()
        await asyncio.to_thread(self.sql.clear)
        self.unready = f"connecting to Kafka at {self.settings.bootstrap_servers}"
        partitions = await topics_ready(self.settings, away=self._away)
        self.unready = "taking over from an earlier control instance"
        await self.writer.start()
        self.unready = "reading the log"
        self._books.start()
        await self._books.catch_up()
        identity = await self._retried(lambda: log_identity(self.settings))
        prefix = self.settings.topic_prefix
        await self.projection.start(self.settings.bootstrap_servers, prefix=prefix, log_identity=identity)
        await self.projection.catch_up()
        self._books.settle(await self.projection.read(started_jobs))
        await self._watch_offsets(partitions)
        self._desk = Desk(
            self._books,
            self.writer,
            self.snapshots.job_of,
            partitions=partitions,
            openai_available=self.settings.openai_available,
            prices=self._prices,
            endpoints=endpoints(self.settings),
        )
        self._budgets = Budgets(self._books, self._desk, reader(self.projection))
        await self._publisher.start()
        self._retrier = Retrier(
            self.settings,
            self._books,
            self.projection,
            self._publisher,
            self.snapshots.job_of,
            partitions=partitions,
        )
        reported = await self.projection.read(refused_places)
        audit = TokenAudit(self.settings.tokens, self._desk, self.projection)
        self._working = [
            asyncio.create_task(self._do_chores(self._desk, reported), name="chores"),
            asyncio.create_task(self._budgets.run(), name="budgets"),
            asyncio.create_task(audit.run(), name="token audit"),
        ]
        self._billing = self._bill.start(partitions)
        self.webhooks.start()
        self.unready = None
        for kb in self._books.kbs.all():
            self._tell_of(kb.kb_id)
        log.info("ready")

    async def failure(self) -> None:
        """Returns never; raises what makes going on impossible."""
        fenced = asyncio.create_task(self.writer.fenced.wait())
        assert self._billing is not None
        own = [*self._working, self._billing]
        tasks = [
            fenced,
            asyncio.create_task(self._books.failure()),
            asyncio.create_task(self.projection.failure()),
            asyncio.create_task(self.snapshots.failure()),
            asyncio.create_task(self._publisher.failed()),
            asyncio.create_task(self.webhooks.failure()),
            *own,
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancelled(task for task in tasks if task not in own)
        for task in done:
            if task is fenced:
                self.unready = "another control instance took over"
                raise Fenced(self.unready)
            task.result()

    async def pause_all(self) -> None:
        """Pauses running jobs and waits, a while, until they are paused."""
        active = [kb.kb_id for kb in self._books.kbs.all() if not kb.deleted]
        paused = []
        for kb_id in active:
            for command in self._books.jobs(kb_id)[:1]:
                job = await self.snapshots.job_of(command)
                if job.active and command.desired == "running":
                    paused.append(await self.desk.change(kb_id, "pause", by="shutdown", reason="shutdown"))
        waits = [
            self.snapshots.wait_for(command, lambda s: s.status == "paused", timeout_s=PAUSE_WAIT_S)
            for command in paused
        ]
        for answer in await asyncio.gather(*waits):
            log.info("job %s of %s is %s", answer.job_id, answer.kb_id, answer.status)

    async def stop(self) -> None:
        await self.webhooks.stop()
        await _cancelled(self._working)
        await self._bill.stop()
        if self._offsets:
            await self._offsets.stop()
        await self.snapshots.stop()
        await self._books.stop()
        await self.writer.stop()
        await self._publisher.stop()
        await self.projection.stop()
        await self.searcher.stop()
        await self.store.stop()

    def _applied(self, jobs: set[str]) -> None:
        self.snapshots.touch(jobs)
        if self._budgets:
            self._budgets.touch(jobs)

    def _ailing(self) -> None:
        """While it starts, what hinders is why; once it serves, every status says it."""
        if self.unready is not None:
            self.unready = "; ".join(f"{each.dependency}: {each.reason}" for each in self._ailments.all()) or "starting"
        self.snapshots.touch_all()

    def _away(self, reason: str) -> None:
        self.unready = reason

    async def _retried(self, call: Callable[[], T]) -> T:
        """Runs a blocking call in a thread until Kafka answers it."""
        while True:
            try:
                return await asyncio.to_thread(call)
            except KafkaException as exc:
                self.unready = absence(self.settings.bootstrap_servers, exc)
                log.warning("%s; trying again", self.unready)
                await asyncio.sleep(RETRY_S)

    async def _watch_offsets(self, partitions: int) -> None:
        settings = self.settings
        self._offsets = OffsetWatch(
            settings.bootstrap_servers,
            group=settings.consumer_group,
            topic=settings.topic("chunks"),
            partitions=partitions,
            wanted=self.snapshots.wants_offsets,
            on_change=self.snapshots.touch_partitions,
            ailments=self._ailments,
        )
        await self._offsets.start()
        self.snapshots.start(self._offsets)

    def _kb_changed(self, kb_id: str) -> None:
        self.snapshots.touch_kb(kb_id)
        self.webhooks.touch(kb_id)
        if self.unready is None:
            self._tell_of(kb_id)
        if self._books.switching(kb_id):
            self._chores.set()

    def kb_answer(self, kb: KbDefined) -> answers.KbAnswer:
        published = self.books.kbs.published(kb.kb_id)
        active = self._active_job(kb.kb_id)
        return answers.KbAnswer(
            kb_id=kb.kb_id,
            definition=kb.definition,
            etag=tag_of(kb.definition),
            last_generation=kb.last_generation,
            published_generation=published.generation if published else None,
            active_job_id=active.job_id if active else None,
            updated_at=kb.updated_at,
        )

    def _active_job(self, kb_id: str) -> JobCommand | None:
        newest = next(iter(self.books.jobs(kb_id)), None)
        return newest if newest is not None and self.snapshots.active(newest.job_id) else None

    def partitions(self, seen: Callable[[str], bool]) -> list[answers.PartitionAnswer]:
        """Names knowledge bases that are `seen`."""
        kbs: dict[int, list[str]] = {}
        for kb in self.books.kbs.all():
            if seen(kb.kb_id) and (job := self._active_job(kb.kb_id)) is not None:
                kbs.setdefault(job.partition, []).append(kb.kb_id)
        known = self._offsets.all() if self._offsets else {}
        return [
            answers.PartitionAnswer(
                partition=partition,
                committed=offsets.committed,
                end=offsets.end,
                lag=offsets.lag,
                kbs=sorted(kbs.get(partition, [])),
            )
            for partition, offsets in sorted(known.items())
        ]

    def _status_changed(self, answer: answers.StatusAnswer, newest: bool) -> None:
        self.webhooks.changed(answer)
        if not newest:
            return
        self.hub.tell("status", answer.kb_id, answer)
        if self.unready is None:
            self._tell_of(answer.kb_id)

    def _tell_of(self, kb_id: str) -> None:
        kb = self._books.kbs.get(kb_id)
        if kb is not None and kb.deleted:
            self.hub.tell("deleted", kb_id, Gone(kb_id))
        elif kb is not None:
            self.hub.tell("kb", kb_id, self.kb_answer(kb))

    async def _do_chores(self, desk: Desk, reported: set[Place]) -> None:
        """What no request asks for."""
        while True:
            try:
                await desk.catch_up()
                await desk.report_refusals(lambda refused: refused.place in reported)
            except Problem as exc:  # Kafka is away: the records stand where they stood
                log.warning("what nobody asked for waits: %s", exc.detail)
                await asyncio.sleep(RETRY_S)
                continue
            await self._chores.wait()
            self._chores.clear()


def log_identity(settings: Settings) -> str:
    """Names the log that the projection is made from: cluster, topics and their incarnation. Blocks.

    Raises KafkaException.
    """
    admin = admin_client(settings.bootstrap_servers)
    names = [settings.topic("events"), settings.topic("pages")]
    cluster = admin.list_topics(timeout=10).cluster_id
    described = admin.describe_topics(TopicCollection(names), request_timeout=10)
    return " ".join([str(cluster), *(f"{name}={described[name].result().topic_id}" for name in names)])


async def _cancelled(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    waiting = list(tasks)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
