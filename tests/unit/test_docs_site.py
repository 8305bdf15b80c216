"""The documentation is a site whose links lead somewhere, and which needs no other host."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

from headrace.cli.root import COMMANDS


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built strictly: a link or an anchor that leads nowhere fails."""
    path = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(Path.cwd())}
    built = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return path


def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        loaded = re.findall(r"<(?:script|img|link|iframe)\b[^>]*>", page.read_text(encoding="utf-8"))
        assert [each for each in loaded if re.search(r"""(?:src|href)=["']?(?:https?:)?//""", each)] == []


class Addresses(HTMLParser):
    """What a page loads and where it leads, and the anchors within it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("src", "href"):
                self.found.append(value or "")
            elif name == "srcset":
                self.found += [each.split()[0] for each in (value or "").split(",")]
            elif name == "id":
                self.anchors.add(value or "")


def test_every_address_of_every_page_leads_somewhere(site: Path) -> None:
    pages = {page.resolve(): Addresses(page) for page in site.rglob("*.html") if page.name != "404.html"}
    assert any(each.endswith("job-dark.webp") for each in pages[(site / "index.html").resolve()].found)
    lost = [
        (page.parent.name, each) for page, its in pages.items() for each in its.found if not _leads(page, each, pages)
    ]
    assert lost == []


def _leads(page: Path, address: str, pages: dict[Path, Addresses]) -> bool:
    if urlsplit(address).scheme:
        return True
    path, anchor = urldefrag(address)
    target = (page.parent / unquote(path)).resolve() if path else page
    target = target / "index.html" if target.is_dir() else target
    return target.is_file() and (not anchor or target not in pages or unquote(anchor) in pages[target].anchors)


def test_the_reference_has_every_command_and_call(site: Path) -> None:
    shown = (site / "reference" / "cli" / "index.html").read_text(encoding="utf-8")
    assert all(f"headrace {name} [OPTIONS]" in shown for name in COMMANDS)
    assert "GET /api/ingestion/kb/{kb}/status" in (site / "reference" / "http" / "index.html").read_text(
        encoding="utf-8"
    )
