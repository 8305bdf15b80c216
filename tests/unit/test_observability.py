"""Alert rules and the Grafana dashboard name only what `/metrics` shows, and each alert has a runbook."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from prometheus_client import CollectorRegistry, generate_latest

import consumer.metrics
import control.metrics
from headrace import metrics
from tests.support.prometheus import alerts, panels

PAGE = Path("docs/observability.md")
SHOWN_BY_PROMETHEUS = {"up"}


def queries() -> Iterator[tuple[str, str]]:
    for rule in alerts():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m")


def selectors(node: Any) -> Iterator[Any]:
    """Of a parsed query."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("lhs", "rhs", "expr", "param", "vector_selector", "args"):
        inner = getattr(node, name, None)
        for each in inner if isinstance(inner, list) else [inner]:
            if each is not None and not isinstance(each, str):
                yield from selectors(each)


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_a_query_names_metrics_and_labels_that_there_are(where: str, query: str) -> None:
    known = {series: each for each in metrics.ALL for series in each.series}
    found = list(selectors(promql_parser.parse(query)))
    assert found
    for selector in found:
        if selector.name in SHOWN_BY_PROMETHEUS:
            continue
        assert selector.name in known, f"{where} asks for {selector.name}"
        labels = {matcher.name for matcher in selector.matchers.matchers}
        assert labels <= {*known[selector.name].labels, "job", "instance"}


@pytest.mark.parametrize("metric", metrics.ALL, ids=lambda each: each.name)
def test_a_metric_is_shown_by_the_names_that_queries_use(metric: metrics.Metric) -> None:
    registry = CollectorRegistry()
    made = getattr(metric, metric.kind)(registry)
    shown = made.labels(*metric.labels) if metric.labels else made
    (shown.observe if metric.kind == "histogram" else shown.inc)(1)
    names = set(re.findall(r"^(\w+)(?:\{.*\})? ", generate_latest(registry).decode(), re.M))
    assert set(metric.series) <= names
    with pytest.raises(TypeError, match="is a"):
        (metric.gauge if metric.kind == "counter" else metric.counter)(registry)


def test_each_alert_says_what_it_saw_and_has_a_runbook() -> None:
    headings = set(re.findall(r"^### (\w+)$", PAGE.read_text(encoding="utf-8"), re.M))
    rules = alerts()
    assert headings == {rule["alert"] for rule in rules}
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] for rule in rules)


def test_panels_do_not_lie_on_each_other_and_say_what_they_show() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24
        taken |= cells
        assert panel["description"] and all(target["legendFormat"] for target in panel["targets"])


def test_the_table_of_metrics_is_current() -> None:
    assert metrics.table() in PAGE.read_text(encoding="utf-8"), "put in what headrace.metrics.table() says"


def test_a_series_of_which_an_alert_asks_the_increase_is_there_before_it() -> None:
    """Prometheus sees no increase in a series whose first sample is 1: the first dead letter would tell nobody."""
    shown = generate_latest(control.metrics.REGISTRY).decode() + generate_latest(consumer.metrics.REGISTRY).decode()
    for rule in alerts():
        for name, labels in re.findall(r"increase\((\w+)(\{[^}]*\})?", rule["expr"]):
            if not name.startswith("headrace_producer"):  # made anew for each process; without labels
                assert re.search(rf"^{name}{re.escape(labels) or r'[ {]'}", shown, re.M), rule["alert"]
