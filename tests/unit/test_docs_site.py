"""The documentation is a site whose links lead somewhere, and which needs no other host."""

import os
import re
import subprocess
import sys
from pathlib import Path

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


def test_the_reference_has_every_command_and_call(site: Path) -> None:
    shown = (site / "reference" / "cli" / "index.html").read_text(encoding="utf-8")
    assert all(f"headrace {name} [OPTIONS]" in shown for name in COMMANDS)
    assert "GET /api/ingestion/kb/{kb}/status" in (site / "reference" / "http" / "index.html").read_text(
        encoding="utf-8"
    )
