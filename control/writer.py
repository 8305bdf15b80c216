"""The one writer of commands and KB definitions: a transactional producer that fences every older instance.

Order, and what a crash between leaves:

1. `init_transactions`: the older instance's open transaction is aborted, and it can commit nothing more.
2. the caller reads `commands` and `kbs` to the end. A crash before: nothing was written.
3. one transaction per decision: command, audit event, and the KB's new generation number, all or none.
4. the caller waits until it has read its own records back before it answers. A crash before: the command stands,
   the client has no answer, and repeats it under its Idempotency-Key.

Tests: a second instance in the middle of commands, `integration/test_control_faults.py`; the transaction and the
repetition, `integration/test_control.py`.
"""

import asyncio
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from control.problems import Unavailable
from headrace import tracing
from headrace.kafka.publisher import BASE_CONFIG
from headrace.kafka.servers import Servers
from schemas.codec import Headers, encode, headers_for
from schemas.commands import JobCommand
from schemas.events import Event, Place

log = logging.getLogger(__name__)

TRANSACTION_TIMEOUT_MS = 30_000
"""The broker aborts what is open longer: readers of `commands` wait no longer than this for a dead instance."""
CALL_S = 5.0
"""One blocking call of the client; repeated until it is decided."""
ANSWER_S = 15.0
"""How long a caller waits for a commit before it is told that Kafka is away."""


class Fenced(RuntimeError):
    """Another control instance took over; this process must end."""


@dataclass(frozen=True)
class Outgoing:
    event: Event
    partition: int


@dataclass(frozen=True)
class Written:
    """`topic` is the name without the prefix."""

    topic: str
    place: Place


class Writer:
    """`start` (fences), `commit`, `stop`. Commits run one at a time on the writer's own thread."""

    def __init__(self, bootstrap_servers: Servers, *, prefix: str, source: str) -> None:
        self._prefix, self._source = prefix, source
        self._config: dict[str, Any] = BASE_CONFIG | {
            **Servers(bootstrap_servers).librdkafka(),
            "client.id": source,
            "transactional.id": prefix + "control",
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            "message.timeout.ms": TRANSACTION_TIMEOUT_MS,
            "linger.ms": 0,
            "log_level": 0,  # it would write past the log, and what is wrong comes by the next line
            "error_cb": self._report,
        }
        self._closing = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._pending: asyncio.Future[list[Written]] | None = None
        self.fenced = asyncio.Event()

    async def start(self) -> None:
        """Fences the older instance; tries until Kafka is there. Raises Fenced where a newer one came meanwhile."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._begin)

    async def stop(self) -> None:
        """A commit that is not decided yet is left to the broker, which aborts it in time."""
        self._closing.set()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=True)

    async def commit(self, outgoing: Sequence[Outgoing]) -> list[Written]:
        """Writes all or nothing; gives the places. Call `settled` first.

        Raises:
            Unavailable: Kafka is away; nothing was written, or that isn't known yet (the text says which).
            Fenced: another instance took over; `fenced` is set.
        """
        loop = asyncio.get_running_loop()
        traced = tracing.headers()  # here: the thread knows no current span
        for each in outgoing:
            if isinstance(each.event, JobCommand):  # by which the pages of its crawl are found
                tracing.note({"headrace.job_id": each.event.job_id, "headrace.kb_id": each.event.kb_id})
        self._pending = asyncio.ensure_future(
            loop.run_in_executor(self._thread, self._transact, list(outgoing), traced)
        )
        done, _ = await asyncio.wait([self._pending], timeout=ANSWER_S)
        if not done:
            raise Unavailable("Kafka is away; whether the command was taken will show in the status")
        pending, self._pending = self._pending, None
        if isinstance(pending.exception(), Fenced):
            self.fenced.set()
        return pending.result()

    async def settled(self) -> list[Written]:
        """What a commit wrote whose caller gave up waiting; raises Unavailable while that is undecided."""
        if self._pending is None:
            return []
        done, _ = await asyncio.wait([self._pending], timeout=CALL_S)
        if not done:
            raise Unavailable("Kafka is away; an earlier command is not decided yet", retry_after_s=5)
        pending, self._pending = self._pending, None
        error = pending.exception()
        if isinstance(error, Fenced):
            self.fenced.set()
            raise error
        return [] if error else pending.result()

    def _begin(self) -> None:
        self._producer = Producer(self._config)
        while True:
            try:
                self._producer.init_transactions(CALL_S)
                return
            except KafkaException as exc:
                _raise_if_fenced(exc)
                log.warning("can't begin as the writer yet: %s", exc.args[0].str())
                self._wait_s(1.0)

    def _transact(self, outgoing: Sequence[Outgoing], traced: Headers) -> list[Written]:
        reported: list[Message] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:  # else the commit raises it
                reported.append(message)

        try:
            self._producer.begin_transaction()
            for each in outgoing:
                self._produce(each, traced, delivered)
            self._conclude(self._producer.commit_transaction)
        except KafkaException as exc:
            _raise_if_fenced(exc)
            self._conclude(self._producer.abort_transaction)
            raise Unavailable(f"Kafka did not take the command: {exc.args[0].str()}") from exc
        return [self._written(message) for message in reported]

    def _produce(self, each: Outgoing, traced: Headers, delivered: Any) -> None:
        self._producer.produce(
            self._prefix + each.event.TOPIC,
            key=each.event.key().encode(),
            value=encode(each.event),
            headers=[*headers_for(each.event, self._source), *traced],
            partition=each.partition,
            on_delivery=delivered,
        )

    def _conclude(self, call: Any) -> None:
        """Repeats a commit or an abort until the broker has decided it."""
        while True:
            try:
                call(CALL_S)
                return
            except KafkaException as exc:
                _raise_if_fenced(exc)
                if not exc.args[0].retriable():
                    raise
                log.warning("Kafka has not decided a transaction yet: %s", exc.args[0].str())
                self._wait_s(0.1)

    def _close(self) -> None:
        """Lets go of the client, which ends its threads; `close()` of the client would wait for Kafka."""
        if hasattr(self, "_producer"):
            del self._producer

    def _wait_s(self, seconds: float) -> None:
        if self._closing.wait(seconds):
            raise Unavailable("control is stopping")

    def _written(self, message: Message) -> Written:
        topic = (message.topic() or "").removeprefix(self._prefix)
        return Written(topic, Place(message.partition() or 0, message.offset() or 0))

    def _report(self, error: KafkaError) -> None:
        log.warning("writer: %s", error.str())


def _raise_if_fenced(exc: KafkaException) -> None:
    error: KafkaError = exc.args[0]
    if error.fatal() or error.code() in (KafkaError.PRODUCER_FENCED, KafkaError._FENCED):
        raise Fenced(f"another control instance took over ({error.str()})") from exc
