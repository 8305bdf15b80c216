"""The pages of the sample site: one per topic of pydoc's, and an index that links to all of them."""

import pydoc
import re
from dataclasses import dataclass
from functools import cache
from html import escape
from pydoc_data.topics import topics

from headrace.sample.inline import Inline
from headrace.sample.markup import to_html

ROOT = "/reference/"
SITE_NAME = "Python language reference"

Entry = str | tuple[str, ...]


@dataclass(frozen=True)
class Page:
    path: str
    title: str
    html: str


@cache
def pages() -> dict[str, Page]:
    """By path; made once a process, in about half a second."""
    titles = {name: title_of(text) for name, text in sorted(topics.items())}
    made = [_index(titles), *(_topic(name, titles) for name in titles)]
    return {page.path: page for page in made}


def path_of(topic: str) -> str:
    return f"{ROOT}{topic}.html"


def title_of(text: str) -> str:
    """The first heading of a topic, without its quotes around literals."""
    return text.strip().splitlines()[0].replace('"', "")


def related(topic: str) -> list[str]:
    """What pydoc's help names beside a topic, as topics; it names keywords and topics by their own names."""
    names: list[str] = []
    entries: dict[str, Entry] = {**pydoc.Helper.topics, **pydoc.Helper.keywords}
    for entry in entries.values():
        if isinstance(entry, tuple) and entry[0] == topic:
            names += entry[1].split()
    found = (_resolved(name, entries) for name in names)
    return sorted({name for name in found if name and name != topic})


def _resolved(name: str, entries: dict[str, Entry]) -> str | None:
    """The topic behind a name; an entry that is a string names another entry."""
    for _ in range(5):
        entry = entries.get(name)
        if isinstance(entry, tuple):
            return entry[0] if entry[0] in topics else None
        if not entry:
            return None
        name = entry
    return None


def _keywords() -> dict[str, str]:
    entries: dict[str, Entry] = {**pydoc.Helper.topics, **pydoc.Helper.keywords}
    found = {word: _resolved(word, entries) for word in pydoc.Helper.keywords}
    return {word: path_of(topic) for word, topic in found.items() if topic}


def _topic(name: str, titles: dict[str, str]) -> Page:
    others = {title: path_of(other) for other, title in titles.items() if other != name}
    words = {word: path for word, path in _keywords().items() if path != path_of(name)}
    body = to_html(topics[name], Inline(others, words))
    see = related(name)
    if see:
        links = "".join(f'<li><a href="{path_of(other)}">{escape(titles[other])}</a></li>' for other in see)
        body += f"\n<h2>Related topics</h2>\n<ul>{links}</ul>"
    return Page(path_of(name), titles[name], _frame(titles[name], body, titles))


def _index(titles: dict[str, str]) -> Page:
    rows = "".join(
        f'<li><a href="{path_of(name)}">{escape(title)}</a>: {escape(_first_sentence(topics[name]))}</li>\n'
        for name, title in titles.items()
    )
    body = f"<h1>{SITE_NAME}</h1>\n<p>All {len(titles)} topics that come with this Python.</p>\n<ul>\n{rows}</ul>"
    return Page(ROOT, SITE_NAME, _frame(SITE_NAME, body, titles))


def _first_sentence(text: str) -> str:
    prose = [line for line in text.strip().splitlines()[2:] if line[:1].isalpha() or line[:1] in '“"']
    words = " ".join(prose[:4]).replace('"', "")
    return re.split(r"(?<=\.)\s", words, maxsplit=1)[0]


def _frame(title: str, body: str, titles: dict[str, str]) -> str:
    """The page around the text, with what a crawler should leave out: header, navigation, footer."""
    menu = "".join(f'<li><a href="{path_of(name)}">{escape(other)}</a></li>' for name, other in titles.items())
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{escape(title)} — {SITE_NAME}</title></head>
<body>
<header><a href="{ROOT}">{SITE_NAME}</a></header>
<nav aria-label="All topics"><ul>{menu}</ul></nav>
<main>
{body}
</main>
<footer><p>Text: Python Software Foundation, PSF License. Served by <code>headrace demo</code>.</p></footer>
</body>
</html>
"""
