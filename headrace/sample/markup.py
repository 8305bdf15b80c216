"""Plain text as Sphinx writes it (what `pydoc_data.topics` holds), back to HTML.

Structure is in the indentation: underlined headings, lists, grid tables, definitions (a term with an indented body),
notes, and code, which is an indented block after a line that ends with a colon, or one that reads like code.
"""

import re
from html import escape
from itertools import pairwise
from textwrap import dedent

from headrace.sample.inline import Inline

_LEVELS = {"*": 1, "=": 2, "-": 3, "~": 4, "^": 5}
_BULLET = re.compile(r"^[*-] +(?=\S)")
_NUMBERED = re.compile(r"^(?:\d+\.|\[\d+\]|\(\d+\)) +(?=\S)")
_NOTES = ("Note:", "Warning:", "See also:", "Caution:", "Tip:")
_RUBRIC = re.compile(r"^-\[ (.+) \]-$")
_RULE = re.compile(r"^([=*~^-])\1{2,}$")
_MARKED_CODE = re.compile(r"::=|^\s*(?:>>>|\.\.\. |->|\(Pdb\)|def |class |import |from \w+ import |@|#)", re.MULTILINE)
_SENTENCE = re.compile(r"^[“(\"*]?[A-Z“\"*(].*", re.DOTALL)


def to_html(text: str, inline: Inline) -> str:
    """The blocks of a topic as HTML, headings from `<h1>` down."""
    return "\n".join(_Blocks(text.splitlines(), inline).render())


class _Blocks:
    """Reads lines of one indentation; deeper ones are read by a reader of their own."""

    def __init__(self, lines: list[str], inline: Inline) -> None:
        self._lines, self._inline, self._at = lines, inline, 0

    def render(self) -> list[str]:
        blocks: list[str] = []
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if not line.strip() or _RULE.match(line):
                self._at += 1
            elif line.startswith(" "):
                blocks.append(self._indented(self._take_indented()))
            else:
                blocks.append(self._flush_left(line))
        return blocks

    def _flush_left(self, line: str) -> str:
        if rubric := _RUBRIC.match(line):
            self._at += 1
            return f"<h2>{escape(rubric.group(1))}</h2>"
        if (level := self._heading_level()) is not None:
            self._at += 2
            return f"<h{level}>{self._inline.render([line])}</h{level}>"
        if line.startswith("+-"):
            return self._table()
        for marker, tag in ((_BULLET, "ul"), (_NUMBERED, "ol")):
            if marker.match(line):
                return self._list(marker, tag)
        return self._paragraph()

    def _heading_level(self) -> int | None:
        below = self._lines[self._at + 1] if self._at + 1 < len(self._lines) else ""
        return _LEVELS[below[0]] if _RULE.match(below) else None

    def _paragraph(self) -> str:
        start = self._at
        while self._at < len(self._lines) and self._lines[self._at][:1].strip():
            self._at += 1
        words = self._lines[start : self._at]
        attached = self._at < len(self._lines) and self._lines[self._at].startswith(" ")
        body = self._take_indented()
        if not body:
            return f"<p>{self._inline.render(words)}</p>"
        if words[-1] in _NOTES:
            return f'<aside class="note"><p><strong>{words[-1]}</strong></p>{self._nested(body)}</aside>'
        if not attached and _begins_structure(body[0]):
            return f"<p>{self._inline.render(words)}</p>\n{self._nested(body)}"
        if not attached and (words[-1].endswith(":") or _reads_like_code(body)):
            return f"<p>{self._inline.render(words)}</p>\n{_code(body)}"
        return self._definition(words, body)

    def _definition(self, words: list[str], body: list[str]) -> str:
        terms = "".join(f"<dt>{self._term(word)}</dt>" for word in words)
        return f"<dl>{terms}<dd>{self._nested(body)}</dd></dl>"

    def _term(self, word: str) -> str:
        """A signature as it stands; other terms are prose."""
        return f"<code>{escape(word)}</code>" if "(" in word and '"' not in word else self._inline.render([word])

    def _indented(self, body: list[str]) -> str:
        if _reads_like_code(body):
            return _code(body)
        return f"<blockquote>{self._nested(body)}</blockquote>"

    def _list(self, marker: re.Pattern[str], tag: str) -> str:
        items: list[str] = []
        while self._at < len(self._lines) and (match := marker.match(self._lines[self._at])):
            first = self._lines[self._at][match.end() :]
            self._at += 1
            inner = _Blocks([first, *self._take_item(match.end())], self._inline)
            items.append(f"<li>{''.join(inner.render())}</li>")
        return f"<{tag}>{''.join(items)}</{tag}>"

    def _take_item(self, indent: int) -> list[str]:
        return [
            line[indent:] if not line[:indent].strip() else line.strip() for line in self._take_indented(blanks=True)
        ]

    def _table(self) -> str:
        start = self._at
        while self._at < len(self._lines) and self._lines[self._at][:1] in ("+", "|"):
            self._at += 1
        return _table(self._lines[start : self._at], self._inline)

    def _nested(self, body: list[str]) -> str:
        return "\n".join(_Blocks(body, self._inline).render())

    def _take_indented(self, blanks: bool = False) -> list[str]:
        """The indented lines that follow, blank ones among them too, without their common indentation."""
        start = end = self._at
        for index in range(start, len(self._lines)):
            if self._lines[index].startswith(" "):
                end = index + 1
            elif self._lines[index].strip():
                break
        taken, self._at = self._lines[start:end], end
        while self._at < len(self._lines) and not self._lines[self._at].strip():
            self._at += 1
        return taken if blanks else dedent("\n".join(taken)).strip("\n").splitlines()


def _reads_like_code(body: list[str]) -> bool:
    text = "\n".join(body)
    if _MARKED_CODE.search(text):
        return not _SENTENCE.match(text) or "::=" in text.split("\n\n")[0]
    first = text.split("\n\n")[0]
    prose = _SENTENCE.match(first) and first.rstrip().endswith((".", ":", ")", "!", "?"))
    return not prose and not _begins_structure(first)


def _begins_structure(line: str) -> bool:
    """Whether a list or a table begins here."""
    return bool(_BULLET.match(line) or _NUMBERED.match(line) or line.startswith("+-"))


def _code(body: list[str]) -> str:
    return f"<pre><code>{escape(chr(10).join(body))}</code></pre>"


def _table(lines: list[str], inline: Inline) -> str:
    """A grid table; the row above a line of `=` is the head."""
    borders = [index for index, char in enumerate(lines[0]) if char == "+"]
    rows: list[str] = []
    gathered: list[list[str]] = [[] for _ in borders[1:]]
    tag = "th" if any("=" in line and line.startswith("|=") for line in lines) else "td"
    for line in lines[1:]:
        if line.startswith(("+-", "+=", "|=")):
            cells = "".join(f"<{tag}>{inline.render(cell)}</{tag}>" for cell in gathered)
            rows.append(f"<tr>{cells}</tr>")
            gathered = [[] for _ in borders[1:]]
            tag = "td"
        else:
            for cell, (left, right) in zip(gathered, pairwise(borders), strict=True):
                cell.append(line[left + 1 : right].strip())
    return f"<table>{''.join(rows)}</table>"
