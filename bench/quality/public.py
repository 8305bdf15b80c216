"""A public labelled set: the pages that Mozilla's Readability is tested with, news and blogs in the main.

Its labels are what Readability gives, looked through by people, without the page's title; readability-lxml is of the
same descent. A Go module carries a copy, so Go's own client fetches it and checks it against the sum below. It is not
part of this repository: the pages belong to their publishers.
"""

import json
import subprocess
from pathlib import Path

from lxml import html

from headrace.embedded.go import build_environment, find_go
from headrace.embedded.progress import SilentReporter
from headrace.settings import Settings

MODULE = "github.com/go-shiori/go-readability"
VERSION = "v0.0.0-20251205110129-5db1dc9836f0"
SUM = "h1:A3B75Yp163FAIf9nLlFMl4pwIj+T3uKxfI7mbvvY2Ls="
MIN_GO = (1, 21)
MIN_WORDS = 20
"""Some of the pages test one feature on a line of text."""


class Unavailable(Exception):
    """The module can't be had here; says why."""


def public_pages() -> dict[str, tuple[bytes, str]]:
    """By name: the page and its labelled text."""
    pages = {}
    for folder in sorted((_module() / "test-pages").iterdir()):
        if folder.is_dir():
            text = _text((folder / "expected.html").read_bytes())
            if len(text.split()) >= MIN_WORDS:
                pages[folder.name] = ((folder / "source.html").read_bytes(), text)
    return pages


def _module() -> Path:
    cache = Settings.from_env().cache_dir / "bench"
    cache.mkdir(parents=True, exist_ok=True)
    go = find_go(MIN_GO, cache.parent, SilentReporter())
    command = [str(go), "mod", "download", "-json", f"{MODULE}@{VERSION}"]
    done = subprocess.run(command, env=build_environment(cache), cwd=cache, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(done.stderr.strip() or done.stdout.strip())
    found = json.loads(done.stdout)
    if found["Sum"] != SUM:
        raise Unavailable(f"{MODULE}@{VERSION} is {found['Sum']}, and not {SUM}")
    return Path(found["Dir"])


def _text(labelled: bytes) -> str:
    root = html.document_fromstring(labelled, html.HTMLParser(encoding="utf-8"))
    return " ".join(root.itertext())
