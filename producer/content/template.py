"""A site's template: which element holds the content, learnt from several pages, for pages that do not say it.

A template repeats its frame on every page, word for word, while the content differs. A `Sketch` of a page has its
pieces of text as hashes, and its larger containers with the pieces in each. Over the sketches of one host a piece that
half of the pages have is frame, and the content's element is the smallest one that has nearly all other text on nearly
all pages. Its path from `body` down, of element names, classes and places among equal siblings, is the template.

Text of links does not count: lists of other pages, and of places on the same one, differ from page to page too.
"""

import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import islice
from typing import Final, TypeAlias, cast

import msgspec
from lxml import etree

Element: TypeAlias = etree._Element

PAGES: Final = 5
"""Sketches that a template is learnt from."""
MIN_PAGES_WITH: Final = 0.75
MIN_COVERED: Final = 0.95
"""Of a page's own text, on average over the pages that have the element."""
MIN_FRAME: Final = 0.02
"""A frame with less of the text is not worth a template."""
MAX_PIECES: Final = 5_000
MAX_CANDIDATES: Final = 40
MIN_CANDIDATE: Final = 0.1
"""Of the page's text; what is smaller holds no content."""
MAX_PATH_CHARS: Final = 1_000
_CONTAINERS: Final = frozenset("div td section article main center".split())
_NO_TEXT: Final = frozenset("script style template noscript svg head nav title".split())


class Candidate(msgspec.Struct, frozen=True):
    """`first` to `end`: its pieces of text."""

    path: str
    first: int
    end: int


class Sketch(msgspec.Struct, frozen=True):
    """`pieces`: of each piece of text its hash and length in characters, 0 for a link's; `chars`: of all, links too."""

    pieces: tuple[tuple[int, int], ...]
    candidates: tuple[Candidate, ...]
    chars: int


def sketch_of(root: Element) -> Sketch:
    sketcher = _Sketcher()
    sketcher.walk(_body(root))
    return sketcher.finished()


class _Sketcher:
    def __init__(self) -> None:
        self._pieces: list[tuple[int, int]] = []
        self._ends: list[int] = []
        """By piece: the characters up to its end, links counted."""
        self._chars = 0
        self._found: list[tuple[Element, int, int]] = []

    def walk(self, body: Element) -> None:
        starts: list[int] = []
        links = 0
        walk = etree.iterwalk(body, events=("start", "end"))
        for event, node in walk:
            if event == "start":
                starts.append(len(self._pieces))
                links += node.tag == "a"
                if node.tag in _NO_TEXT or len(self._pieces) >= MAX_PIECES:
                    walk.skip_subtree()
                    continue
                self._add(node.text, links)
            else:
                first = starts.pop()
                if node.tag in _CONTAINERS and node is not body:
                    self._found.append((node, first, len(self._pieces)))
                links -= node.tag == "a"
                if node is not body:
                    self._add(node.tail, links)

    def _add(self, text: str | None, links: int) -> None:
        if text and (words := " ".join(text.split())):
            self._chars += len(words)
            self._pieces.append((zlib.crc32(words.encode("utf-8", "replace")), 0 if links else len(words)))
            self._ends.append(self._chars)

    def finished(self) -> Sketch:
        sized = [(self._size(first, end), node, first, end) for node, first, end in self._found]
        large = sorted((one for one in sized if one[0] >= MIN_CANDIDATE * self._chars), key=lambda one: -one[0])
        candidates = (Candidate(path_to(node), first, end) for _, node, first, end in large[:MAX_CANDIDATES])
        kept = tuple(each for each in candidates if len(each.path) <= MAX_PATH_CHARS)
        return Sketch(tuple(self._pieces), kept, self._chars)

    def _size(self, first: int, end: int) -> int:
        return self._ends[end - 1] - (self._ends[first - 1] if first else 0) if end > first else 0


def learn(sketches: Sequence[Sketch]) -> str | None:
    """The path of the element that holds the content; None where there is none, or no frame around it."""
    pages = [sketch for sketch in sketches if sketch.chars]
    seen = Counter(piece for page in pages for piece in {piece for piece, _ in page.pieces})
    frame = {piece for piece, times in seen.items() if times >= max(2, len(pages) / 2)}
    shares: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for page in pages:
        for path, share in _shares(page, frame).items():
            shares[path].append(share)
    fitting = [
        (_mean([size for _, size in found]), -len(path), path)
        for path, found in shares.items()
        if len(found) >= MIN_PAGES_WITH * len(pages) and _mean([covered for covered, _ in found]) >= MIN_COVERED
    ]
    if not fitting:
        return None
    size, _, path = min(fitting)
    return path if size <= 1 - MIN_FRAME else None


def _shares(page: Sketch, frame: set[int]) -> dict[str, tuple[float, float]]:
    """By candidate: the share that it has of the page's own text, and of all its pieces."""
    own, whole = [0], [0]
    for piece, chars in page.pieces:
        own.append(own[-1] + (0 if piece in frame else chars))
        whole.append(whole[-1] + 1)
    if not own[-1]:
        return {}
    return {
        each.path: ((own[each.end] - own[each.first]) / own[-1], (whole[each.end] - whole[each.first]) / whole[-1])
        for each in page.candidates
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def element_at(root: Element, path: str) -> Element | None:
    """The element of a template's path; None where the page has another one."""
    node: Element | None = _body(root)
    for step in path.split("/"):
        if node is None:
            return None
        name, _, place = step.partition(" ")
        alike = (child for child in node if _name(child) == name)
        node = next(islice(alike, int(place or 0), None), None)
    return node


def path_to(element: Element) -> str:
    """From below `body` down to the element."""
    steps: list[str] = []
    node: Element | None = element
    while node is not None and node.tag != "body":
        steps.append(_step(node))
        node = node.getparent()
    return "/".join(reversed(steps))


def _step(node: Element) -> str:
    name = _name(node)
    place = sum(1 for other in node.itersiblings(cast(str, node.tag), preceding=True) if _name(other) == name)
    return f"{name} {place}" if place else name


def _name(node: Element) -> str:
    classes = ".".join((node.get("class") or "").replace("/", "").split())
    return f"{node.tag}.{classes}" if classes else str(node.tag)


def _body(root: Element) -> Element:
    body = root.find("body")
    return root if body is None else body
