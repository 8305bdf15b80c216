"""Bad input gets a clear error or a clear status, and disturbs nothing else."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from headrace.embedded.kafka_tools import KafkaInstallation
from headrace.embedded.ports import free_ports
from headrace.embedded.progress import SilentReporter
from schemas.facts import CommandRefused, DeadLettered
from tests.e2e.conftest import House
from tests.fakes.openai_errors import invalid_key
from tests.fakes.site import FakeSite
from tests.support.log import read_all
from tests.support.waiting import until

GOOD: dict[str, Any] = {"source": {"urls": ["http://127.0.0.1:1/"]}}


@pytest.mark.parametrize(
    ("path", "body", "status", "names"),
    [
        ("/kb/nobody/status", None, 404, "nobody"),
        ("/kb/nobody/pause", {}, 404, "nobody"),
        ("/kb/nobody/start", None, 404, "nobody"),
        ("/kb/Not%20A%20Slug/start", GOOD, 422, "slug"),
        ("/kb/x/start", {"source": {"urls": ["ftp://example.org/"]}}, 422, "http"),
        ("/kb/x/start", {"source": {"urls": []}}, 422, "urls"),
        ("/kb/x/start", {"source": {"urls": ["https://u:p@example.org/"]}}, 422, "credentials"),
        ("/kb/x/start", {"source": {"urls": ["https://example.org/"], "colour": 1}}, 422, "colour"),
        (
            "/kb/x/start",
            {"source": {"urls": ["https://example.org/"]}, "chunking": {"max_tokens": -1}},
            422,
            "max_tokens",
        ),
        ("/kb/x/start", [1, 2], 422, "object"),
    ],
)
async def test_http(house: House, path: str, body: Any, status: int, names: str) -> None:
    await house.start("control")
    method = "GET" if path.endswith("status") else "POST"
    answered, problem = await house.api.call(method, path, body)
    assert answered == status, problem
    assert problem["status"] == status and names in problem["detail"]
    assert (await house.api.ok("GET", "/kb"))["kbs"] == []


async def test_broken_json(house: House) -> None:
    await house.start("control")
    async with house.api._session.post(
        "/api/ingestion/kb/x/start", data=b'{"source": ', headers={"Content-Type": "application/json"}
    ) as response:
        assert response.status == 400
        assert response.content_type == "application/problem+json"
        assert "JSON" in (await response.json(content_type=None))["detail"]


async def test_sites_with_nothing_to_index(house: House) -> None:
    """Unreachable, only errors, and empty: each fails with its reason while a good one completes."""
    (closed,) = free_ports(1)
    errors = FakeSite(pages=3)
    await errors.start()

    async def fails(request: web.Request) -> web.StreamResponse:
        return web.Response(status=404)

    errors.behave(errors.paths[0], fails)
    house.site.put("/empty/index.html", "<html><body></body></html>")
    urls = {
        "unreachable": (f"http://127.0.0.1:{closed}/", "no page could be fetched"),
        "errors": (errors.url, "no page could be fetched"),
        "empty": (house.site.root + "/empty/index.html", "no text"),
    }
    await house.start()
    try:
        await house.api.start(house.kb("good"), house.definition())
        for name, (url, _) in urls.items():
            await house.api.start(house.kb(name), house.definition(source={"urls": [url]}))
        for name, (_, reason) in urls.items():
            failed = await house.api.until_status(house.kb(name), "failed", within_s=90)
            assert reason in failed["reason"], failed
            assert await house.objects(house.kb(name)) == {}
        await house.api.until_status(house.kb("good"), "completed")
    finally:
        await errors.stop()


async def test_pages_of_all_kinds(house: House) -> None:
    """A 50 MB page, binary content, broken HTML and odd encodings: each page has its state, and the job completes."""
    good = "<html><head><title>Good</title></head><main><h1>Good</h1><p>Enough text to be found by.</p></main></html>"
    text = "Grüße aus Köln: hier steht genug Text."

    async def huge(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/html"})
        await response.prepare(request)
        for _ in range(50):
            await response.write(b"<p>" + b"x" * (1 << 20))
        return response

    house.site.behave("/odd/huge.html", huge)
    house.site.put("/odd/good.html", good)
    house.site.put("/odd/image.html", bytes(range(256)) * 64, "image/png")
    house.site.put("/odd/binary.html", bytes(range(256)) * 64, "text/html")
    house.site.put("/odd/broken.html", "<html><main><h1>Broken<p>Text that <b>never <i>closes anything at all")
    house.site.put("/odd/latin.html", f"<main><p>{text}</p></main>".encode("latin-1"), "text/html; charset=iso-8859-1")
    house.site.put("/odd/lying.html", f"<main><p>{text}</p></main>".encode("latin-1"), "text/html; charset=utf-8")
    names = ("huge", "good", "image", "binary", "broken", "latin", "lying", "missing")
    links = "".join(f'<a href="{name}.html">{name}</a> ' for name in names)
    house.site.put("/odd/index.html", f"<html><body><main><h1>Odd</h1><p>{links}</p></main></body></html>")
    await house.start()
    kb = house.kb()
    await house.api.start(kb, house.definition(source={"urls": [house.site.root + "/odd/index.html"]}))
    done = await house.api.until_status(kb, "completed", "completed_with_errors", within_s=90)
    pages = (await house.api.ok("GET", f"/kb/{kb}/jobs/{done['job_id']}/pages"))["pages"]
    states = {page["url"].rsplit("/", 1)[1].removesuffix(".html"): page for page in pages}
    assert set(states) == {*names, "index"}
    assert {name for name in states if states[name]["state"] == "fetched"} >= {
        "good",
        "broken",
        "latin",
        "lying",
        "index",
    }
    assert states["missing"]["state"] == "gone"
    for name in ("huge", "image", "binary"):
        assert states[name]["state"] in ("skipped", "failed") and states[name]["reason"], states[name]
    found = await house.api.ok("POST", f"/kb/{kb}/search", {"query": "Köln", "mode": "keyword"})
    assert any("Köln" in hit["text"] for hit in found["hits"])


async def test_garbage_from_the_console(house: House) -> None:
    """Written with the broker's own tools: the record is dead-lettered, the command refused, the job completes."""
    house.openai.latency_s = 0.3
    await house.start()
    kb = house.kb()
    started = await house.api.start(kb, house.definition())
    await _console(house, "chunks", "some-key\tthis is no event")
    await _console(house, "commands", f'{started["job_id"]}\t{{"desired": "exploded"}}')
    await _console(house, "commands", "no-such-job\t{}")
    await house.api.until_status(kb, "completed")

    async def reported() -> tuple[list[CommandRefused], list[DeadLettered]] | None:
        refused = await read_all(house.settings, CommandRefused)
        letters = await read_all(house.settings, DeadLettered)
        return (refused, letters) if len(refused) >= 2 and letters else None

    refused, letters = await until(reported, what="both are reported")
    assert {each.record_key for each in refused} == {started["job_id"], "no-such-job"}
    assert [letter.record_key for letter in letters] == ["some-key"]


async def test_a_valid_command_from_the_console_works(house: House) -> None:
    house.site.hold(after=3, each_s=2)
    await house.start()
    kb = house.kb()
    started = await house.api.start(kb, house.definition(crawl={"concurrency_per_host": 1}))
    commands = await _commands(house)
    value = commands[started["job_id"]].replace('"desired":"running"', '"desired":"paused"')
    value = value.replace('"revision":1', '"revision":2')
    await _console(house, "commands", f"{started['job_id']}\t{value}")
    paused = await house.api.until_status(kb, "paused")
    assert paused["revision"] == 2
    house.site.release()
    await house.api.ok("POST", f"/kb/{kb}/resume")
    await house.api.until_status(kb, "completed")


async def test_a_wrong_key_is_a_status_not_a_loss(house: House) -> None:
    house.openai.fail(invalid_key())
    await house.start()
    kb = house.kb()
    await house.api.start(kb, house.definition())
    stalled = await house.api.until_status(kb, "stalled")
    assert "OPENAI_API_KEY" in stalled["reason"] and "sk-" not in stalled["reason"]
    house.openai.heal()
    await house.api.until_status(kb, "completed", within_s=90)
    assert not await read_all(house.settings, DeadLettered)


async def test_servers_that_come_late(house: House, tmp_path: Path) -> None:
    """Kafka and Weaviate down at start: every service waits, says so, and goes on by itself."""
    from headrace.embedded.stack import ServerStack

    late = ServerStack.ephemeral(tmp_path / "late", cache_dir=house.settings.cache_dir)
    for service in house.services.values():
        service.environment |= late.environment()
    for name in house.services:
        house.service(name).start()

    async def waits() -> bool:
        try:
            status, problem = await house.api.call("GET", "/readyz")
        except OSError:
            return False
        return status == 503 and "Kafka" in str(problem)

    await until(waits, what="control says that Kafka is away")
    assert late.kafka and late.weaviate
    try:
        await asyncio.to_thread(late.kafka.start)
        await house.api.ready()
        kb = house.kb()
        await house.api.start(kb, house.definition())
        stalled = await house.api.until_status(kb, "stalled")
        assert "Weaviate" in stalled["reason"]
        await asyncio.to_thread(late.weaviate.start)
        done = await house.api.until_status(kb, "completed", within_s=90)
        assert done["metrics"]["chunks_processed"] == done["metrics"]["chunks_total"]
        assert all(service.alive for service in house.services.values())
    finally:
        for service in house.services.values():
            service.close()
        await asyncio.to_thread(late.stop)


async def _console(house: House, topic: str, line: str) -> None:
    arguments = ["--topic", house.settings.topic(topic), "--property", "parse.key=true"]
    result = await _tool(house, "console-producer", arguments, stdin=line + "\n")
    assert result.returncode == 0, result.stderr


async def _commands(house: House) -> dict[str, str]:
    """Key to newest value of `commands`, as the console consumer prints them."""
    arguments = [
        "--topic", house.settings.topic("commands"), "--from-beginning", "--timeout-ms", "4000",
        "--isolation-level", "read_committed", "--property", "print.key=true",
    ]  # fmt: skip
    result = await _tool(house, "console-consumer", arguments)
    return dict(line.split("\t", 1) for line in result.stdout.splitlines() if "\t" in line)


async def _tool(house: House, tool: str, arguments: list[str], stdin: str | None = None) -> Any:
    kafka = KafkaInstallation.prepare(house.settings.cache_dir, SilentReporter())
    return await asyncio.to_thread(
        kafka.run_tool, tool, arguments, bootstrap_servers=house.settings.bootstrap_servers, stdin=stdin
    )
