"""Start, watch, pause, resume, retry, search, refresh, approve, roll back, cancel: by hand, in a browser."""

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, Page, Route, expect

from headrace.sample.pages import ROOT, pages
from tests.browser.conftest import SampleHouse, opened
from tests.browser.looks import PHONE, SCHEMES, check_tab_order, overflows, picture, violations
from tests.fakes.site_behaviours import status

MARK = "quuxwort"
SHOTS = Path(__file__).parents[2] / "docs" / "screenshots"
VIEWS = {
    "overview": "", "new": "new", "cost": "cost", "job": "kb/running", "search": "kb/reference/search",
    "pages": "kb/reference/pages", "hosts": "kb/reference/hosts", "dead-letters": "kb/reference/dead-letters",
    "generations": "kb/reference/generations", "kb-cost": "kb/reference/cost", "audit": "kb/reference/audit",
    "definition": "kb/reference/definition",
}  # fmt: skip
"""By the name of their pictures."""


@pytest.fixture(autouse=True)
def _restored(house: SampleHouse) -> None:
    house.restore()


@pytest.fixture(scope="module")
async def filled(house: SampleHouse) -> AsyncIterator[None]:
    """`reference` has two generations, a dead letter and pages that failed; `running` is read slowly."""
    house.restore()
    house.openai.refused_marker = MARK
    house.mark("with", MARK)
    await house.api.start("reference", house.sample())
    await house.api.until_status("reference", "completed_with_errors", within_s=120)
    house.edit("assert")
    house.site.remove(house.path("while"))
    house.site.behave(house.path("yield"), status(500))
    await house.api.start("reference", house.sample())
    await house.api.until_status("reference", "completed_with_errors", within_s=120)
    house.openai.refused_marker = ""
    async with house.slow_site() as slow:
        await house.api.start("running", house.definition(source={"urls": [slow.root + ROOT, slow.url]}))
        await house.api.until_metric("running", "chunks_processed", 1)
        yield


@pytest.mark.parametrize("view", VIEWS)
async def test_each_view_by_keyboard_in_light_and_dark_and_on_a_phone(
    browser: Browser, house: SampleHouse, filled: None, view: str
) -> None:
    async with opened(browser, house.api.url, viewport={"width": 1280, "height": 900}, reduced_motion="reduce") as page:
        await page.goto(f"/#/{VIEWS[view]}")
        await _shown(page)
        await check_tab_order(page)
        await _filled_in(page, house, view)
        for scheme in SCHEMES:
            await page.emulate_media(color_scheme=scheme)
            assert not await violations(page), scheme
            if "HEADRACE_TEST_SCREENSHOTS" in os.environ:
                await picture(page, SHOTS / f"{view}-{scheme}.webp")
        await page.set_viewport_size(PHONE)
        assert not await overflows(page)


async def _shown(page: Page) -> None:
    await expect(page.locator("#connection")).to_have_text("Live")
    await expect(page.get_by_text("Loading…").filter(visible=True)).to_have_count(0)
    await expect(page.locator("main h1")).to_be_visible()


async def _filled_in(page: Page, house: SampleHouse, view: str) -> None:
    """What a person does first on this view."""
    if view == "overview":
        lag = page.locator("details", has_text="Lag per partition")
        if await lag.get_attribute("open") is None:
            await lag.locator("summary").click()
        await expect(lag.get_by_role("img", name="records to go")).to_be_visible()
    if view == "search":
        await _ask(page, "context manager")
        await expect(page.locator(".hit").first).to_be_visible()
    if view == "new":
        await page.get_by_label("Address of the site").fill(house.start_url)
        await page.get_by_text("Private networks").click()
        await page.get_by_label("Addresses that may be reached").fill("127.0.0.0/8")
        await page.get_by_role("button", name="Preview").click()
        await expect(page.get_by_role("heading", name="Chunk 1")).to_be_visible()
    if view == "hosts":
        await page.get_by_role("button", name="Requests to").click()
        await expect(page.get_by_role("cell", name="page").first).to_be_visible()


async def test_from_an_address_to_an_answer(browser: Browser, house: SampleHouse) -> None:
    kb, marked = house.kb("first"), house.path("with")
    house.mark("with", MARK)
    house.openai.refused_marker = MARK
    released = house.hold("yield")
    async with opened(browser, house.api.url, refused_with="409|ERR_FAILED") as page:
        await page.route(f"**/kb/{kb}/start", _lose_the_answer, times=1)
        await page.goto("/")
        await expect(page.locator("#connection")).to_have_text("Live")
        await page.get_by_role("link", name="New knowledge base").click()
        await page.get_by_label("Address of the site").fill(house.start_url)
        await page.get_by_label("Name").fill(kb)
        await page.get_by_role("button", name="Preview").click()
        await expect(page.get_by_role("alert")).to_contain_text("add 127.0.0.0/8 under “Private networks”")
        await page.get_by_label("Addresses that may be reached").fill("127.0.0.0/8")
        await page.get_by_role("button", name="Preview").click()
        await expect(page.get_by_role("heading", name="Chunk 1")).to_be_visible()
        await page.get_by_role("button", name="Start", exact=True).click()
        await expect(page.get_by_role("alert")).to_contain_text("can't be reached")
        await page.get_by_role("button", name="Start", exact=True).click()

        await expect(page.get_by_role("heading", level=1)).to_have_text(kb)
        await expect(page.get_by_role("progressbar", name="Indexed")).not_to_have_js_property("value", 0)
        await _press(page, "Pause")
        await expect(_badge(page)).to_have_text(re.compile("paus"))
        released.set()
        await expect(_badge(page)).to_have_text("paused")
        await expect(page.get_by_role("button", name="Pause", exact=True)).to_be_hidden()
        await _press(page, "Resume")
        await expect(_badge(page)).to_have_text("completed with errors")
        await expect(page.get_by_role("img", name="chunks indexed")).to_have_count(2)

        await _room(page, "Dead letters")
        house.openai.refused_marker = ""
        await _press(page, "Retry all that wait")
        await expect(_badge(page)).to_have_text("completed")
        await expect(page.locator("td .badge", has_text="healed")).to_be_visible()

        await _room(page, "Search")
        await _ask(page, MARK)
        await expect(page.locator(".hit mark", has_text=MARK).first).to_be_visible()
        await expect(page.locator(".hit .source").first).to_have_text(house.site.root + marked)


async def test_a_refresh_is_compared_approved_and_rolled_back_and_the_next_cancelled(
    browser: Browser, house: SampleHouse
) -> None:
    kb = house.kb("second")
    await house.api.start(kb, house.sample())
    await house.api.until_status(kb, "completed", within_s=120)
    house.edit("assert")
    for path in list(pages())[30:60]:
        house.site.remove(path)
    async with opened(browser, house.api.url) as page:
        await page.goto(f"/#/kb/{kb}")
        await expect(_badge(page)).to_have_text("completed")
        await _press(page, "Refresh")
        await expect(_badge(page)).to_have_text("needs review")
        await page.get_by_role("link", name="See what publishing would change").click()
        await expect(page.get_by_role("row", name="assert.html")).to_contain_text("changed")
        await _press(page, "Approve")
        await _confirm(page, "Approve")
        await expect(_badge(page)).to_have_text("completed")
        await expect(_searched(page)).to_contain_text("generation 2")

        await _press(page, "Roll back")
        await _confirm(page, "Roll back")
        await expect(_searched(page)).to_contain_text("generation 1")
        await expect(_badge(page)).to_have_text("cancelled")

        house.restore()
        released = house.hold("assert")
        await _press(page, "Refresh")
        await expect(_badge(page)).to_have_text("running")
        await _press(page, "Cancel")
        await _confirm(page, "Cancel")
        await expect(_badge(page)).to_have_text("cancelled")
        await expect(page.get_by_role("row", name="3 undone")).to_be_visible()
        released.set()


async def test_an_outage_of_control_is_told_and_over_by_itself(
    browser: Browser, house: SampleHouse, filled: None
) -> None:
    told = "can't be reached, or isn't ready"
    async with opened(browser, house.api.url, refused_with="net::ERR|503") as page:
        await page.goto("/#/kb/running")
        await _shown(page)
        house.service("control").kill()
        await expect(page.locator("#connection")).to_have_text("Offline")
        await expect(page.get_by_text(told)).to_be_visible()
        assert not await violations(page)
        await _room(page, "Pages")
        await expect(page.get_by_role("alert")).to_be_visible()
        house.service("control").start()
        await _shown(page)
        await expect(page.get_by_text(told)).to_be_hidden()
        await expect(page.get_by_role("alert")).to_have_count(0)
        await expect(page.get_by_role("table", name="Pages, by address")).to_be_visible()


LOST = (
    "/kb/%E0%A4%A", "/%", "/kb/reference/toString", "/kb/reference/pages/more", "/__proto__", "/hasOwnProperty",
    "/constructor", "/toString", "/nothing", "/new/more",
)  # fmt: skip


async def test_an_address_that_names_no_page_is_told(browser: Browser, house: SampleHouse) -> None:
    async with opened(browser, house.api.url) as page:
        for address in LOST:
            await page.goto("/#/cost")
            await expect(page.get_by_role("heading", level=1)).to_have_text("Cost")
            await page.goto(f"/#{address}")
            await expect(page.get_by_role("heading", level=1)).to_have_text("There is no such page")
        await page.reload()
        await expect(page.get_by_role("heading", level=1)).to_have_text("There is no such page")
        assert not await violations(page)
        await page.get_by_role("link", name="See the knowledge bases").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Knowledge bases")


async def test_a_browser_that_keeps_nothing_shows_all_the_same(browser: Browser, house: SampleHouse) -> None:
    async with opened(browser, house.api.url) as page:
        await page.add_init_script(
            "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError'); }})"
        )
        await page.goto("/")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Knowledge bases")
        for theme in ("light", "dark", "system"):
            await page.get_by_role("button", name="Theme").click()
            await expect(page.get_by_role("button", name="Theme")).to_have_text(f"Theme: {theme}")


async def _lose_the_answer(route: Route) -> None:
    """What was asked is done all the same."""
    await route.fetch()
    await route.abort()


def _badge(page: Page) -> Locator:
    return page.locator(".title .at .badge")


def _searched(page: Page) -> Locator:
    return page.locator(".title").get_by_text("searched at")


async def _press(page: Page, name: str) -> None:
    await page.get_by_role("button", name=name, exact=True).click()


async def _confirm(page: Page, name: str) -> None:
    await page.get_by_role("dialog").get_by_role("button", name=name).click()


async def _ask(page: Page, question: str) -> None:
    """By words: the fake API's vectors mean nothing."""
    await page.get_by_label("Compared by").select_option("words")
    await page.get_by_label("Question").fill(question)
    await page.get_by_label("Question").press("Enter")


async def _room(page: Page, name: str) -> None:
    await page.get_by_role("navigation", name="Rooms").get_by_role("link", name=name, exact=True).click()
