"""The end of a crawl: what becomes of pages that it did not come to.

They are pages of base, and those that this generation recorded under an older scope. Where the frontier is empty, all
that hangs together was seen, so what was not has lost its links and is gone. With these exceptions, which are kept with
their chunks: what a limit cut off (of pages, of depth, a trap), and what is only reached from there by the links that
are known of it.
"""

from collections.abc import Iterator, Mapping

import msgspec

from producer.base import reachable
from producer.frontier import Frontier
from producer.scope import Scope
from producer.stored import PagesView
from producer.traps import Traps
from schemas.codec import now
from schemas.commands import JobCommand
from schemas.pages import PageRecord, PageState


def accounts(
    command: JobCommand, epoch: int, frontier: Frontier, scope: Scope, traps: Traps, pages: Mapping[str, PageRecord]
) -> Iterator[PageRecord]:
    """A record for each of `pages`, none of which the crawl came to."""
    limit = None if frontier.emptied else "not reached within the page limit"
    beyond = set[str]() if limit else _cut_off(frontier, scope, pages)
    if any(pages[url].links_truncated for url in beyond):
        limit = "perhaps only linked by a page that a limit cut off"
    for url, page in pages.items():
        verdict = scope.verdict(url)
        if not verdict.inside:
            yield accounted(command, epoch, page, "out_of_scope", verdict.reason)
        elif limit or url in beyond:
            yield _kept(command, epoch, page, limit or _cut_off_by(frontier, traps, url))
        else:
            yield accounted(command, epoch, page, "gone", "no page links to it any more")


def accounted(command: JobCommand, epoch: int, base: PageRecord, state: PageState, reason: str) -> PageRecord:
    """The record of a page of base that the crawl did not come to; its content stays where it is `kept`."""
    kept = state == "kept"
    return msgspec.structs.replace(
        base,
        generation=command.generation,
        job_id=command.job_id,
        epoch=epoch,
        attempt=0,
        state=state,
        status=None,
        reason=reason,
        instead=None,
        chunks=base.chunks if kept else (),
        links=base.links if kept else (),
        nofollow_links=base.nofollow_links if kept else (),
        links_truncated=base.links_truncated and kept,
        page_end_offset=None,
        scope_revision=command.scope_revision,
        bytes=0,
        duration_ms=0,
        fetched_at=now(),
    )


def _kept(command: JobCommand, epoch: int, page: PageRecord, reason: str) -> PageRecord:
    """What this generation found out under an older scope stands, save that its links may not be all any more: marked
    as truncated, the next owner does not take it for visited."""
    if page.generation != command.generation:
        return accounted(command, epoch, page, "kept", reason)
    return msgspec.structs.replace(
        page,
        epoch=epoch,
        scope_revision=command.scope_revision,
        etag=None,
        last_modified=None,
        links_truncated=True,
    )


def _cut_off(frontier: Frontier, scope: Scope, pages: Mapping[str, PageRecord]) -> set[str]:
    inside = PagesView(pages, frozenset(url for url in pages if scope.verdict(url).inside))
    return reachable(inside, (url for url in inside if frontier.too_deep(url) or frontier.left_out(url)))


def _cut_off_by(frontier: Frontier, traps: Traps, url: str) -> str:
    if frontier.left_out(url):
        verdict = traps.verdict(url)
        return "only linked by pages that repeat others" if verdict.inside else verdict.reason
    return "deeper than max_depth" if frontier.too_deep(url) else "only linked by pages that a limit cut off"
