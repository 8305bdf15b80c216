"""A real Chromium, driven by Playwright, in front of the whole house, which reads the sample site."""

import asyncio
import contextlib
import os
import re
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import Browser, Page, async_playwright, expect

from headrace.sample.pages import ROOT, pages
from tests.browser.chromium import chromium
from tests.conftest import Servers
from tests.e2e.conftest import House
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.site import FakeSite

DEADLINE_MS = 90_000
QUIET = (
    "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--font-render-hinting=none",
)  # fmt: skip

expect.set_options(timeout=DEADLINE_MS)


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    path, reason = await asyncio.to_thread(chromium)
    if path is None:
        pytest.skip(reason)
    sandbox = () if os.geteuid() else ("--no-sandbox",)  # Chromium has none for root
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=[*QUIET, *sandbox])
        yield browser
        await browser.close()


class SampleHouse(House):
    """The three services with a slow consumer, so that there is something to see."""

    site: FakeSite
    openai: OpenAIServer

    @property
    def start_url(self) -> str:
        return self.site.root + ROOT

    def path(self, topic: str) -> str:
        return f"{ROOT}{topic}.html"

    def sample(self, **changes: Any) -> dict[str, Any]:
        return self.definition(source={"urls": [self.start_url]}, **changes)

    def restore(self) -> None:
        """All pages as they were."""
        _fill(self.site)

    def hold(self, topic: str) -> asyncio.Event:
        """The page is not answered until the event is set, and so no crawl ends before."""
        released, path = asyncio.Event(), self.path(topic)

        async def answer(_: web.Request) -> web.StreamResponse:
            await released.wait()
            return web.Response(text=pages()[path].html, content_type="text/html")

        self.site.behave(path, answer)
        return released

    def slow_site(self) -> FakeSite:
        """The same pages, and 400 more, on a host that wants to be asked seldom: crawled in no less than 4 minutes."""
        site = FakeSite(pages=400, min_kb=4, max_kb=10, robots="User-agent: *\nCrawl-delay: 0.5\n")
        _fill(site)
        return site

    def mark(self, topic: str, word: str) -> None:
        """One more section, which holds the word."""
        self._put(topic, f"<h2>Marked</h2><p>Here stands {word}.</p>")

    def edit(self, topic: str) -> None:
        self._put(topic, "<p>Edited.</p>")

    def _put(self, topic: str, more: str) -> None:
        path = self.path(topic)
        self.site.put(path, pages()[path].html.replace("</main>", f"{more}</main>"))


@pytest.fixture(scope="module")
async def house(
    browser: Browser, stack: Servers, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[SampleHouse]:
    """One for all tests of the module, each with knowledge bases of its own."""
    directory = tmp_path_factory.mktemp("house")
    environment = stack.environment() | {
        "HEADRACE_TOPIC_PREFIX": f"t{secrets.token_hex(4)}.",
        "HEADRACE_PARTITIONS": "3",
        "HEADRACE_DATA_DIR": str(directory / "data"),
    }
    async with FakeSite(pages=1) as site, OpenAIServer(latency_s=0.05) as openai:
        house = SampleHouse(environment, directory / "services", site, openai)
        house.services["consumer"].environment |= {"HEADRACE_EMBED_WINDOW": "2", "HEADRACE_EMBED_BATCH": "32"}
        await house.start()
        yield house
        await house.close()


@contextlib.asynccontextmanager
async def opened(browser: Browser, url: str, *, refused_with: str = "409", **options: Any) -> AsyncIterator[Page]:
    """A page of the control at `url`, in a context of its own.

    Fails for errors of its scripts, warnings, requests to other hosts, and answers that say that it asked wrongly;
    what `refused_with`, a pattern, finds is none: 409 says that things have changed meanwhile.
    """
    context = await browser.new_context(base_url=url, **options)
    page = await context.new_page()
    page.set_default_timeout(DEADLINE_MS)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
    page.on("response", lambda got: wrong.append(f"{got.status} {got.url}") if got.status >= 400 else None)
    page.on("request", lambda asked: wrong.append(asked.url) if not asked.url.startswith(url) else None)
    yield page
    await context.close()
    assert [each for each in wrong if not re.search(refused_with, each)] == []


def _fill(site: FakeSite) -> None:
    for page in pages().values():
        site.heal(page.path)
        site.put(page.path, page.html)
