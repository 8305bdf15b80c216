"""Every command of README.md and docs/ is run, page by page, as it stands there.

What can't be as it stands is put in its place by `SUBSTITUTES`: addresses, and the leave to crawl this machine.
`tests/support/docs_blocks.py` says how a block is marked and run.
"""

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headrace.embedded.ports import free_ports
from tests.conftest import Servers
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.site import FakeSite
from tests.fakes.webhook_receiver import WebhookReceiver
from tests.support.api import Api
from tests.support.debian import installed
from tests.support.docs_blocks import ROOT, blocks, commands, fits, misfit, pages, script
from tests.support.services import Service

LAST = ("docs/access.md",)
"""From here on control asks for tokens."""
PAGES = [*(each for each in pages() if each not in LAST), *LAST]
MARK = "quuxwort"
ALLOWED = '"allow_addresses": ["127.0.0.0/8"]'
WIKI = {
    "embedding": {"provider": "openai", "endpoint": "fake", "model": "fake", "dimensions": 8},
    "chunking": {"max_tokens": 256},
}
BY_MAKE = 'make() { case "$1" in down) true;; *) echo "make $1 is not for a test" >&2; false;; esac; }\n'


class House:
    """The three services on the default prefix, so that topics are named as the docs name them, and a site."""

    def __init__(self, servers: Servers, directory: Path, site: FakeSite, hook: str, openai: OpenAIServer) -> None:
        port, tour = free_ports(2)
        self.directory, self.url = directory, f"http://127.0.0.1:{port}"
        self.environment = servers.environment() | {
            "HEADRACE_TOPIC_PREFIX": "headrace.",
            "HEADRACE_PARTITIONS": "3",
            "HEADRACE_HTTP_PORT": str(port),
            "HEADRACE_DATA_DIR": str(directory / "data"),
            "HEADRACE_EMBEDDING_ENDPOINTS": f"fake={openai.url}",
        }
        self.services = [Service(name, self.environment, directory) for name in ("producer", "consumer", "control")]
        self.api = Api(self.url)
        here = "--allow-addresses 127.0.0.0/8"
        self.substitutes = (
            (r"(headrace (?:preview|estimate)) https://docs\.example\.org/", rf"\1 {site.url} {here}"),
            (r"(headrace ingest) https://docs\.example\.org/", rf"\1 {site.url} {here} --kb docs-example-org"),
            (
                r'"urls": \["https://docs\.example\.org/"\]',
                f'"urls": ["{site.url}"], "allow_addresses": ["127.0.0.0/8"]',
            ),
            (r"(headrace webhook add \S+) https://example\.org/\S+", rf"\1 {hook} --allow-address 127.0.0.0/8"),
            (r"http://127\.0\.0\.1:8000\b", self.url),
            (r"\b8900\b", str(tour)),
        )

    def put(self, text: str) -> str:
        for pattern, replacement in self.substitutes:
            text = re.sub(pattern, replacement, text)
        return text

    async def close(self) -> None:
        for service in self.services:
            service.close()
        await self.api.close()


@pytest.fixture(scope="module")
async def house(stack: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """With a knowledge base `wiki` of which one text could not be embedded, and can now; and one, `handbook`, that
    waits for a review."""
    directory = tmp_path_factory.mktemp("docs")
    (directory / ".venv").symlink_to(ROOT / ".venv")
    async with FakeSite(pages=6, min_kb=2, max_kb=4) as site, OpenAIServer(dimensions=8) as openai:
        receiver = WebhookReceiver()
        await receiver.start()
        house = House(stack, directory, site, receiver.url, openai)
        try:
            for service in house.services:
                service.start()
            await house.api.ready()
            site.put("/docs/marked.html", f"<html><body><main><p>The {MARK} stands alone.</p></main></body></html>")
            openai.refused_marker = MARK
            source = {
                "urls": [f"{site.root}/docs/marked.html"],
                "include": ["/docs/marked.html"],
                "allow_addresses": ["127.0.0.0/8"],
            }
            await house.api.start("wiki", {"source": source, **WIKI})
            await house.api.until_status("wiki", "completed_with_errors", within_s=120)
            openai.refused_marker = ""
            await _needing_a_review(house, site)
            yield house
        finally:
            await house.close()
            await receiver.stop()


async def _needing_a_review(house: House, site: FakeSite) -> None:
    chapters = [f"/handbook/{number}.html" for number in (1, 2, 3)]
    for path in chapters:
        site.put(path, f"<html><body><main><p>The holidays of {path} are ten.</p></main></body></html>")
    urls = [site.root + path for path in chapters]
    source = {"urls": urls, "include": ["/handbook/**"], "allow_addresses": ["127.0.0.0/8"]}
    await house.api.start("handbook", {"source": source, **WIKI})
    await house.api.until_status("handbook", "completed", within_s=120)
    site.remove(chapters[-1])
    await house.api.start("handbook", {"source": source, **WIKI})
    await house.api.until_status("handbook", "needs_review", within_s=120)


@pytest.mark.parametrize("page", PAGES)
def test_each_block_says_what_it_is(page: str) -> None:
    wrong = {block.place: why for block in blocks(page) if (why := misfit(block))}
    assert not wrong


@pytest.mark.parametrize("page", [page for page in PAGES if any(list(commands(each)) for each in blocks(page))])
async def test_the_commands_of_a_page(house: House, page: str, tmp_path: Path) -> None:
    jq, why = await asyncio.to_thread(installed, "jq")
    if not jq:
        pytest.skip(why)
    run = [command for block in blocks(page) for command in commands(block)]
    shell = house.directory / "run.sh"
    shell.write_text(BY_MAKE + house.put(script(run, tmp_path)))
    ours = ("HEADRACE_", "KAFKA_", "WEAVIATE_", "OPENAI_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment = inherited | house.environment | {
        "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}", "HEADRACE_URL": house.url,
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    done = await asyncio.to_thread(
        subprocess.run, ["bash", str(shell)], cwd=house.directory, env=environment, capture_output=True, text=True,
        timeout=400, check=False,
    )  # fmt: skip
    said = [each.read_text() for number in range(len(run)) if (each := tmp_path / str(number)).exists()]
    assert done.returncode == 0, f"{run[len(said) - 1].place}: exit code {done.returncode}\n{said[-1]}{done.stderr}"
    wrong = [
        f"{command.place} shows\n{shows}\nand said\n{text}"
        for command, text in zip(run, said, strict=True)
        if not fits(shows := house.put(command.shows or "…"), text)
    ]
    assert not wrong, "\n\n".join(wrong)
