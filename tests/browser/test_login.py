"""The page where a token is asked for."""

import contextlib
import re
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, expect

from headrace.settings import Settings
from headrace.tokens import create
from tests.browser.conftest import opened
from tests.browser.looks import violations
from tests.integration.control_play import API, DEFINITION, control, kb_name
from tests.support.caddy import proxied
from tests.support.names import NAMES


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
        await page.get_by_label("API token").fill("пароль")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("This is no API token")
        await page.get_by_label("API token").fill("hr_nonsense")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("not known")
        await logs_in(page, token, "reader (read)")
        await expect(page.get_by_role("link", name=kb)).to_be_visible()
        await expect(page.get_by_role("link", name=other)).to_have_count(0)
        _, admin = create(settings.tokens, "me", "admin")
        tokens = settings.tokens.read_text()
        settings.tokens.write_text(tokens.replace(f'"{kb}"', f'"{other}"').replace('"read"', '"operate"'))
        await api.ok("DELETE", f"{API}/kb/{kb}", Authorization=f"Bearer {admin}")  # the stream's next word ends it
        await expect(page.get_by_role("link", name=other)).to_be_visible()
        await expect(page.get_by_role("link", name=kb)).to_have_count(0)
        await expect(page.get_by_text("reader (operate)")).to_be_visible()
        await page.reload()
        await expect(page.get_by_role("link", name=other)).to_be_visible()
        kept = await page.evaluate("() => document.cookie + JSON.stringify({...localStorage, ...sessionStorage})")
        assert token not in kept
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        await expect(page.get_by_role("link", name=other)).to_have_count(0)


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
            await page.goto(f"/#/kb/{kb}/definition")
            await expect(page.get_by_label("As JSON")).to_have_value(re.compile(DEFINITION["source"]["urls"][0]))
            await expect(page.get_by_label("As JSON")).to_be_editable(editable=may_define)
            await expect(page.get_by_text("by an administrator: your token may not")).to_be_visible(
                visible=not may_define
            )
            for name in ("Save", "Delete"):
                await expect(page.get_by_role("button", name=name, exact=True)).to_be_visible(visible=may_define)
            assert not await violations(page)
            await page.goto("/#/new")
            await expect(page.get_by_label("Address of the site")).to_be_visible(visible=may_define)
            await page.get_by_role("button", name="Log out").click()
            await expect(page.get_by_role("heading", name="Log in")).to_be_visible()


async def test_nobody_replaces_a_definition_unknowingly(browser: Browser, settings: Settings) -> None:
    """By a name that is taken, in two tabs, or by a login that ended; and nothing that was typed is lost."""
    kb = kb_name()
    _, token = create(settings.tokens, "me", "admin")
    async with control(settings) as api, opened(browser, api.url, refused_with="401|412") as page:

        async def defined(**changes: Any) -> None:
            await api.ok("PUT", f"{API}/kb/{kb}", {**DEFINITION, **changes}, Authorization=f"Bearer {token}")

        async def delay_s() -> float:
            answer = await api.ok("GET", f"{API}/kb/{kb}", Authorization=f"Bearer {token}")
            return float(answer["definition"]["crawl"]["delay_s"])

        await defined()
        await page.goto("/#/new")
        await logs_in(page, token, "me (admin)")
        await _a_taken_name(page, kb)
        await page.get_by_role("link", name="its definition").click()

        text, save = page.get_by_label("As JSON"), page.get_by_role("button", name="Save", exact=True)
        await expect(text).to_have_value(re.compile(DEFINITION["source"]["urls"][0]))
        mine = (await text.input_value()).replace('"delay_s": 0', '"delay_s": 1')
        await text.fill(mine)
        await page.get_by_role("link", name="Audit trail").click()
        await expect(text).to_have_count(0)
        await page.get_by_role("link", name="Definition").click()
        await expect(text).to_have_value(mine)
        await expect(page.get_by_text("Not saved yet.")).to_be_visible()

        await defined(crawl={"delay_s": 2})
        await expect(page.get_by_text("was changed elsewhere")).to_be_visible()
        assert not await violations(page)
        await save.click()
        await expect(page.get_by_role("alert")).to_contain_text("Nothing is saved.")
        await expect(text).to_have_value(mine)
        assert await delay_s() == 2
        await page.get_by_role("button", name="Load the newer one").click()
        await page.get_by_role("dialog").get_by_role("button", name="Load the newer one").click()
        await expect(text).to_have_value(re.compile('"delay_s": 2'))

        mine = (await text.input_value()).replace('"delay_s": 2', '"delay_s": 3')
        await text.fill(mine)
        await page.context.clear_cookies()
        await save.click()
        await logs_in(page, token, "me (admin)")
        await expect(text).to_have_value(mine)
        await save.click()
        await expect(page.get_by_text("Saved.")).to_be_visible()
        assert await delay_s() == 3

        await text.fill("{")
        await page.get_by_role("button", name="Log out").click()
        await logs_in(page, token, "me (admin)")
        await expect(text).to_have_value(re.compile('"delay_s": 3'))


async def _a_taken_name(page: Page, kb: str) -> None:
    """The form proposes the names that the command line does, and takes none that is taken."""
    names = "async (urls) => { const {nameOf} = await import('/dashboard/names.js'); return urls.map(nameOf); }"
    assert dict(zip(NAMES, await page.evaluate(names, list(NAMES)), strict=True)) == NAMES
    await page.get_by_label("Address of the site").fill("https://docs.example.org/api/")
    await expect(page.get_by_label("Name")).to_have_value("docs-example-org-api")
    await page.get_by_label("Name").fill(kb)
    await page.get_by_role("button", name="Start", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text(f"There is a knowledge base {kb} already")
    assert not await violations(page)
