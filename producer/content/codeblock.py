"""Code blocks: their text with its line breaks, and their language."""

import re
from collections.abc import Iterator
from typing import TypeAlias, cast

from lxml import etree

from producer.content.inline import is_dropped

Element: TypeAlias = etree._Element

_NEEDS_CARE = etree.XPath(
    "boolean(.//*[self::br or self::button or self::div or self::li or (self::a and @class)"
    ' or contains(@class, "lin") or contains(@class, "copy") or @class="boring" or @class="ln"])'
)
_DOXYGEN_LINES = etree.XPath('.//div[contains(concat(" ", @class, " "), " line ")]')
_LANGUAGE = re.compile(
    r"(?:^|\s)(?:language|lang|highlight-source|highlight-text|highlight|src|sourceCode|source|brush|code)(?:-|:\s*|\s+)([a-zA-Z][\w+#.-]*)"
)
_BARE_LANGUAGES = frozenset(
    "bash c clojure cpp csharp css diff go graphql haskell html java javascript js json kotlin lua makefile perl php "
    "powershell python python3 r ruby rust scala sh shell sql swift toml ts typescript xml yaml zsh".split()
)
_NO_LANGUAGE = frozenset(
    "default none text plain plaintext notranslate txt block toolbar wrapper code highlight".split()
)
_LINE_TAGS = ("div", "li", "tr")
"""Elements that each hold a line of code."""
MAX_FENCE = 32
_BLANK_RUN = re.compile(r"\n{4,}")
_LONGEST_FENCE = re.compile(r"`{3,}")


def is_doxygen_fragment(element: Element) -> bool:
    return bool(element.tag == "div" and element.get("class") == "fragment")


def code_text(element: Element) -> str:
    """The text of a `pre` (or a Doxygen fragment), tabs and indentation kept, blank lines at both ends dropped."""
    if element.tag == "div":
        lines = cast("list[Element]", _DOXYGEN_LINES(element))
        text = "\n".join(_plain(line) for line in lines) if lines else _plain(element)
    else:
        text = _careful(element) if cast(bool, _NEEDS_CARE(element)) else _plain(element)
    return _trimmed(text)


def language_of(element: Element) -> str | None:
    """The language named by the block, its `code` child, or a wrapper up to two levels out."""
    candidates = [element, *element[:1]]
    parent = element.getparent()
    for _ in range(2):
        if parent is not None and parent.tag in ("div", "figure", "pre"):
            candidates.append(parent)
            parent = parent.getparent()
    return next((name for node in candidates if (name := _language(node))), None)


def fenced(code: str, language: str | None) -> str:
    """A Markdown code block whose fence is longer than any inside it."""
    longest = max((len(run) for run in _LONGEST_FENCE.findall(code)), default=0)
    fence = "`" * min(max(3, longest + 1), MAX_FENCE)
    return f"{fence}{language or ''}\n{code}\n{fence}"


def _language(node: Element) -> str | None:
    named = node.get("data-lang") or node.get("data-language")
    if named:
        return _accepted(named)
    classes = node.get("class") or ""
    if match := _LANGUAGE.search(classes):
        return _accepted(match.group(1))
    return next((name for name in classes.lower().split() if name in _BARE_LANGUAGES), None)


def _accepted(name: str) -> str | None:
    clean = name.strip().lower()[:30]
    return clean if clean and clean not in _NO_LANGUAGE and not any(c in clean for c in " `\n") else None


def _plain(element: Element) -> str:
    return "".join(cast("Iterator[str]", element.itertext()))


def _careful(element: Element) -> str:
    parts: list[str] = ["\n"]
    """None of them empty."""
    walk = etree.iterwalk(element, events=("start", "end"))
    for event, node in walk:
        if node.tag in _LINE_TAGS and node is not element and not parts[-1].endswith("\n"):
            parts.append("\n")
        if event == "end":
            text = node.tail if node is not element else None
        elif node.tag == "br":
            text = "\n"
        elif node is not element and is_dropped(node):
            walk.skip_subtree()
            text = None
        else:
            text = node.text
        if text:
            parts.append(text)
    return "".join(parts[1:])


def _trimmed(text: str) -> str:
    text = _BLANK_RUN.sub("\n\n\n", text.replace("\xa0", " ").replace("\r\n", "\n"))
    lines = [line.rstrip() for line in text.split("\n")]
    return "\n".join(lines).strip("\n")
