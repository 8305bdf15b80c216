"""Markdown: its front matter, and its text as HTML, which is then read like any page.

CommonMark with tables and strikethrough (GitHub's), raw HTML included. So both give the same blocks, and the links
are those of the page, reference links among them.
"""

import re
import tomllib
from datetime import date
from functools import lru_cache
from typing import Any, Final

import yaml
from markdown_it import MarkdownIt

from producer.content.metadata import Metadata, iso_date, language_tag, words
from producer.content.plaintext import unix

MAX_FRONT_MATTER_CHARS: Final = 20_000

_YAML = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_TOML = re.compile(r"\A\+\+\+[ \t]*\n(.*?)^\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)

_TITLES = ("title",)
_DESCRIPTIONS = ("description", "summary", "abstract", "excerpt")
_DATES = ("date", "published", "publishdate", "pubdate", "created", "lastmod", "last_modified_at", "updated")
_LANGUAGES = ("lang", "language", "locale")


def markdown_html(text: str) -> tuple[Metadata, str]:
    """What the front matter says, and the rest as HTML."""
    text = unix(text)
    values, rest = _front_matter(text)
    metadata = Metadata(
        title=_first(values, _TITLES, words) or "",
        language=_first(values, _LANGUAGES, language_tag),
        description=_first(values, _DESCRIPTIONS, words),
        published_on=_first(values, _DATES, iso_date),
    )
    return metadata, _reader().render(rest)


@lru_cache(maxsize=1)
def _reader() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def _front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Its values by name in lower case. What only looks like front matter is text."""
    for pattern, load in ((_YAML, yaml.safe_load), (_TOML, tomllib.loads)):
        match = pattern.match(text)
        if match is None:
            continue
        values = _loaded(load, match.group(1))
        if values is not None:
            return values, text[match.end() :]
    return {}, text


def _loaded(load: Any, text: str) -> dict[str, Any] | None:
    if len(text) > MAX_FRONT_MATTER_CHARS:
        return {}
    try:
        values = load(text)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError):
        # This page's front matter is bad: its values stay unknown, and it is no text either.
        return {}
    if not isinstance(values, dict):
        return None
    return {str(name).lower(): value for name, value in values.items()}


def _first(values: dict[str, Any], names: tuple[str, ...], read: Any) -> str | None:
    for name in names:
        value = values.get(name)
        text = value.isoformat() if isinstance(value, date) else value
        if isinstance(text, str) and (found := read(text)):
            return str(found)
    return None
