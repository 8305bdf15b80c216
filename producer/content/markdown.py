"""Markdown: its front matter, and its text as HTML, which is then read like any page.

CommonMark, raw HTML included, with what GitHub adds to it (tables, strikethrough, alerts, footnotes) and what site
generators do: admonitions of Python-Markdown (`!!! note`) and Docusaurus (`:::note`), definition lists. So both give
the same blocks, and the links are those of the page, reference links among them.
"""

import re
import tomllib
from datetime import date
from functools import lru_cache
from html import escape
from typing import Any, Final

import yaml
from markdown_it import MarkdownIt
from mdit_py_plugins.admon import admon_plugin
from mdit_py_plugins.container import container_plugin
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.footnote import footnote_plugin

from producer.content.metadata import Metadata, iso_date, language_tag, words
from producer.content.plaintext import unix

MAX_FRONT_MATTER_CHARS: Final = 20_000
MAX_NESTING: Final = 200
"""Of blocks; a level of a list is two. The library's own limit drops all lists beyond their ninth level."""

_YAML = re.compile(
    r"\A---[ \t]*\n(?=(?:#[^\n]*+\n\s*+)*+[\"']?[\w.-]+[\"']?[ \t]*:\s)(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)",
    re.DOTALL | re.MULTILINE,
)
"""Its first line, comments apart, names a value; below a rule at the top of a text there is none."""
_TOML = re.compile(r"\A\+\+\+[ \t]*\n(.*?)^\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_CONTAINER = re.compile(
    r"\s*(note|tip|info|warning|caution|danger|important|success|details)\b\s*(?:\[([^\n]*)\]|([^\n]*))"
)
"""What stands behind the colons of a container: its kind, and perhaps a title."""
_NULLS = ("~", "null", "Null", "NULL")

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
    reader = MarkdownIt("commonmark", {"html": True, "maxNesting": MAX_NESTING, "alerts": True})
    reader.enable(["table", "strikethrough"])
    reader.use(footnote_plugin, inline=False).use(deflist_plugin).use(admon_plugin)
    return reader.use(container_plugin, "admonition", validate=_is_admonition, render=_admonition)


def _is_admonition(params: str, _: str) -> bool:
    return _CONTAINER.match(params) is not None


def _admonition(_: Any, tokens: Any, index: int, *__: Any) -> str:
    """Its begin or end, in the markup of Python-Markdown's."""
    match = _CONTAINER.match(tokens[index].info)
    if tokens[index].nesting < 0 or match is None:
        return "</div>\n"
    kind, bracketed, bare = match.groups()
    title = (bracketed or bare or "").strip() or kind.capitalize()
    return f'<div class="admonition {kind}">\n<p class="admonition-title">{escape(title)}</p>\n'


def _front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Its values by name in lower case. What only looks like front matter is text."""
    for pattern, load in ((_YAML, _yaml), (_TOML, tomllib.loads)):
        match = pattern.match(text)
        if match is not None and (values := _loaded(load, match.group(1))) is not None:
            return values, text[match.end() :]
    return {}, text


def _yaml(text: str) -> Any:
    """With all values as strings, as they stand there: nothing else is made of them."""
    return yaml.load(text, yaml.BaseLoader)


def _loaded(load: Any, text: str) -> dict[str, Any] | None:
    """None for what is no list of values, and for what can't be loaded: nobody could tell that from text."""
    if len(text) > MAX_FRONT_MATTER_CHARS:
        return None
    try:
        values = load(text)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError):
        return None  # this page's front matter is bad
    return {str(name).lower(): value for name, value in values.items()} if isinstance(values, dict) else None


def _first(values: dict[str, Any], names: tuple[str, ...], read: Any) -> str | None:
    for name in names:
        value = values.get(name)
        text = value.isoformat() if isinstance(value, date) else value
        if isinstance(text, str) and text not in _NULLS and (found := read(_paired(text))):
            return str(found)
    return None


def _paired(text: str) -> str:
    """YAML's escapes may name the halves of a character, as JSON's do; PyYAML leaves them apart."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
