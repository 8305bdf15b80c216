"""Words within a line of pydoc's plain text, as HTML: literals, emphasis, links to other topics."""

import re
from collections.abc import Iterable, Mapping
from html import escape

_LITERAL = re.compile(r'"([^"]+)"')
_STRONG = re.compile(r"(?<![\w*])\*\*([^\s*](?:[^*]*[^\s*])?)\*\*(?![\w*])")
_EMPHASIS = re.compile(r"(?<![\w*])\*([^\s*](?:[^*]*[^\s*])?)\*(?![\w*])")

_BROKEN = re.compile(r"(?<=\w)- (?=[a-z])")
"""A compound word that was wrapped at its hyphen."""


class Inline:
    """Renders the text of one page; each target is linked where it is first named.

    titles: topic title to URL. words: literal, such as a keyword, to URL.
    """

    def __init__(self, titles: Mapping[str, str], words: Mapping[str, str]) -> None:
        self._titles, self._words = titles, words
        self._linked: set[str] = set()
        # A title of one word is too often just that word.
        known = sorted((title for title in titles if " " in title), key=len, reverse=True)
        self._title = re.compile("|".join(rf"\b{re.escape(title)}\b" for title in known)) if known else None

    def render(self, lines: Iterable[str]) -> str:
        """Lines of one paragraph; a literal may span two of them."""
        text = _BROKEN.sub("-", " ".join(" ".join(lines).split()))
        parts: list[str] = []
        end = 0
        for match in _LITERAL.finditer(text):
            parts.append(self._prose(text[end : match.start()]))
            parts.append(self._literal(match.group(1)))
            end = match.end()
        return "".join(parts) + self._prose(text[end:])

    def _literal(self, text: str) -> str:
        code = f"<code>{escape(text)}</code>"
        return self._once(self._words[text], code) if text in self._words else code

    def _prose(self, text: str) -> str:
        linked = self._title.sub(lambda match: f"\0{match.group()}\0", text) if self._title else text
        parts = linked.split("\0")
        return "".join(self._named(part) if index % 2 else _emphasised(part) for index, part in enumerate(parts))

    def _named(self, title: str) -> str:
        return self._once(self._titles[title], escape(title))

    def _once(self, url: str, html: str) -> str:
        if url in self._linked:
            return html
        self._linked.add(url)
        return f'<a href="{url}">{html}</a>'


def _emphasised(text: str) -> str:
    safe = escape(text, quote=False)
    return _EMPHASIS.sub(r"<em>\1</em>", _STRONG.sub(r"<strong>\1</strong>", safe))
