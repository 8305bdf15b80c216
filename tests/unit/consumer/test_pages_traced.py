"""What a consumer tells in the traces of pages: each call, and what a batch did."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from opentelemetry.sdk.trace import ReadableSpan

from consumer import stalls
from consumer.item import Batch, Item, item_of
from consumer.pages_traced import tell_pages
from headrace import tracing
from headrace.embedding.base import RateLimited
from headrace.embedding.limits import Rates
from headrace.errors import DependencyUnwell
from tests.support.spans import errors, traced
from tests.unit.consumer.made import chunk, record
from tests.unit.consumer.test_embed import Stage


def of_page(page: int, text: str, offset: int) -> Item:
    raw = record(chunk(text), offset)
    traceparent = f"00-{page:032x}-00f067aa0ba902b7-01".encode()
    return item_of(msgspec.structs.replace(raw, headers=(*raw.headers, (tracing.HEADER, traceparent))))


def told(span: ReadableSpan) -> tuple[int, Any, Any]:
    """Page, result, chunks of the page."""
    attributes = dict(span.attributes or {})
    assert span.context is not None
    return span.context.trace_id, attributes["headrace.result"], attributes["headrace.chunks"]


async def test_each_try_is_told_in_the_trace_of_each_page_that_has_a_text_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended, stage = traced(monkeypatch), Stage()
    monkeypatch.setattr(stalls, "FIRST_PAUSE_S", 0.01)
    stage.embedder.errors = [
        DependencyUnwell("OpenAI", "answers 503"),
        RateLimited("OpenAI", "rate limited (429)", Rates(retry_after_s=0)),
    ]
    await stage.stage.prepare(Batch([of_page(1, "a", 0), of_page(1, "b", 1), of_page(2, "c", 2)], [], 1))
    assert [told(span) for span in ended.get_finished_spans()] == [
        (1, "failed", 2), (2, "failed", 1), (1, "throttled", 2), (2, "throttled", 1), (1, "answered", 2),
        (2, "answered", 1),
    ]  # fmt: skip
    assert errors(ended) == 2 * [("call", "answers 503")] + 4 * [("call", None)]


async def test_a_refused_text_is_an_error_of_its_page_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ended, stage = traced(monkeypatch), Stage()
    stage.embedder.refused = {"topsecret"}
    batch = Batch([of_page(1, "a", 0), of_page(2, "topsecret", 1)], [], 1)
    await stage.stage.prepare(batch)
    assert batch.items[1].result == "dead_lettered"
    together, alone = [told(span) for span in ended.get_finished_spans()][:2], errors(ended)[2:]
    assert together == [(1, "refused", 1), (2, "refused", 1)]
    assert sorted(alone, key=str) == [("call", "refused"), ("call", None)]
    ended.clear()
    tell_pages(batch, (3, 4))
    assert sorted(errors(ended), key=str) == [
        ("embed", "dead_lettered"), ("embed", None), ("index", None), ("index", None),
    ]  # fmt: skip
    assert not any("topsecret" in span.to_json() for span in ended.get_finished_spans())


@pytest.mark.parametrize(
    ("refuse", "failed"),
    [
        (lambda item: item.refuse("index", "bad"), [("embed", None), ("index", "dead_lettered")]),
        (lambda item: None, [("embed", None), ("index", None)]),
    ],
)
def test_what_weaviate_refuses_is_an_error_of_index(
    refuse: Callable[[Item], None], failed: list[tuple[str, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, item = traced(monkeypatch), of_page(1, "a", 0)
    item.vector = np.ones(8, dtype=np.float32)
    refuse(item)
    tell_pages(Batch([item], [], 1, prepared_ns=(1, 2)), (3, 4))
    assert errors(ended) == failed


async def test_where_traces_are_off_no_text_keeps_a_header() -> None:
    stage, kept = Stage(), []
    embed = stage.calls.embed

    async def noting(command: Any, texts: Any) -> None:
        kept.extend(text.traceparent for text in texts)
        await embed(command, texts)

    stage.calls.embed = noting  # type: ignore[method-assign]
    await stage.stage.prepare(Batch([of_page(1, "a", 0)], [], 1))
    assert kept == [None]
