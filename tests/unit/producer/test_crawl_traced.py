"""A crawl's pages in traces of their own, with a link to the request that commanded it."""

import pytest

from tests.fakes.site import FakeSite
from tests.fakes.site_behaviours import status
from tests.support.spans import errors, traced
from tests.unit.producer.crawl_play import Play, article

ASKED_BY = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("asked_by", [ASKED_BY, None])
async def test_each_page_is_a_trace_that_is_linked_to_the_commands(
    asked_by: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = traced(monkeypatch)
    async with FakeSite(pages=0) as site:
        site.put("/docs/", article("start", "a", "unwell"))
        site.put("/docs/a", article("a"))
        site.behave("/docs/unwell", status(503))
        await Play(monkeypatch, site.url, asked_by=asked_by).crawl()
    pages = [span for span in ended.get_finished_spans() if span.name == "page"]
    assert len({span.context.trace_id for span in pages if span.context}) == 3
    assert not any(span.parent for span in pages)
    linked = [f"{link.context.trace_id:032x}-{link.context.span_id:016x}" for span in pages for link in span.links]
    assert linked == (3 * [ASKED_BY[3:-3]] if asked_by else [])
    reasons = [reason for name, reason in errors(ended) if name == "page"]
    assert sorted(reasons, key=str) == [None, None, "failed, status 503"]
