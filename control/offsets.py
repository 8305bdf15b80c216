"""The consumer group's committed offsets and the ends of `chunks`: what `kafka-consumer-groups --describe` shows."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from confluent_kafka import KafkaException

from control.ailments import Ailments
from control.metrics import LAG
from headrace.kafka.admin import GroupOffsets
from headrace.kafka.servers import Servers
from schemas.codec import now

log = logging.getLogger(__name__)

RETRY_S = 1.0
POLL_S = 0.25
"""How often offsets are read while somebody wants them."""
AWAY_S = 3.0
"""How long Kafka may be silent before it counts as away: longer than a broker takes to hand a coordinator over."""
KAFKA = "Kafka"
"""What it is called in a stall."""


@dataclass(frozen=True)
class PartitionOffsets:
    """`committed` is None where the group has committed nothing, as Kafka's tool shows a dash."""

    committed: int | None
    end: int

    @property
    def lag(self) -> int | None:
        return None if self.committed is None else max(0, self.end - self.committed)


class OffsetWatch:
    """`start`, `stop`; `of(partition)` gives what was read last. `on_change(partitions)` runs in the event loop."""

    def __init__(
        self,
        bootstrap_servers: Servers,
        *,
        group: str,
        topic: str,
        partitions: int,
        wanted: Callable[[], bool],
        on_change: Callable[[set[int]], None],
        ailments: Ailments,
    ) -> None:
        """`topic` is the full name. While `wanted()` is false nothing is read."""
        self._group = GroupOffsets(bootstrap_servers, group=group, topic=topic, partitions=partitions)
        # one thread: a stop must not close the client under a read that goes on
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="offsets")
        self._wanted, self._on_change, self._ailments = wanted, on_change, ailments
        self._known: dict[int, PartitionOffsets] = {}
        self._silent_since: tuple[float, str] | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Reads once, so that the first status has offsets where the broker gives them."""
        await self._try()
        self._task = asyncio.create_task(self._poll(), name="offsets")

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._group.close)
        self._thread.shutdown(wait=True)

    def of(self, partition: int) -> PartitionOffsets | None:
        return self._known.get(partition)

    def all(self) -> Mapping[int, PartitionOffsets]:
        return self._known

    async def refresh(self) -> None:
        """Reads now. Raises KafkaException."""
        read = await asyncio.get_running_loop().run_in_executor(self._thread, self._read)
        changed = {partition for partition, offsets in read.items() if self._known.get(partition) != offsets}
        self._known = read
        if changed:
            self._on_change(changed)

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            if (self._wanted() or self._silent_since) and not await self._try():
                await asyncio.sleep(RETRY_S)

    async def _try(self) -> bool:
        """Whether Kafka answered; where it is silent for long, every status says so until it answers."""
        began = self._silent_since or (time.monotonic(), now())
        reading = asyncio.create_task(self.refresh())
        try:
            if not (await asyncio.wait({reading}, timeout=AWAY_S))[0]:
                self._tell(began)
            await reading
        except KafkaException as exc:  # the dependency is unwell: what was known stays
            log.warning("can't read the group's offsets: %s", exc.args[0].str())
            self._silent_since = began
            self._tell(began)
            return False
        finally:
            reading.cancel()
        self._silent_since = None
        self._ailments.over(KAFKA)
        return True

    def _tell(self, began: tuple[float, str]) -> None:
        if time.monotonic() - began[0] >= AWAY_S:
            self._ailments.tell(KAFKA, "it doesn't answer; what is shown may be old", since=began[1])

    def _read(self) -> dict[int, PartitionOffsets]:
        committed, ends = self._group.committed(), self._group.ends()
        for partition, end in ends.items():
            LAG.labels(str(partition)).set(end - committed.get(partition, 0))
        return {partition: PartitionOffsets(committed.get(partition), end) for partition, end in ends.items()}
