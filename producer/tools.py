"""What every crawl of this process shares."""

from dataclasses import dataclass, field

from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from producer.hosts import Hosts
from producer.metrics import Metrics
from producer.report import Reports
from producer.robots import RobotsCache
from producer.work import ContentPool


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
