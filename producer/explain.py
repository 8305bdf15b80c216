"""Why a crawl takes a URL, or leaves it out.

`python -m producer.explain` takes a Question on stdin and gives an Explanation on stdout, both JSON. What the
definition and the URL tell is answered at once; the site (robots.txt, sitemaps) and the log (which pages link there,
and what the crawl would do if it went on from them) are asked if wanted.
"""

import asyncio
import contextlib
import functools
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Final, Literal

import msgspec
from confluent_kafka import KafkaException

from headrace.kafka.admin import partition_count
from headrace.service import configure_logging
from headrace.settings import Settings
from headrace.supervisor.reachable import any_listens
from producer.checkpoint import Checkpoint, Manifest, mark_visited
from producer.client import Client
from producer.discovery import Discovery
from producer.fetch import Fetcher
from producer.frontier import Entry, Frontier
from producer.hosts import Hosts
from producer.robots import RobotsCache, RobotsVerdict
from producer.scope import Scope, ScopeError
from producer.sitemaps import Sitemaps
from producer.spill import SpillError
from producer.tally import Tally
from producer.traps import trap_in
from producer.urls import UrlError, canonical
from schemas.identity import partition_for
from schemas.kb import Definition
from schemas.pages import PageRecord

LOG_S: Final = 60.0
"""For reading a knowledge base's pages: 100,000 take about 10 s."""
SITEMAPS_S: Final = 60.0
LINKS_SHOWN: Final = 10

Verdict = Literal["invalid_url", "invalid_scope", "out_of_scope", "trap", "inside"]
Place = Literal["next", "too_deep", "left_out", "not_linked"]


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    kb_id: str
    generation: int
    job_id: str


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """`ask_site`: read the host's robots.txt and the sitemaps. `log`: whose pages are looked through."""

    url: str
    definition: Definition
    ask_site: bool = False
    log: Generation | None = None


class Linking(msgspec.Struct, frozen=True, kw_only=True):
    """A page that links to the URL, or redirects there."""

    url: str
    depth: int
    state: str


class Linked(msgspec.Struct, frozen=True, kw_only=True):
    """What the log tells of a URL without a record. `by`: the pages nearest to the start that link there; `marked`:
    where that link, or the page, is marked nofollow.

    `place`: where a crawl that went on from the recorded pages would have it: visited next; deeper than max_depth; left
    out, as a trap or since only pages in a row that repeat others link there; nowhere. `cut`: not all links of all
    pages are known. `against_limit`: pages that count against max_pages.
    """

    by: tuple[Linking, ...]
    marked: tuple[Linking, ...]
    place: Place
    cut: bool
    against_limit: int


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """`url`: canonical. `reason` belongs to the verdict. `robots` is None where it was not asked for.

    `sitemap` names it now; `sitemaps_unread`: not all of them could be read. `linked` is None where the log was not
    asked, can't be read, or knows nothing of the generation.
    """

    url: str | None
    verdict: Verdict
    reason: str
    robots: RobotsVerdict | None = None
    sitemap: str | None = None
    sitemaps_unread: bool = False
    linked: Linked | None = None


async def explain(question: Question, settings: Settings) -> Explanation:
    """Never raises for what the site does, or for Kafka's absence."""
    told = judge(question.url, question.definition)
    if told.url is None or told.verdict == "out_of_scope":
        return told
    reading = asyncio.create_task(_manifest(question.log, settings))
    if question.ask_site:
        told = await _with_site(told, told.url or "", question.definition, settings)
    manifest = await reading
    return told if manifest is None else await with_log(told, question.definition, manifest)


def judge(url: str, definition: Definition) -> Explanation:
    """By the definition and the URL alone."""
    try:
        known_as = canonical(url)
    except UrlError as error:
        return Explanation(url=None, verdict="invalid_url", reason=str(error))
    try:
        scope = _scope(definition)
    except ScopeError as error:
        return Explanation(url=None, verdict="invalid_scope", reason=str(error))
    verdict = scope.verdict(known_as)
    if not verdict.inside:
        return Explanation(url=known_as, verdict="out_of_scope", reason=f"{verdict.reason} ({scope.extent})")
    if known_as not in scope.seeds and (trap := trap_in(known_as)) is not None:
        return Explanation(url=known_as, verdict="trap", reason=trap.reason)
    return Explanation(url=known_as, verdict="inside", reason=verdict.reason)


async def with_log(told: Explanation, definition: Definition, manifest: Manifest) -> Explanation:
    """`told` of a URL in scope, with what a crawl that was begun again on `manifest` would make of it."""
    url, scope = told.url or "", _scope(definition)
    frontier, tally, pages = Frontier(definition.source.max_depth), Tally(manifest.generation), manifest.visited()
    by, marked = list[Linking](), list[Linking]()
    discovery = Discovery(frontier)
    for page in mark_visited(frontier, manifest):
        discovery.traps.count(page.url)
    for page in pages:
        tally.add(page)
    for seed in scope.seeds:
        frontier.add(Entry(seed, 0))
    inside = functools.lru_cache(100_000)(lambda each: scope.verdict(each).inside)
    await discovery.follow_recorded(_noting(url, (manifest.whole[page.url] for page in pages), by, marked), inside)
    trap = discovery.traps.trap(url) if frontier.left_out(url) else None
    if told.verdict == "inside" and trap is not None:
        told = msgspec.structs.replace(told, verdict="trap", reason=trap.reason)
    linked = Linked(
        by=tuple(by),
        marked=tuple(marked),
        place=_place(frontier, url),
        cut=any(page.links_truncated for page in pages),
        against_limit=tally.against_limit,
    )
    return msgspec.structs.replace(told, linked=linked)


def _noting(url: str, pages: Iterable[PageRecord], by: list[Linking], marked: list[Linking]) -> Iterator[PageRecord]:
    """Puts the first of those that link to the URL into `by` and `marked`."""
    for page in pages:
        for links, shown in ((page.links, by), (page.nofollow_links, marked)):
            if url in links and len(shown) < LINKS_SHOWN:
                shown.append(Linking(url=page.url, depth=page.depth, state=page.state))
        yield page


def _place(frontier: Frontier, url: str) -> Place:
    if frontier.seen(url):
        return "next"
    if frontier.left_out(url):
        return "left_out"
    return "too_deep" if frontier.too_deep(url) else "not_linked"


def _scope(definition: Definition) -> Scope:
    """Raises ScopeError."""
    return Scope.from_source(definition.source.urls, definition.source.include, definition.source.exclude)


async def _with_site(told: Explanation, url: str, definition: Definition, settings: Settings) -> Explanation:
    """Sitemaps are read only where nothing else keeps the URL out: there may be hundreds."""
    robots = RobotsCache() if definition.crawl.respect_robots else None
    async with _client(definition, settings) as client:
        if robots is not None:
            verdict = await _robots(robots, url, client)
            told = msgspec.structs.replace(told, robots=verdict)
            if not verdict.allowed:
                return told
        if told.verdict != "inside" or not definition.source.sitemaps:
            return told
        sitemap, unread = await _named_by(url, _scope(definition), Sitemaps(client, robots, url.__eq__))
        return msgspec.structs.replace(told, sitemap=sitemap, sitemaps_unread=unread)


@contextlib.asynccontextmanager
async def _client(definition: Definition, settings: Settings) -> AsyncIterator[Client]:
    reach = definition.source.allow_addresses
    share = Hosts().share(definition.crawl.concurrency_per_host, definition.crawl.delay_s)
    client = Client(Fetcher(settings.user_agent, reach), share, frozenset(reach))
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


async def _robots(robots: RobotsCache, url: str, client: Client) -> RobotsVerdict:
    """With the rule that forbids it."""
    file = await robots.file(url, client)
    verdict = file.verdict(url)
    if file.rules is None or verdict.allowed:
        return verdict
    return msgspec.structs.replace(verdict, reason=f"{verdict.reason} ({file.rules.forbidding(url)})")


async def _named_by(url: str, scope: Scope, sitemaps: Sitemaps) -> tuple[str | None, bool]:
    """The sitemap that names the URL; and, where none does, whether some could not be read."""
    unread = False
    try:
        async with asyncio.timeout(SITEMAPS_S), contextlib.aclosing(sitemaps.read(scope.seeds)) as files:
            async for found in files:
                if url in found.urls:
                    return found.sitemap, False
                unread |= found.unread
    except TimeoutError:
        return None, True
    return None, unread


async def _manifest(of: Generation | None, settings: Settings) -> Manifest | None:
    """None where Kafka is away, takes too long, or knows another job by this name, or nothing can be spilled to disk:
    the rest of the answer does not hang on it."""
    servers = settings.bootstrap_servers
    if of is None or not await asyncio.to_thread(any_listens, servers):
        return None
    try:
        async with asyncio.timeout(LOG_S):
            count = await asyncio.to_thread(partition_count, servers, settings.topic("pages"))
            checkpoint = Checkpoint(settings, of.kb_id, partition_for(of.kb_id, count))
            (manifest,) = await checkpoint.read(of.generation, whole=True)
    except (KafkaException, SpillError, TimeoutError):
        return None
    return manifest if any(page.job_id == of.job_id for page in manifest.visited()) else None


if __name__ == "__main__":
    settings = Settings.from_env()
    configure_logging("ERROR")
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Question)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(explain(asked, settings))))
