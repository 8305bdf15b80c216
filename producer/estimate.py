"""What a job would come to, from a sample of the site's pages: nothing is published, stored or embedded.

`python -m producer.estimate` takes an EstimateRequest on stdin and gives an Estimate on stdout, both JSON. The site is
asked as in a crawl: start URLs, sitemaps, then pages drawn at random from those that are known by then; by robots.txt,
the address rules and the host's pace.

How many pages there are is known where the sample has read them all. Else, where each page of the second half of the
sample led to k URLs that nobody had named before, each that waits leads to k/(1 - k) (a branching process that dies
out), and where k is 1 or more nobody knows: up to the limit of pages. Each quantity is a mean over the sample, with two
standard errors to both sides.
"""

import asyncio
import math
import os
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from headrace.addresses import range_needed
from headrace.errors import DependencyUnwell
from headrace.prices import AS_OF, PICO_USD, Prices
from headrace.service import configure_logging
from headrace.settings import Settings
from producer.client import Client
from producer.fetch import Fetcher
from producer.frontier import Entry
from producer.hosts import Hosts
from producer.robots import RobotsCache
from producer.scope import ScopeError
from producer.traps import Traps
from producer.urls import host_key
from producer.visit import Visit, Visitor
from producer.work import ContentPool, PageOutput
from schemas.estimates import Estimate, EstimateRequest, Range
from schemas.identity import embedding_input, text_hash
from schemas.kb import Definition, collection_name

SAMPLE_S: Final = 60.0
"""What a person waits for; less than clients do."""
SITEMAPS_S: Final = 20.0
AT_ONCE: Final = 8
STANDARD_ERRORS: Final = 2.0

OPENAI_TOKENS_PER_S: Final = (1_000_000 / 60, 50_000.0, 200_000.0)
"""The rate limit of a small account; what usual calls side by side take; a large one."""
LOCAL_TOKENS_PER_CORE_S: Final = (2_500.0, 4_000.0, 5_500.0)
"""all-MiniLM-L6-v2, measured on two cores with chunks of 100 and of 450 tokens."""
OVERHEAD_S: Final = 5.0
"""Until the first page, and from the last chunk to the publication."""


@dataclass
class Sample:
    """`fresh`: how many URLs each visit was the first to name. `delay_s`: between two requests to the first host."""

    visits: list[Visit] = field(default_factory=list)
    fresh: list[int] = field(default_factory=list)
    known: int = 0
    of_sitemaps: int = 0
    waiting: int = 0
    unread_sitemaps: bool = False
    left_out: Counter[str] = field(default_factory=Counter)
    took_s: float = 0.0
    delay_s: float = 0.0

    @property
    def whole(self) -> bool:
        return not self.waiting and not self.unread_sitemaps

    def contents(self) -> list[Visit]:
        """Visits with content, of several with the same content one."""
        found = {visit.content.content_hash: visit for visit in self.visits if visit.content and visit.content.chunks}
        return list(found.values())


class Sampler:
    """`take` reads the site; what it has by the deadline counts."""

    def __init__(self, visitor: Visitor, definition: Definition, most: int) -> None:
        self._visitor, self._source, self._most = visitor, definition.source, most
        self._traps, self._drawn = Traps(), random.Random(0)  # the same site, the same estimate
        self._known: set[str] = set()
        self._waiting: list[Entry] = []
        self.sample = Sample()

    async def take(self) -> Sample:
        began = time.monotonic()
        try:
            async with asyncio.timeout(SAMPLE_S):
                await self._take()
        except TimeoutError:
            pass
        self.sample.known, self.sample.waiting = len(self._known), len(self._waiting)
        self.sample.took_s = time.monotonic() - began
        return self.sample

    async def _take(self) -> None:
        for seed in self._visitor.scope.seeds:
            self._add(Entry(seed, 0))
        await self._visit(self._waiting[: self._most])
        if self._source.sitemaps:
            await self._read_sitemaps()
        while self._waiting and len(self.sample.visits) < self._most:
            room = min(AT_ONCE, self._most - len(self.sample.visits), len(self._waiting))
            await self._visit(self._drawn.sample(self._waiting, room))

    async def _read_sitemaps(self) -> None:
        try:
            async with asyncio.timeout(SITEMAPS_S):
                async for found in self._visitor.sitemaps(self._source.max_pages):
                    self.sample.of_sitemaps += sum(self._add(Entry(url, 1, named=True)) for url in found.urls)
                    self.sample.unread_sitemaps |= found.unread
        except TimeoutError:
            self.sample.unread_sitemaps = True

    async def _visit(self, entries: Sequence[Entry]) -> None:
        chosen = set(entry.url for entry in entries)
        self._waiting = [entry for entry in self._waiting if entry.url not in chosen]
        visits = [asyncio.create_task(self._visitor.visit(entry)) for entry in entries]
        try:
            await asyncio.wait(visits)
        finally:
            for task in visits:
                task.cancel()
            for visit in await asyncio.gather(*visits, return_exceptions=True):
                if isinstance(visit, Visit):  # in the order drawn, whichever came first
                    self._note(visit)
                elif not isinstance(visit, asyncio.CancelledError):
                    raise visit

    def _note(self, visit: Visit) -> None:
        depth = visit.entry.depth + (visit.state != "redirected")
        self.sample.visits.append(visit)
        self.sample.fresh.append(sum(self._add(Entry(link, depth, visit.entry.url)) for link in visit.links))

    def _add(self, entry: Entry) -> bool:
        """Whether it is new, and would be visited."""
        too_deep = self._source.max_depth is not None and entry.depth > self._source.max_depth
        if too_deep or entry.url in self._known:
            return False
        trap = None if entry.named or not entry.depth else self._traps.trap(entry.url)
        if trap is not None:
            self.sample.left_out[trap.kind] += 1
            return False
        self._known.add(entry.url)
        self._traps.count(entry.url)
        self._waiting.append(entry)
        return True


async def sample(request: EstimateRequest, settings: Settings) -> Sample:
    """Raises ScopeError. Never raises for what the site does."""
    source, crawl = request.definition.source, request.definition.crawl
    share = Hosts().share(crawl.concurrency_per_host, crawl.delay_s)
    reach = frozenset(source.allow_addresses)
    client = Client(Fetcher(settings.user_agent, source.allow_addresses), share, reach)
    pool = ContentPool(settings.content_processes)
    visitor = Visitor(request.definition, pool, client, RobotsCache(), base={})
    await pool.start()
    await visitor.start()
    try:
        taken = await Sampler(visitor, request.definition, request.sample).take()
        taken.delay_s = share.standing(host_key(visitor.scope.seeds[0])).delay_s
        return taken
    finally:
        await visitor.stop()
        await pool.stop()


async def estimate(request: EstimateRequest, settings: Settings) -> Estimate:
    """Never raises for what the site does."""
    try:
        taken = await sample(request, settings)
    except ScopeError as exc:
        return Estimate(problem=str(exc))
    stored, unwell = await _stored(request, taken, settings) if request.kb_id else (frozenset[str](), None)
    found = extrapolated(taken, request.definition, Prices(settings.prices), settings.content_processes, stored)
    return msgspec.structs.replace(found, not_looked_up=unwell)


async def _stored(request: EstimateRequest, taken: Sample, settings: Settings) -> tuple[frozenset[str], str | None]:
    """Text hashes of the sample that the knowledge base holds under the model, or why that is not known."""
    from headrace.vectors import Tenancy, VectorStore  # takes a second, and most estimates need none

    assert request.kb_id
    place = Tenancy(collection_name(request.definition.embedding), request.kb_id)
    hashes = [each for visit in taken.contents() if visit.content for each, _ in _texts(visit.content)]
    store = VectorStore(settings)
    try:
        return frozenset(await store.holds(place, hashes)), None
    except DependencyUnwell as exc:
        return frozenset(), f"{exc.dependency}: {exc.reason}"
    finally:
        await store.stop()


def _texts(content: PageOutput) -> list[tuple[str, int]]:
    """Of each chunk its text hash and its tokens."""
    return [(text_hash(embedding_input(c.title, c.heading_path, c.text)), c.tokens) for c in content.chunks]


def _new_tokens(contents: Sequence[PageOutput], stored: frozenset[str]) -> list[int]:
    """By page: of texts that neither are stored nor stand on one before."""
    seen, counts = set(stored), []
    for content in contents:
        texts = {hashed: tokens for hashed, tokens in _texts(content) if hashed not in seen}
        seen |= texts.keys()
        counts.append(sum(texts.values()))
    return counts


def extrapolated(
    taken: Sample, definition: Definition, prices: Prices, processes: int, stored: frozenset[str] = frozenset()
) -> Estimate:
    """Pure. `stored`: text hashes that cost nothing."""
    contents = taken.contents()
    no_content = Counter(_why_none(visit) for visit in taken.visits if not (visit.content and visit.content.chunks))
    found = Estimate(
        sampled=len(taken.visits),
        with_content=len(contents),
        known=taken.known,
        of_sitemaps=taken.of_sitemaps,
        whole=taken.whole,
        left_out=dict(taken.left_out),
        no_content=dict(no_content.most_common(10)),
        took_s=round(taken.took_s, 1),
        max_pages=definition.source.max_pages,
        model=definition.embedding.model or "",
        prices_as_of=AS_OF,
    )
    if not contents:
        why = next(iter(no_content), f"nothing came within {SAMPLE_S:.0f} s")
        needed = range_needed(why)
        allow = f"; where that is your own network, allow {needed} (allow_addresses)" if needed else ""
        return msgspec.structs.replace(found, problem=f"no page with content was found: {why}{allow}")
    pages = _pages(taken, len(contents), definition.source.max_pages)
    read = [visit.content for visit in contents if visit.content]
    chunks = _times(pages, [len(content.chunks) for content in read], taken.whole)
    of_each, new_of_each = [sum(c.tokens for c in content.chunks) for content in read], _new_tokens(read, stored)
    reused_of_each = [every - new for every, new in zip(of_each, new_of_each, strict=True)]
    tokens, new = _times(pages, of_each, taken.whole), _times(pages, new_of_each, taken.whole)
    return msgspec.structs.replace(
        found,
        pages=pages,
        chunks=chunks,
        tokens=tokens,
        new_tokens=new,
        reused_tokens=_times(pages, reused_of_each, taken.whole),
        **cost_of(new, definition, prices),
        **_time(pages, new, taken, definition, processes),
    )


def _why_none(visit: Visit) -> str:
    return visit.reason or ("no text" if visit.content else visit.state)


def _pages(taken: Sample, with_content: int, max_pages: int) -> Range:
    """Pages with content."""
    if taken.whole:
        return Range(low=with_content, expected=with_content, high=with_content)
    visits = len(taken.visits)
    share = with_content / visits
    error = STANDARD_ERRORS * math.sqrt(share * (1 - share) / visits)
    urls = _urls(taken, max_pages)
    return Range(
        low=round(min(max_pages, max(with_content, urls.low * max(0.0, share - error)))),
        expected=round(min(max_pages, max(with_content, urls.expected * share))),
        high=round(min(max_pages, max(with_content, urls.high * min(1.0, share + error)))),
    )


def _urls(taken: Sample, max_pages: int) -> Range:
    """In scope; see the module's docstring."""
    half = taken.fresh[len(taken.fresh) // 2 :]
    most = max(taken.known, max_pages)
    k = sum(half) / len(half)
    k_most = k + STANDARD_ERRORS * math.sqrt(max(k, 1 / len(half)) / len(half))

    def through(k: float) -> float:
        return min(most, taken.known + taken.waiting * k / (1 - k)) if k < 1 else most

    expected = through(k) if k < 1 else math.sqrt(taken.known * most)
    high = most if taken.unread_sitemaps else through(k_most)
    return Range(low=taken.known, expected=expected, high=max(expected, high))


def _times(pages: Range, each: Sequence[int], whole: bool) -> Range:
    """Of all pages, where the sampled ones have so many."""
    if whole:
        return Range(low=sum(each), expected=sum(each), high=sum(each))
    mean = statistics.fmean(each)
    spread = statistics.stdev(each) if len(each) > 1 else mean
    error = STANDARD_ERRORS * spread / math.sqrt(len(each))
    return Range(
        low=round(max(sum(each), pages.low * max(0.0, mean - error))),
        expected=round(max(sum(each), pages.expected * mean)),
        high=round(max(sum(each), pages.high * (mean + error))),
    )


def cost_of(tokens: Range, definition: Definition, prices: Prices) -> dict[str, Range | float | None]:
    """`usd` and `usd_per_mtok`; None where nobody knows the price."""
    per_mtok = prices.pico_usd(definition.embedding, 1_000_000)
    if per_mtok is None:
        return {"usd": None, "usd_per_mtok": None}
    price = per_mtok / PICO_USD
    low, expected, high = (round(each * price / 1e6, 6) for each in (tokens.low, tokens.expected, tokens.high))
    return {"usd": Range(low=low, expected=expected, high=high), "usd_per_mtok": price}


def _time(
    pages: Range, tokens: Range, taken: Sample, definition: Definition, processes: int
) -> dict[str, Range | Literal["crawl", "embedding"]]:
    most = definition.crawl.concurrency_per_host
    slow, usual, fast = tokens_per_s(definition)
    crawl = [
        number * _page_s(taken, places, processes)
        for number, places in ((pages.low, most), (pages.expected, max(1, most / 2)), (pages.high, min(2, most)))
    ]
    embedding = [tokens.low / fast, tokens.expected / usual, tokens.high / slow]
    low, expected, high = (round((max(both) + OVERHEAD_S) / 60, 1) for both in zip(crawl, embedding, strict=True))
    bound: Literal["crawl", "embedding"] = "crawl" if crawl[1] >= embedding[1] else "embedding"
    return {"minutes": Range(low=low, expected=expected, high=high), "bound_by": bound}


def _page_s(taken: Sample, places: float, processes: int) -> float:
    """Between two pages, with so many requests at once."""
    contents = [(visit, visit.content) for visit in taken.contents() if visit.content]
    fetch_s = statistics.fmean(visit.duration_ms for visit, _ in contents) / 1e3
    read_s = statistics.fmean(content.extract_ms + content.chunk_ms for _, content in contents) / 1e3
    return max(taken.delay_s, fetch_s / places, read_s / processes)


def tokens_per_s(definition: Definition) -> tuple[float, float, float]:
    """Slow, usual, fast."""
    if definition.embedding.provider == "openai":
        return OPENAI_TOKENS_PER_S
    slow, usual, fast = (each * (os.cpu_count() or 1) for each in LOCAL_TOKENS_PER_CORE_S)
    return slow, usual, fast


if __name__ == "__main__":
    configure_logging("ERROR")
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=EstimateRequest)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(estimate(asked, Settings.from_env()))))
