"""One epoch of one job: from its `crawl_begin` to its `crawl_end`, or to the moment it is told to halt.

1. `crawl_begin` is on the log; its offset is the epoch. What an earlier owner still writes is dropped by readers.
2. The KB's partition of `pages` is read to its end: pages of this generation with a record are not visited again, their
   links make the frontier; pages of base are known with their chunks and validators (`base`), and so are pages that
   this generation recorded under an older scope, which are visited again where the scope of now finds them.
   What sitemaps name is added by each owner anew, beside step 3.
3. Pages are visited and published (`publication`) until the frontier is empty and all sitemaps are read, or the page
   limit is reached. What links name waits a while for what sitemaps name (`LINKS_WAIT_S`). Where a
   page could not be read and nothing is known of what it links to, pages of base that were not come to may hang below
   it: they are asked for themselves.
4. Pages of base or an older scope that were not come to get their record: gone, kept, or out of scope (`accounting`).
5. All records of 3 and 4 have their delivery report. The partition is read once more to its end at that time: count and
   digest are of what stands there, not of what is remembered. Pages that an earlier owner recorded after 2, or whose
   chunks it wrote after 1, or whose record its late one would hide from compaction, are visited, whatever the limit
   (back to 3). This epoch ends without a `crawl_end` where a
   page has no record any more (a tombstone: its chunks were lost), so that another begins; or where a newer owner has
   recorded pages. Pages that were left out in favour of others (a canonical URL, the same content) which came to
   nothing are visited as well, for what they are themselves.
6. `crawl_end`, once.
A crash after 1, or between two steps up to 5: the next owner's epoch begins, and the records say what is left to do.
Those of step 4 do not count as visited: step 4 of the next epoch writes them again. After 6, before anyone is told: the
next owner finds nothing to visit and sends a `crawl_end` of its own, with the same manifest; the consumer drops the
second of a generation that is published.
An owner that was replaced and does not know it writes with a lower epoch. What it writes before 5 is read there; what
it writes later stands behind the end that `crawl_end` names; its `crawl_end` stands behind a higher epoch's
`crawl_begin`, and readers drop it.
"""

import asyncio
import contextlib
import itertools
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from headrace import tracing
from producer.accounting import accounts
from producer.base import Ground, base_pages, own_pages
from producer.checkpoint import Manifest, mark_visited
from producer.client import Client
from producer.discovery import Discovery, unhurried
from producer.duplicates import Holders
from producer.epoch import Ending, Epoch, cancelled
from producer.fetch import Fetcher
from producer.frontier import Entry, Frontier
from producer.ledger import Ledger, describing
from producer.publication import Publication
from producer.scope import ScopeError
from producer.stored import Layers, PagesView
from producer.tools import Tools
from producer.urls import host_key
from producer.visit import Visitor
from schemas.commands import JobCommand
from schemas.facts import CrawlCounts
from schemas.pages import PageRecord, is_error

log = logging.getLogger(__name__)

PAGES_IN_FLIGHT: Final = 64
"""Pages of one job between frontier and record: bounds what is done twice after a crash."""
PAGES_AT_SITES: Final = 32
"""Of them, those that are asked for or read: keeps two cores busy at 100 ms a request, and bounds memory to 32 bodies
of 10 MB at worst. The others wait for Kafka, 80 ms each (`producer.service.LINGER_MS`)."""
PAGES_PER_HOST: Final = 24
"""Of these, for one of several hosts: the rest is for the others, so that one which is slow, or left alone for a while,
does not hold up all."""
ENOUGH: Final = 2
"""Times as many URLs as there may be pages are read from sitemaps: some will be redirects or copies."""
LINKS_WAIT_S: Final = 10.0
"""For sitemaps, which come first. With a limit of depth, until they are read: a page that they name lies at depth 1."""
SITEMAPS_S: Final = 1_800.0
"""For all sitemaps of a job: 180 files of a host that is asked every 10 s. What is unread then takes no page away."""
ACCOUNTED_AT_ONCE: Final = 500
"""Records of base handed over before their delivery reports are waited for: about 5 MB."""


class Crawl(Epoch):
    """`ground` tells what is known of the command's base; `asked_by` is the `traceparent` of who gave the command."""

    def __init__(
        self,
        command: JobCommand,
        tools: Tools,
        ground: Callable[[], Awaitable[Ground]],
        asked_by: str | None = None,
    ) -> None:
        super().__init__(command, tools)
        self._ask_ground, self._ground, self._asked_by = ground, Ground(), asked_by
        self._frontier = Frontier(command.definition.source.max_depth, directory=tools.settings.spill_dir)
        self._discovery, self._holders = Discovery(self._frontier), Holders()
        self._known = Layers()
        """From before: pages of base, and on top of them those of this generation under an older scope."""
        self._outdated: Mapping[str, PageRecord] = {}
        self._in_flight: dict[asyncio.Task[None], Entry] = {}
        self._read: set[asyncio.Task[Any] | None] = set()
        """Of them, those that are being published."""
        self._unread = False
        """Whether a page's links are not known, neither from now nor from before, or what a sitemap names."""
        self._unnamed = False
        """Whether a sitemap could not be read to its end: the frontier does not count as emptied."""
        self._naming: asyncio.Task[None] | None = None
        self._links_from = 0.0
        self._stirred = asyncio.Event()
        """A page is done, or a sitemap is, or links need wait no more."""
        self._visitor: Visitor | None = None
        self._ledger: Ledger | None = None
        self._several_hosts = False

    @property
    def counts(self) -> CrawlCounts:
        return self._tally.counts(len(self._frontier) + len(self._in_flight), self._discovery.left_out)

    def halt(self) -> None:
        """No further request is made; `run` returns None when pages under way are recorded. Cancel it to be quicker."""
        super().halt()
        self._stir()
        if self._visitor is not None:
            for task in self._in_flight.keys() & self._visitor.waiting:
                task.cancel()

    async def run(self) -> Ending | None:
        """Steps 1 to 6. None when halted, or when another epoch must begin."""
        publication = await self._begin()
        try:
            visitor = self._visitor = self._new_visitor()
        except ScopeError as exc:
            return await self._end_refused(publication, str(exc))
        self._several_hosts = len({host_key(seed) for seed in visitor.scope.seeds}) > 1
        await self._restore(visitor)
        log.info(
            "job %s: epoch %d, %d pages recorded, %d known to be left",
            self._command.job_id, publication.epoch, self._tally.recorded, len(self._frontier),
        )  # fmt: skip
        reporter = asyncio.create_task(self._report_progress())
        assert self._ledger is not None
        self._ledger.start()
        try:
            await visitor.start()
            self._begin_naming(visitor)
            manifest = await self._crawl(visitor, publication)
        finally:
            self.cut_off = any(not task.done() for task in self._in_flight)
            await cancelled(reporter, *self._in_flight, *self._still_naming)
            await visitor.stop()
            await self._ledger.stop()
        return await self._ended(publication, manifest, manifest.failure()) if manifest else None

    def _begin_naming(self, visitor: Visitor) -> None:
        if not self._command.definition.source.sitemaps:
            return
        loop = asyncio.get_running_loop()
        self._naming = asyncio.create_task(self._read_sitemaps(visitor))
        self._naming.add_done_callback(self._stir)
        self._links_from = loop.time() + LINKS_WAIT_S
        loop.call_at(self._links_from, self._stir)

    def _stir(self, _: object = None) -> None:
        self._stirred.set()

    async def _read_sitemaps(self, visitor: Visitor) -> None:
        """Into the frontier, before all links that wait there."""
        whole = False
        try:
            async with (
                asyncio.timeout(SITEMAPS_S),
                contextlib.aclosing(visitor.sitemaps(ENOUGH * self._command.definition.source.max_pages)) as files,
            ):
                async for found in files:
                    await self._discovery.name(found)
                    self._unread |= found.unread
                    self._unnamed |= found.unread
                    self._stir()
            whole = True
        except TimeoutError:
            log.warning("job %s: not all sitemaps could be read in time", self._command.job_id)
        finally:
            self._unread |= not whole
            self._unnamed |= not whole

    @property
    def _still_naming(self) -> "tuple[asyncio.Task[None], ...]":
        return (self._naming,) if self._naming is not None and not self._naming.done() else ()

    @property
    def _links_wait(self) -> bool:
        """Whether what links name is not begun yet."""
        if not self._still_naming:
            return False
        by_depth = self._command.definition.source.max_depth is not None
        return by_depth or asyncio.get_running_loop().time() < self._links_from

    async def look(self) -> None:
        """Instead of `run`: makes `counts` and `epoch` those of the log, for a job that is not to go on now."""
        try:
            await self._restore(self._new_visitor())
        except ScopeError as exc:
            log.warning("job %s: %s", self._command.job_id, exc)

    def _new_visitor(self) -> Visitor:
        definition, tools = self._command.definition, self._tools
        source, crawl, reach = definition.source, definition.crawl, frozenset(definition.source.allow_addresses)
        share = tools.hosts.share(crawl.concurrency_per_host, crawl.delay_s)
        ledger = self._ledger = Ledger(
            tools.publisher,
            self._command,
            epoch=self.epoch,
            owner=tools.reports.owner,
            describe=describing(share, tools.robots, reach),
        )
        client = Client(Fetcher(tools.settings.user_agent, source.allow_addresses), share, reach, ledger.note)
        return Visitor(definition, tools.pool, client, tools.robots, base=self._known)

    async def _restore(self, visitor: Visitor) -> None:
        """Step 2."""
        command = self._command
        ground = self._ground = await self._ask_ground()
        base = [command.base] if command.base is not None else []
        own, *older = await self._checkpoint.read(command.generation, *base, whole=True)
        self._read_to = own.end
        self._last_epoch = max(own.epochs, default=0)
        stale = own.stale(self._begun or 0)
        outdated = own.outdated(command.scope_revision)
        bases = [(each, base_pages(command, ground, each)) for each in older]
        for manifest, pages in bases:
            expected = (page for page in manifest.records() if page.url in pages and visitor.inside(page.url))
            self._holders.expect(map(pages.believed, expected))
        self._known.layers = tuple(pages for _, pages in bases)
        if again := frozenset(outdated.keys() - stale.keys()):
            self._outdated = PagesView(own.whole, again)
            self._known.layers = (own_pages(own, again), *self._known.layers)
        visited = mark_visited(self._frontier, own, self._begun or 0, command.scope_revision)
        async for page in unhurried(visited):
            self._tally.add(page)
            self._unread |= page.state == "failed"
            self._discovery.traps.count(page.url)
            self._holders.recorded(page, base=self._known.get(page.url))
        for seed in visitor.scope.seeds:
            self._frontier.add(Entry(seed, 0))
        recorded = (own.whole[page.url] for page in own.visited() if page.url not in outdated)
        await self._discovery.follow_recorded(recorded, visitor.inside)

    async def _crawl(self, visitor: Visitor, publication: Publication) -> Manifest | None:
        """Steps 3 to 5."""
        while True:
            await self._visit_all(visitor, publication)
            if self._halting:
                return None
            if self._unread and self._frontier.emptied and await self._add_unseen(visitor):
                continue
            await self._account_for_base(visitor, publication)
            await publication.settle()
            (manifest,) = await self._checkpoint.read(self._command.generation)
            if self._overtaken(manifest):
                log.warning("job %s: another owner has recorded pages under a newer epoch", self._command.job_id)
                return None
            if not self._complete(manifest):
                log.warning("job %s: pages have no record any more; beginning anew", self._command.job_id)
                return None
            late = manifest.late(publication.epoch, self._read_to)
            bereft = [] if late else manifest.bereft()
            if not late and not bereft:
                return manifest
            if late:
                log.warning("job %s: an earlier owner recorded %d pages late", self._command.job_id, len(late))
            self._read_to = manifest.end
            for page in late:
                if self._frontier.visited(page.url):  # by this owner; an earlier one's record hides its own
                    self._tally.take_back(page)
                self._frontier.readmit(Entry(page.url, page.depth, page.discovered_from))
            for page in bereft:
                self._visit_itself(page)

    def _visit_itself(self, page: PageRecord) -> None:
        """Again, and not in favour of another; of several with the same content, the first is taken."""
        self._tally.take_back(page)
        as_it_is = page.content_hash is None
        if not as_it_is:
            self._holders.forget(page.content_hash)
        self._frontier.readmit(Entry(page.url, page.depth, page.discovered_from, as_it_is=as_it_is))

    def _complete(self, manifest: Manifest) -> bool:
        """Whether every page that this epoch knows to have a record has one."""
        return self._frontier.all_among(manifest.pages) and self._known.keys() <= manifest.pages.keys()

    async def _visit_all(self, visitor: Visitor, publication: Publication) -> None:
        while True:
            self._stirred.clear()
            while (entry := self._next()) is not None:
                task = asyncio.create_task(self._visit(entry, visitor, publication))
                task.add_done_callback(self._stir)
                self._in_flight[task] = entry
            if not self._in_flight and self._nothing_to_wait_for:
                await cancelled(*self._still_naming)
                if self._naming is not None and not self._naming.cancelled():
                    self._naming.result()
                return
            await self._stirred.wait()
            for task in [task for task in self._in_flight if task.done()]:
                del self._in_flight[task]
                self._read.discard(task)
                if not (self._halting and task.cancelled()):
                    task.result()

    @property
    def _nothing_to_wait_for(self) -> bool:
        """While no page is under way. Behind a limit that cuts off what waits already, sitemaps can't add to it."""
        return self._halting or not self._still_naming or (len(self._frontier) > 0 and not self._has_room)

    @property
    def _has_room(self) -> bool:
        within = self._tally.against_limit + len(self._in_flight) < self._command.definition.source.max_pages
        return within or self._frontier.urgent

    def _next(self) -> Entry | None:
        """The next page to begin, if one may be begun now."""
        at_sites = len(self._in_flight) - len(self._read)
        if self._halting or not self._has_room or at_sites >= PAGES_AT_SITES or len(self._in_flight) >= PAGES_IN_FLIGHT:
            return None
        first = self._frontier.first
        if first is not None and not self._frontier.urgent and self._must_wait(first):
            return None
        return self._frontier.pop(self._full())

    def _must_wait(self, first: Entry) -> bool:
        """With a limit of depth, a page under way may show a shorter way there, and so further pages within it."""
        if first.linked and self._links_wait:
            return True
        by_depth = self._command.definition.source.max_depth is not None
        return by_depth and any(entry.depth < first.depth for entry in self._in_flight.values())

    def _full(self) -> set[str]:
        """Hosts of which no further page may be begun now."""
        if not self._several_hosts or self._command.definition.source.max_depth is not None:
            return set()
        counts = Counter(host_key(entry.url) for task, entry in self._in_flight.items() if task not in self._read)
        return {host for host, count in counts.items() if count >= PAGES_PER_HOST}

    async def _visit(self, entry: Entry, visitor: Visitor, publication: Publication) -> None:
        if not visitor.inside(entry.url):  # an excluded start URL, or one that an older definition had inside
            self._note(await publication.leave_out(entry, visitor.scope.verdict(entry.url).reason))
            return
        with tracing.span("page", self._traced(entry), link=self._asked_by) as span:
            page = await self._visit_within(entry, visitor, publication)
            if span is not None:
                span.set_attributes({"headrace.state": page.state, "headrace.chunks": len(page.chunks)})
                if is_error(page):  # not by its reason, which may quote a URL
                    tracing.fail(span, f"{page.state}, status {page.status}" if page.status else page.state)

    def _traced(self, entry: Entry) -> tracing.Attributes:
        command = self._command
        return {
            "url.full": tracing.address(entry.url),
            "headrace.job_id": command.job_id,
            "headrace.kb_id": command.kb_id,
            "headrace.generation": command.generation,
        }

    async def _visit_within(self, entry: Entry, visitor: Visitor, publication: Publication) -> PageRecord:
        visit = await visitor.visit(entry)
        self._read.add(asyncio.current_task())
        self._stir()
        if visit.content is not None:
            self._tools.metrics.read(visit.content)
        visit, known = self._holders.unless_held(visit), self._known.get(entry.url)
        stored = self._ground.stored(known) if known is not None else None
        with self._tools.metrics.publish_seconds.time(), tracing.span("publish"):
            page = await publication.publish(visit, known, stored)
        self._holders.recorded(page, visit, known)
        self._note(page)
        self._unread |= visit.unread
        if page.state == "kept" and page.links_truncated:
            self._frontier.overflowed = True
        self._discovery.follow(page, visit.links, visitor.inside, entry.hops)
        return page

    def _note(self, page: PageRecord) -> None:
        self._frontier.mark_visited(page.url)
        super()._note(page)

    async def _add_unseen(self, visitor: Visitor) -> bool:
        """Puts what was known before and was not come to into the frontier; whether there is any."""
        unseen = (url for url in self._known if visitor.inside(url) and not self._frontier.visited(url))
        added = False
        async for url in unhurried(unseen):
            page = self._known[url]
            added |= self._frontier.add(Entry(page.url, page.depth, page.discovered_from))
        return added

    async def _account_for_base(self, visitor: Visitor, publication: Publication) -> None:
        """Step 4."""
        known = Layers(self._known, self._outdated)
        unseen = PagesView(known, frozenset(url for url in known if not self._frontier.visited(url)))
        records = accounts(self._command, self.epoch, self._frontier, visitor.scope, self._discovery.traps, unseen)
        while some := await asyncio.to_thread(lambda: list(itertools.islice(records, ACCOUNTED_AT_ONCE))):
            await asyncio.gather(*map(publication.record, some))

    async def _ended(self, publication: Publication, manifest: Manifest, failure: str | None) -> Ending:
        """Step 6."""
        emptied = self._frontier.emptied and not self._unnamed
        counts = self._tally.counts(0, self._discovery.left_out)
        return await self._end(publication, manifest, failure, frontier_emptied=emptied, counts=counts)

    async def _end_refused(self, publication: Publication, failure: str) -> Ending:
        (manifest,) = await self._checkpoint.read(self._command.generation)
        return await self._ended(publication, manifest, failure)
