"""The fenced blocks of README.md and docs/, and how each is run.

| fence | |
|---|---|
| `sh` | commands; each must succeed |
| `console` | lines after `$ ` are commands (`> ` goes on); those behind are what they say, where `…` is anything |
| `python` | run by itself |
| `json`, `yaml` | must be such |
| `text` | no command: a picture, or a form |

All of one page run in one shell, in their order. A comment `<!-- not run: REASON -->` on the line before a fence keeps
it from being run; the reasons are those of `REASONS`, or `tests/…` where that test runs it.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
LANGUAGES = ("sh", "console", "python", "json", "yaml", "text")
REASONS = ("needs an account", "needs Docker", "needs a production cluster")
_FENCE = re.compile(r"(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- not run: (?P<reason>.+) -->\s*\Z")


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    text: str
    not_run: str | None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """`shows`: what it must say; None: whatever."""

    place: str
    text: str
    shows: str | None = None


def pages() -> list[str]:
    docs = ROOT / "docs"
    found = [ROOT / "README.md", *sorted(docs.glob("*.md")), *sorted((docs / "how-to").glob("*.md"))]
    return [path.relative_to(ROOT).as_posix() for path in found]


def blocks(page: str) -> list[Block]:
    return list(blocks_of(page, (ROOT / page).read_text(encoding="utf-8")))


def blocks_of(page: str, source: str) -> Iterator[Block]:
    for found in _FENCE.finditer(source):
        before = source[: found.start()]
        mark = _MARK.search(before.rsplit("\n\n", 1)[-1])
        text = re.sub(f"^{found['indent']}", "", found["text"], flags=re.MULTILINE)
        yield Block(page, before.count("\n") + 2, found["language"], text, mark["reason"] if mark else None)


def misfit(block: Block) -> str | None:
    """What is wrong with a block that is not run, or can't be."""
    if block.language not in LANGUAGES:
        return f"the fence names {block.language or 'nothing'} instead of {', '.join(LANGUAGES)}"
    if block.not_run and block.not_run not in REASONS and not (ROOT / block.not_run.partition("::")[0]).is_file():
        return f"{block.not_run} is neither a test nor one of: {', '.join(REASONS)}"
    if block.language == "json":
        json.loads(block.text)
    if block.language == "yaml":
        yaml.safe_load(block.text)
    return None


def commands(block: Block) -> Iterator[Command]:
    if block.not_run or block.language not in ("sh", "console", "python"):
        return
    if block.language == "python":
        yield Command(block.place, f"python - <<'END-OF-PYTHON'\n{block.text}END-OF-PYTHON\n")
    elif block.language == "sh":
        yield Command(block.place, block.text)
    else:
        yield from _of_console(block)


def _of_console(block: Block) -> Iterator[Command]:
    for at, piece in _pieces(block.text):
        lines = piece.splitlines()
        more = next((n for n, each in enumerate(lines) if n and not each.startswith("> ")), len(lines))
        text = "\n".join(each[2:] for each in lines[:more])
        yield Command(f"{block.page}:{block.line + at}", text + "\n", "\n".join(lines[more:]))


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    starts = [found.start() for found in re.finditer(r"^\$ ", text, re.MULTILINE)]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        yield text[:start].count("\n"), text[start:end]


def script(all_of_them: list[Command], outputs: Path) -> str:
    """One for bash: what command N says goes to the file N."""
    parts = ["set -eo pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for number, command in enumerate(all_of_them):
        parts.append(f"{{\n{command.text.rstrip()}\n}} >{outputs}/{number} 2>&1")
    return "\n".join(parts) + "\n"


def fits(shows: str, said: str) -> bool:
    pattern = ".*?".join(map(re.escape, _plain(shows).split("…")))
    return re.fullmatch(pattern, _plain(said), re.DOTALL) is not None


def _plain(text: str) -> str:
    return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())
