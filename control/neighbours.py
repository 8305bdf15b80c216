"""What stands before and after a hit on its page, in the same view."""

import asyncio
from collections.abc import Iterable, Sequence
from itertools import groupby

import msgspec

from control.answers.search import Hit, Neighbour
from control.view import View
from headrace.vectors import PlacedChunk, StoredChunk, Tenancy, VectorStore

MAX_NEIGHBOURS = 10
PAGES_AT_ONCE = 8


async def with_neighbours(store: VectorStore, place: Tenancy, view: View, hits: Sequence[Hit], most: int) -> list[Hit]:
    """Up to `most` chunks before and after each hit; fewer at a page's ends. Raises DependencyUnwell."""
    if not most or not hits:
        return list(hits)
    orders = await _orders(store, place, view, {hit.url for hit in hits})
    around = [_around(orders[hit.url], hit.chunk_id, most) for hit in hits]
    wanted = dict.fromkeys(each for before, after in around for each in (*before, *after))
    texts = await store.stored(place, list(wanted))
    return [
        msgspec.structs.replace(hit, before=_shown(before, texts), after=_shown(after, texts))
        for hit, (before, after) in zip(hits, around, strict=True)
    ]


def page_order(chunks: Iterable[PlacedChunk], view: View) -> list[str]:
    """The ids of a page's chunks that stand in the view, from top to bottom.

    An ordinal is a chunk's place on the page in the generation that wrote it; later ones that keep a chunk do not write
    it again. So each generation's chunks are put at their places among what stood there before them.
    """
    order: list[PlacedChunk] = []
    written = sorted((each for each in chunks if view.has(each.born)), key=lambda each: (each.born, each.ordinal))
    for born, new in groupby(written, key=lambda each: each.born):
        order = [each for each in order if view.stands(each.born, each.retired, at=born)]
        for chunk in new:
            order.insert(chunk.ordinal, chunk)
    return [each.chunk_id for each in order if view.stands(each.born, each.retired)]


async def _orders(store: VectorStore, place: Tenancy, view: View, urls: Iterable[str]) -> dict[str, list[str]]:
    at_once = asyncio.Semaphore(PAGES_AT_ONCE)

    async def order(url: str) -> tuple[str, list[str]]:
        async with at_once:
            return url, page_order(await store.on_page(place, url), view)

    return dict(await asyncio.gather(*map(order, urls)))


def _around(order: Sequence[str], chunk_id: str, most: int) -> tuple[Sequence[str], Sequence[str]]:
    """None where the hit was retired meanwhile."""
    if chunk_id not in order:
        return (), ()
    at = order.index(chunk_id)
    return order[max(0, at - most) : at], order[at + 1 : at + 1 + most]


def _shown(ids: Iterable[str], texts: dict[str, StoredChunk]) -> list[Neighbour]:
    found = [texts[each] for each in ids if each in texts]
    return [Neighbour(chunk_id=each.chunk_id, heading_path=list(each.heading_path), text=each.text) for each in found]
