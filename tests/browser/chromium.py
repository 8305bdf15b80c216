"""Which Chromium the browser tests drive: the one that is named, the machine's own, or Debian's (about 30 s)."""

import os

from tests.support.debian import installed

NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> tuple[str | None, str]:
    """Its path, or None and why there is none."""
    if named := os.environ.get("HEADRACE_TEST_CHROMIUM"):
        return named, ""
    found, why = installed("chromium", NAMES)
    return found, f"{why}; or name one by HEADRACE_TEST_CHROMIUM" if why else ""
