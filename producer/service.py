"""The producer: waits for Kafka, joins its group, crawls what it owns until it is asked to stop.

A job's life here: its command arrives (`jobs`), its keeper does what the command says (`keeper`), an epoch of the
crawl runs (`crawl`): pages come off the frontier, are fetched and read (`visit`), published (`publication`), and their
links go onto the frontier, until it is empty and `crawl_end` closes the manifest.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable
from typing import Final, TypeVar

from headrace.kafka.publisher import Publisher
from headrace.kafka.startup import topics_ready
from headrace.service import worker_name
from headrace.settings import Settings
from producer.health import Health
from producer.hosts import Hosts
from producer.jobs import Jobs
from producer.metrics import Metrics
from producer.ownership import Ownership
from producer.report import Reports
from producer.tools import Tools
from producer.work import ContentPool

log = logging.getLogger(__name__)

T = TypeVar("T")

LINGER_MS: Final = 40
"""Records of many pages in one request to Kafka. A page waits twice as long; with many on their way that costs no
speed, and saves half of the broker's work and a fifth of this process's (`python -m bench crawl_speed`)."""
DRAIN_S: Final = 5.0
"""For what is on its way when the process stops; without it, pages are fetched again by the next owner."""


async def main(settings: Settings, stop: asyncio.Event) -> None:
    """Runs until `stop`, or until a keeper raises. Stopping takes 2 s for pages under way, 10 more with Kafka away."""
    if not settings.has_contact:
        log.warning(
            'the User-Agent "%s" names no contact: to crawl sites of others, set HEADRACE_USER_AGENT, e.g. "%s"',
            settings.user_agent, settings.example_user_agent,
        )  # fmt: skip
    pages_partitions = await _until_stopped(topics_ready(settings), stop)
    if pages_partitions is None:
        return
    async with _tools(settings, pages_partitions) as tools:
        jobs = Jobs(settings, tools)
        async with _health(settings, jobs, tools.metrics):
            await _own_jobs(settings, jobs, stop)


async def _own_jobs(settings: Settings, jobs: Jobs, stop: asyncio.Event) -> None:
    ownership = Ownership(settings, jobs.assigned, jobs.revoked)
    jobs.start()
    holding = asyncio.create_task(ownership.hold())
    holding.add_done_callback(jobs.note_failure)
    try:
        await _until_stopped(asyncio.shield(jobs.failed), stop)
        log.info("stopping")
    finally:
        await jobs.stop()
        holding.cancel()
        await ownership.leave()


@contextlib.asynccontextmanager
async def _tools(settings: Settings, pages_partitions: int) -> AsyncIterator[Tools]:
    owner = worker_name("producer")
    publisher = Publisher(settings.bootstrap_servers, prefix=settings.topic_prefix, source=owner, linger_ms=LINGER_MS)
    pool = ContentPool(settings.content_processes)
    await publisher.start()
    await pool.start()
    hosts = Hosts(settings.requests_in_flight)
    tools = Tools(settings, publisher, pool, Reports(publisher, owner), Metrics(), pages_partitions, hosts)
    try:
        yield tools
    finally:
        await tools.close()
        await _drained(publisher)
        await publisher.stop()
        await pool.stop()


async def _drained(publisher: Publisher) -> None:
    draining = asyncio.create_task(publisher.drain())
    _, pending = await asyncio.wait({draining}, timeout=DRAIN_S)
    if pending:
        log.warning("Kafka took nothing for %.0f s; pages without a record will be fetched again", DRAIN_S)
        draining.cancel()


@contextlib.asynccontextmanager
async def _health(settings: Settings, jobs: Jobs, metrics: Metrics) -> AsyncIterator[None]:
    if settings.producer_health_port is None:
        yield
        return
    health = Health(settings.health_host, settings.producer_health_port, jobs, metrics)
    await health.start()
    try:
        yield
    finally:
        await health.stop()


async def _until_stopped(work: Awaitable[T], stop: asyncio.Event) -> T | None:
    """The work's result, or None when `stop` came first; the work is cancelled then."""
    working, stopping = asyncio.ensure_future(work), asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        return working.result()
    working.cancel()
    await asyncio.wait({working})
    return None
