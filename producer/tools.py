"""What every crawl of this process shares."""

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from producer.hosts import Hosts
from producer.metrics import Metrics
from producer.report import Reports
from producer.robots import RobotsCache
from producer.work import ContentPool

if TYPE_CHECKING:
    from headrace.vectors import VectorStore


@dataclass(frozen=True)
class Tools:
    """`pages_partitions`: how many the topic `pages` has."""

    settings: Settings
    publisher: Publisher
    pool: ContentPool
    reports: Reports
    metrics: Metrics
    pages_partitions: int
    hosts: Hosts = field(default_factory=Hosts)
    robots: RobotsCache = field(default_factory=RobotsCache)

    @functools.cached_property
    def store(self) -> "VectorStore":
        """The stored texts. Imported here, since a process that only crawls saves 70 MB and a second without it."""
        from headrace.vectors import VectorStore

        return VectorStore(self.settings)

    async def close(self) -> None:
        if "store" in self.__dict__:
            await self.store.stop()
