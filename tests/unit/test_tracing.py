"""Traces: off, they are nothing; where they can't be, a service says so."""

import os
import subprocess
import sys

import pytest

from headrace import tracing
from tests.support.spans import errors, traced

SERVICES = "import consumer.service, control.service, producer.service, headrace.service, sys; "


def python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.run([sys.executable, "-c", code], env=clean | env, capture_output=True, text=True, check=False)


def test_off_nothing_is_imported_and_records_carry_nothing() -> None:
    with tracing.span("page", link="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01") as span:
        tracing.tell("fetch", 1, 2, error="timeout")
        tracing.note({"headrace.job_id": "job"})
        assert span is None and tracing.headers() == [] and tracing.ids() == {} and not tracing.on()
    loaded = python(SERVICES + "print(any('opentelemetry' in name for name in sys.modules))")
    assert loaded.stdout.strip() == "False", loaded.stderr


@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_a_collector_is_what_asks_for_them(env: dict[str, str], wanted: bool) -> None:
    assert tracing.wanted(env) is wanted


def test_without_the_packages_a_service_says_what_to_install() -> None:
    hide = "import sys; sys.modules['opentelemetry'] = None; from control.__main__ import *; "
    asked = python(
        hide + "from headrace.service import run; sys.exit(run(None))", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1"
    )
    assert asked.returncode == 2 and "headrace[traces]" in asked.stderr and "Traceback" not in asked.stderr


def test_a_collector_that_is_away_holds_up_no_stop_and_spans_join_their_parents() -> None:
    code = (
        "import time; from headrace import tracing; tracing.configure('x'); "
        "parent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'\n"
        "with tracing.span('a', parent=parent):\n print(tracing.headers()[0][1].decode()[:35], tracing.ids())\n"
        "with tracing.span('b', parent='broken'):\n print(tracing.headers()[0][1].decode())\n"
        "print(tracing.headers())\n"
        "began = time.monotonic(); tracing.stop(); print(time.monotonic() - began < 30)"
    )
    said = python(code, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    joined, own, outside, in_time = said.stdout.splitlines()
    assert joined.startswith("00-4bf92f3577b34da6a3ce929d0e0e4736") and "'trace_id': '4bf9" in joined
    assert own.startswith("00-") and "4bf92f35" not in own
    assert (outside, in_time) == ("[]", "True")


def test_an_address_tells_no_secret() -> None:
    assert tracing.address("https://me:secret@example.org:8443/a/b?token=secret#x") == "https://example.org:8443/a/b"
    assert tracing.parent_of([("ce_id", b"1"), ("traceparent", b"00-x")]) == "00-x"
    assert tracing.parent_of([("traceparent", None)]) is None


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "http/protobuf"),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            "http/protobuf",
        ),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "-1"}, "max_queue_size"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "127.0.0.1:4318"}, "such as http://"),
    ],
)
def test_what_can_not_be_done_is_said_at_the_start(env: dict[str, str], says: str) -> None:
    code = "from control.__main__ import *; from headrace.service import run; sys.exit(run(None))"
    asked = python("import sys; " + code, **{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"} | env)
    assert asked.returncode == 2 and says in asked.stderr and "Traceback" not in asked.stderr


@pytest.mark.parametrize(
    ("env", "name"),
    [
        ({}, "headrace-x"),
        ({"OTEL_SERVICE_NAME": "mine"}, "mine"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "a=b,service.name=mine"}, "mine"),
    ],
)
def test_a_service_is_named_as_its_environment_says(env: dict[str, str], name: str) -> None:
    code = "from headrace import tracing; tracing.configure('x'); "
    said = python(
        code + "print(tracing._provider.resource.attributes['service.name'])",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
        **env,
    )
    assert said.stdout.strip() == name, said.stderr


def test_an_error_is_told_without_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may hold what no attribute may: a URL with its query, a client's key."""
    ended = traced(monkeypatch)
    with pytest.raises(ValueError, match="topsecret"), tracing.span("page"):
        raise ValueError("topsecret")
    (span,) = ended.get_finished_spans()
    assert "ValueError" in span.to_json() and "topsecret" not in span.to_json()


@pytest.mark.parametrize(
    ("header", "spans"),
    [
        (b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", 1),
        (b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", 0),
        (b"\xff" * 600_000, 1),
        (b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01", 1),
    ],
    ids=["sampled", "not sampled", "garbage", "zeros"],
)
def test_what_a_records_header_says(header: bytes, spans: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that is not sampled stays so in the consumer; a header that is none stops nothing."""
    ended = traced(monkeypatch)
    parent = tracing.parent_of([(tracing.HEADER, header)])
    tracing.tell("index", 1, 2, parent=parent)
    assert len(ended.get_finished_spans()) == spans


@pytest.mark.parametrize(
    ("link", "linked"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", ["4bf92f3577b34da6a3ce929d0e0e4736"]),
        ("broken", []),
        (None, []),
    ],
)
def test_a_link_is_no_parent(link: str | None, linked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    ended = traced(monkeypatch)
    with tracing.span("page", link=link):
        pass
    (span,) = ended.get_finished_spans()
    assert span.parent is None and [f"{each.context.trace_id:032x}" for each in span.links] == linked
    assert span.context is not None and f"{span.context.trace_id:032x}" not in linked


def test_what_is_told_as_an_error_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = traced(monkeypatch)
    tracing.tell("fetch", 1, 2, error="status 503")
    tracing.tell("fetch", 1, 2)
    assert errors(ended) == [("fetch", "status 503"), ("fetch", None)]


def test_what_is_noted_is_of_the_current_span(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = traced(monkeypatch)
    tracing.note({"headrace.job_id": "nobody's"})
    with tracing.span("request"):
        tracing.note({"headrace.job_id": "job"})
    (span,) = ended.get_finished_spans()
    assert dict(span.attributes or {}) == {"headrace.job_id": "job"}
