"""Traces: off, they are nothing; where they can't be, a service says so."""

import os
import subprocess
import sys

import pytest

from headrace import tracing

SERVICES = "import consumer.service, control.service, producer.service, headrace.service, sys; "


def python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.run([sys.executable, "-c", code], env=clean | env, capture_output=True, text=True, check=False)


def test_off_nothing_is_imported_and_records_carry_nothing() -> None:
    with tracing.span("page") as span:
        tracing.tell("fetch", 1, 2)
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
