"""What HTTP answers before anything is there: problems for every error, and the guard against foreign pages."""

import io
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import msgspec
import pytest
from aiohttp.test_utils import TestClient, TestServer

from control import handlers
from control.engine import Engine
from control.http import application, check_host
from control.openapi import document
from headrace.settings import InvalidSetting, Settings
from tests.support.spans import errors, traced

API = "/api/ingestion"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[TestClient[Any, Any]]:
    """Control that listens and has not reached Kafka."""
    engine = Engine(replace(Settings.from_env({}), data_dir=tmp_path))
    engine.unready = "Kafka is away at 127.0.0.1:1"
    async with TestClient(TestServer(application(engine))) as client:
        yield client
    await engine.stop()


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("GET", "/readyz", 503, "Kafka is away"),
        ("GET", f"{API}/kb/docs", 503, "Kafka is away"),
        ("POST", f"{API}/kb/docs/start", 503, "Kafka is away"),
        ("GET", "/nowhere", 404, "/nowhere"),
        ("GET", f"{API}/kb/docs/nothing", 404, "openapi"),
        ("PATCH", f"{API}/kb/docs", 405, "allowed: DELETE,GET,PUT"),
        ("GET", f"{API}/kb/Docs%20", 422, "slug"),
        ("GET", f"{API}/kb/{'a' * 65}", 422, "1 to 64"),
    ],
)
async def test_problem(client: Any, method: str, path: str, status: int, says: str) -> None:
    response = await client.request(method, path)
    problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["status"]) == (status, status)
    assert says in problem["detail"]
    assert problem["type"].startswith("urn:headrace:problem:") and problem["title"]
    jsonschema.validate(problem, _schema("ProblemDetails"))


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{oops", 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b"", 422, "source"),
        (b"[]", 422, "must be a JSON object"),
        (b'{"source": {"urls": []}}', 422, "source.urls is empty"),
        (b'{"source": {"urls": ["ftp://x/"]}}', 422, "not an http or https URL"),
        (b'{"source": {"urls": ["http://u:p@x/"]}}', 422, "credentials"),
        (b'{"source": {"urls": ["http://x/"], "depth": 3}}', 422, "unknown field source.depth"),
        (b'{"source": {"urls": ["http://x/"]}, "embeding": {}}', 422, "unknown field embeding"),
        (b'{"source": {"urls": "http://x/"}}', 422, "urls"),
        (b'{"source": {"urls": ["http://x/"], "max_pages": 0}}', 422, "source.max_pages is 0"),
        (b" " * (1024 * 1024 + 1), 413, "larger than 1048576 bytes"),
    ],
)
async def test_definition(client: Any, body: bytes, status: int, says: str) -> None:
    response = await client.put(f"{API}/kb/docs", data=io.BytesIO(body), headers={"Content-Type": "application/json"})
    problem = await response.json(content_type="application/problem+json")
    assert response.status == status
    assert says in problem["detail"]


@pytest.mark.parametrize(
    ("body", "says"),
    [({}, "query"), ({"query": " "}, "empty"), ({"query": "q", "k": 0}, "k is 0"), ({"query": "q", "k": 101}, "100"),
     ({"query": "q", "mode": "magic"}, "mode"), ({"query": "q", "limit": 3}, "limit"), ({"query": 7}, "query"),
     ({"query": "q", "alpha": 1.5}, "alpha is 1.5"), ({"query": "q", "alpha": 0.5, "mode": "keyword"}, "hybrid"),
     ({"query": "q", "highlights": 11}, "highlights is 11"), ({"query": "q", "neighbours": -1}, "neighbours is -1"),
     ({"query": "q" * 8_001}, "8001"),
     ({"query": "q", "filters": {"language": "en"}}, "language"),
     ({"query": "q", "filters": {"path": ["/a"] * 21}}, "path"),
     ({"query": "q", "filters": {"path": "ftp://h"}}, "host")],
)  # fmt: skip
async def test_search(client: Any, body: dict[str, Any], says: str) -> None:
    response = await client.post(f"{API}/kb/docs/search", json=body)
    assert response.status == 422
    assert says in (await response.json(content_type="application/problem+json"))["detail"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("kb/docs/approve", {"digest": 7}), ("kb/docs/approve", {"reasons": "x"}), ("kb/Docs/approve", {}),
        ("kb/docs/rollback", {"generation": "2"}), ("kb/docs/rollback", {"digest": "x"}),
        ("kb/docs/vacuum", {"keep": 0}), ("kb/docs/vacuum", {"below": -1}), ("kb/docs/vacuum", {"keep": 1, "below": 1}),
        ("dead-letters/retry", {}), ("dead-letters/retry", {"all": True, "reason": "x"}),
        ("dead-letters/retry", {"all": "yes"}), ("dead-letters/retry", {"places": "2/17"}),
        ("dead-letters/retry", {"places": [{"partition": 1, "offset": 2**70}]}), ("dead-letters/retry", {"kb": "x"}),
    ],
)  # fmt: skip
async def test_decisions_with_a_bad_body(client: Any, path: str, body: dict[str, Any]) -> None:
    response = await client.post(f"{API}/{path}", json=body)
    assert response.status == 422
    assert (await response.json(content_type="application/problem+json"))["detail"]


@pytest.mark.parametrize(
    "query",
    [
        "dead-letters?state=lost",
        "dead-letters?after=7",
        "dead-letters?limit=0",
        "dead-letters/x/1",
        "dead-letters/1/-1",
    ],
)
async def test_dead_letters_with_bad_parameters(client: Any, query: str) -> None:
    assert (await client.get(f"{API}/{query}")).status == 422


async def test_a_body_must_be_json_by_name(client: Any) -> None:
    response = await client.put(f"{API}/kb/docs", data=b"{}", headers={"Content-Type": "text/plain"})
    assert response.status == 415


async def test_alive_before_ready(client: Any) -> None:
    assert (await client.get("/healthz")).status == 200
    assert "headrace_control_ready 0.0" in await (await client.get("/metrics")).text()


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"Host": "localhost:8000"}, True),
        ({"Host": "[::1]:8000"}, True),
        ({"Host": "evil.example"}, False),
        ({"Host": "127.0.0.1.evil.example"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Host": "localhost:8000", "Origin": "http://localhost:8000"}, True),
        ({"Host": "localhost:8000", "Origin": "http://localhost:9999"}, False),
    ],
)
async def test_foreign_pages_write_nothing(client: Any, headers: dict[str, str], allowed: bool) -> None:
    response = await client.post(f"{API}/kb/docs/cancel", headers=headers)
    assert response.status == (503 if allowed else 403)


@pytest.mark.parametrize(
    ("host", "trusted", "refused"),
    [("127.0.0.1", False, False), ("::1", False, False), ("localhost", False, False), ("0.0.0.0", False, True),
     ("0.0.0.0", True, False), ("192.0.2.1", False, True), ("example.org", False, True)],
)  # fmt: skip
def test_strangers_are_kept_out(host: str, trusted: bool, refused: bool) -> None:
    settings = replace(Settings.from_env({}), http_host=host, http_trusted_network=trusted)
    if refused:
        with pytest.raises(InvalidSetting, match="HEADRACE_HTTP_TRUSTED_NETWORK"):
            check_host(settings)
    else:
        check_host(settings)


async def test_the_openapi_document(client: Any) -> None:
    served = await (await client.get("/openapi.json")).json()
    assert served["openapi"] == "3.1.0"
    assert set(served["paths"][f"{API}/kb/{{kb}}"]) == {"put", "get", "delete"}
    ids = [operation["operationId"] for path in served["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))
    parameters = [each for path in served["paths"].values() for op in path.values() for each in op["parameters"]]
    assert all(each["description"] for each in parameters)
    assert all(op["summary"] for path in served["paths"].values() for op in path.values())
    for name in served["components"]["schemas"]:
        jsonschema.Draft202012Validator.check_schema(_schema(name))


def _schema(name: str) -> dict[str, Any]:
    components = msgspec.json.decode(document())["components"]
    return {"$ref": f"#/components/schemas/{name}", "components": components}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "pause", {"reason": "x" * 501}), ("POST", "approve", {"reason": "x" * 501}),
        ("POST", "vacuum", {"reason": "x" * 501}), ("POST", "reembed", {"reason": "x" * 501}),
        ("PUT", "?reason=" + "x" * 501, {"source": {"urls": ["https://example.org/"]}}),
        ("DELETE", "?reason=" + "x" * 501, None),
    ],
)  # fmt: skip
async def test_a_reason_is_short(client: Any, method: str, path: str, body: Any) -> None:
    response = await client.request(method, f"{API}/kb/docs/{path}".replace("/?", "?"), json=body)
    problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["type"]) == (422, "urn:headrace:problem:reason-too-long")
    assert problem["detail"] == "the reason has 501 characters, and 500 are taken: shorten it"


async def test_a_part_of_a_dead_letters_reason_is_of_any_length(client: Any) -> None:
    response = await client.post(f"{API}/dead-letters/retry", json={"kb_id": "none", "reason": "x" * 501})
    assert response.status == 503, "it is well formed, and this control is not ready to look"


def test_the_document_bounds_a_reason_and_says_what_this_is() -> None:
    served = msgspec.json.decode(document())
    for name in ("Change", "Approval", "Rollback", "Vacuum", "Reembed"):
        reason = served["components"]["schemas"][name]["properties"]["reason"]
        assert {"type": "string", "maxLength": 500} in reason["anyOf"]
    assert served["info"]["description"].startswith("Headrace crawls web sites")
    assert list(served["paths"]["/metrics"]["get"]["responses"]["200"]["content"]) == ["text/plain"]


async def test_what_waits_by_design_has_a_name_of_its_own_in_the_metrics(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "_newest", lambda engine, kb_id: SimpleNamespace(revision=1))
    await client.get(f"{API}/kb/docs/status?after=99")
    shown = await (await client.get("/metrics")).text()
    assert 'route="/api/ingestion/kb/{kb}/status?after"' in shown


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", f"{API}/kb/docs", "/openapi.json", "/metrics"])
async def test_an_answer_is_neither_guessed_at_nor_kept(client: Any, path: str) -> None:
    headers = (await client.get(path)).headers
    assert (headers["X-Content-Type-Options"], headers["Cache-Control"]) == ("nosniff", "no-store")
    page = (await client.get("/")).headers
    assert (page["X-Content-Type-Options"], page["Cache-Control"]) == ("nosniff", "no-cache")


async def test_a_request_has_a_span_unless_it_is_a_probe(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = traced(monkeypatch)
    for path in ("/healthz", "/readyz", "/metrics", f"{API}/kb/docs"):
        await client.get(path, headers={"traceparent": "00-" + "é" * 9_00})
    (span,) = ended.get_finished_spans()
    assert (span.name, dict(span.attributes or {})["http.response.status_code"]) == (f"GET {API}/kb/{{kb}}", 503)
    assert errors(ended) == [(span.name, "status 503")]
