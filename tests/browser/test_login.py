"""The page where a token is asked for."""

import contextlib
from pathlib import Path

from playwright.async_api import Browser, Page, expect

from headrace.settings import Settings
from headrace.tokens import create
from tests.browser.conftest import opened
from tests.browser.looks import violations
from tests.integration.control_play import API, DEFINITION, control, kb_name
from tests.support.caddy import proxied


async def test_a_token_opens_the_page_and_logging_out_closes_it(browser: Browser, settings: Settings) -> None:
    kb, other = kb_name(), kb_name()
    async with control(settings) as api, opened(browser, api.url, refused_with="401") as page:
        await api.ok("PUT", f"{API}/kb/{kb}", DEFINITION)
        await api.ok("PUT", f"{API}/kb/{other}", DEFINITION)
        await page.goto("/")
        await expect(page.get_by_role("link", name=other)).to_be_visible()
        _, token = create(settings.tokens, "reader", "read", kbs=[kb])
        await page.reload()
        await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        assert not await violations(page)
        await page.get_by_label("API token").fill("hr_nonsense")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_be_visible()
        await logs_in(page, token, "reader (read)")
        await expect(page.get_by_role("link", name=kb)).to_be_visible()
        await expect(page.get_by_role("link", name=other)).to_have_count(0)
        await page.reload()
        await expect(page.get_by_role("link", name=kb)).to_be_visible()
        kept = await page.evaluate("() => document.cookie + JSON.stringify({...localStorage, ...sessionStorage})")
        assert token not in kept
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        await expect(page.get_by_role("link", name=kb)).to_have_count(0)


async def test_the_page_works_behind_the_proxy(browser: Browser, settings: Settings, tmp_path: Path) -> None:
    """Over HTTPS and HTTP/2: it logs in and out, is told of what changes, and says when control is away."""
    first, second = kb_name(), kb_name()
    _, token = create(settings.tokens, "me", "admin")
    async with contextlib.AsyncExitStack() as serving:
        api = await serving.enter_async_context(control(settings))
        async with (
            proxied(api.url, tmp_path / "proxy") as proxy,
            opened(browser, proxy.url, refused_with="401|502", ignore_https_errors=True) as page,
        ):
            await page.goto("/")
            await logs_in(page, token, "me (admin)")
            (cookie,) = await page.context.cookies()
            assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Strict")
            assert await page.evaluate("() => performance.getEntriesByType('navigation')[0].nextHopProtocol") == "h2"
            for kb in (first, second):
                await api.ok("PUT", f"{API}/kb/{kb}", DEFINITION, Authorization=f"Bearer {token}")
                await expect(page.get_by_role("link", name=kb)).to_be_visible()
            await page.get_by_role("button", name="Log out").click()
            await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
            await logs_in(page, token, "me (admin)")
            await serving.aclose()
            await page.get_by_role("button", name="Log out").click()
            await expect(page.get_by_text("can't be reached: is it running?")).to_be_visible()


async def logs_in(page: Page, token: str, known_as: str) -> None:
    await page.get_by_label("API token").fill(token)
    await page.keyboard.press("Enter")
    await expect(page.get_by_text(known_as)).to_be_visible()


async def test_what_a_role_does_not_allow_is_not_offered(browser: Browser, settings: Settings) -> None:
    kb = kb_name()
    async with control(settings) as api, opened(browser, api.url, refused_with="401") as page:
        await api.start(kb, DEFINITION)
        cancel, new = page.get_by_role("button", name="Cancel"), page.get_by_role("link", name="New knowledge base")
        only = page.get_by_text("Your token may look and search.")
        for role, may_run, may_define in (("read", False, False), ("operate", True, False), ("admin", True, True)):
            _, token = create(settings.tokens, role, role)
            await page.goto("/")
            if role == "read":
                await page.reload()
            await logs_in(page, token, f"{role} ({role})")
            await expect(new).to_be_visible(visible=may_define)
            await page.goto(f"/#/kb/{kb}")
            await expect(page.get_by_role("heading", name=kb)).to_be_visible()
            await expect(cancel).to_be_visible(visible=may_run)
            await expect(only).to_be_visible(visible=not may_run)
            assert not await violations(page)
            await page.goto("/#/new")
            await expect(page.get_by_label("Address of the site")).to_be_visible(visible=may_define)
            await page.get_by_role("button", name="Log out").click()
            await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
