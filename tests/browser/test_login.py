"""The page where a token is asked for."""

from playwright.async_api import Browser, expect

from headrace.settings import Settings
from headrace.tokens import create
from tests.browser.conftest import opened
from tests.browser.looks import violations
from tests.integration.control_play import API, DEFINITION, control, kb_name


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
        await page.get_by_label("API token").fill(token)
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("reader (read)")).to_be_visible()
        await expect(page.get_by_role("link", name=kb)).to_be_visible()
        await expect(page.get_by_role("link", name=other)).to_have_count(0)
        await page.reload()
        await expect(page.get_by_role("link", name=kb)).to_be_visible()
        kept = await page.evaluate("() => document.cookie + JSON.stringify({...localStorage, ...sessionStorage})")
        assert token not in kept
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        await expect(page.get_by_role("link", name=kb)).to_have_count(0)


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
            await page.get_by_label("API token").fill(token)
            await page.keyboard.press("Enter")
            await expect(page.get_by_text(f"{role} ({role})")).to_be_visible()
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
