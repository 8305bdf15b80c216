"""What is looked at on each view: WCAG by axe, where the focus goes and whether it shows; and pictures for the docs."""

import asyncio
import base64
from pathlib import Path
from typing import Literal

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
TALLEST_PX = 1_150
MOST_TABS = 50
"""Of a table's hundred links the first tell enough."""
PHONE = {"width": 390, "height": 844}
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}

_FOCUSABLE = """[...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
    .filter((each) => each.checkVisibility({checkVisibilityCSS: true}))"""
_NAMES = f"() => {_FOCUSABLE}.map((each) => each.outerHTML.slice(0, 120))"
_FOCUSED = f"""() => {{
    const at = document.activeElement, styles = [getComputedStyle(at), getComputedStyle(at, "::after")];
    const shows = styles.some((style) => style.outlineStyle !== "none" && style.outlineWidth !== "0px");
    return [{_FOCUSABLE}.indexOf(at), shows];
}}"""


_SIZE = """() => {
    document.activeElement.blur();
    return [window.innerWidth, document.body.scrollHeight];
}"""


async def violations(page: Page) -> str:
    """A report, or nothing."""
    results = await Axe().run(page, options=RULES)
    return results.generate_report() if results.violations_count else ""


async def check_tab_order(page: Page) -> None:
    """What can be used is reached by the Tab key, in the order in which it is read, and shows the focus."""
    names = await page.evaluate(_NAMES)
    for wanted, name in enumerate(names[:MOST_TABS]):
        await page.keyboard.press("Tab")
        place, shows = await page.evaluate(_FOCUSED)
        assert (place, shows) == (wanted, True), f"{name} is not next, or does not show the focus"


async def overflows(page: Page) -> bool:
    """Whether the page as a whole scrolls sideways."""
    return bool(await page.evaluate("() => document.documentElement.scrollWidth > window.innerWidth"))


async def picture(page: Page, to: Path) -> None:
    """WebP of the page from its top."""
    width, height = await page.evaluate(_SIZE)
    clip = {"x": 0, "y": 0, "width": width, "height": min(height, TALLEST_PX), "scale": 1}
    session = await page.context.new_cdp_session(page)
    shot = await session.send(
        "Page.captureScreenshot", {"format": "webp", "quality": 80, "captureBeyondViewport": True, "clip": clip}
    )
    await asyncio.to_thread(to.write_bytes, base64.b64decode(shot["data"]))
