"""What extraction yields: a page's content as a flat list of Markdown blocks."""

import hashlib
import re
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from producer.content.template import Sketch

_SURROGATE = re.compile("[\ud800-\udfff]")


class BlockKind(StrEnum):
    """`term` is what a definition defines (`dt`); it belongs to what follows it, as a heading does."""

    HEADING = "heading"
    PARAGRAPH = "paragraph"
    TERM = "term"
    CODE = "code"
    LIST = "list"
    TABLE = "table"
    QUOTE = "quote"


class Block(msgspec.Struct, frozen=True):
    """`text` is Markdown, neither empty nor with blank ends; `level` is 1-6 for headings, else 0.

    A heading's text has its `#` marks and a code block's its fence. `language` is a code block's, when the page says.
    """

    kind: BlockKind
    text: str
    level: int = 0
    language: str | None = None

    @property
    def heading(self) -> str:
        """A heading's words without marks."""
        return self.text[self.level :].strip()


class Document(msgspec.Struct, frozen=True):
    """A page's content.

    `links`: canonical, absolute, in page order, each once; from the whole page, navigation included (see `links`).
    They are given even when the page says nofollow: that is for the crawl to heed, as is `noindex`. `nofollow_links`:
    what `rel=nofollow` alone leads to. `canonical_url` may be the page's own, `refresh_to` is another's.
    `content_hash`: sha256 hex of title and text, so that a page whose frame alone changed counts as unchanged.
    `published_on`: an ISO 8601 date.
    `method` says how the main content was found, `template` by which path if by one; `sketch` is there for others to
    learn a template from.
    """

    title: str
    language: str | None
    blocks: list[Block]
    links: list[str]
    content_hash: str
    canonical_url: str | None = None
    refresh_to: str | None = None
    description: str | None = None
    published_on: str | None = None
    noindex: bool = False
    nofollow: bool = False
    nofollow_links: tuple[str, ...] = ()
    method: str = "plain"
    template: str | None = None
    sketch: Sketch | None = None

    @property
    def text(self) -> str:
        return "\n\n".join(block.text for block in self.blocks)


class NotExtractable(Exception):
    """This page has no text to be had; `reason` says why, `limited` that it is a limit of ours. Asking again changes
    nothing. `links`: canonical ones that are to be followed all the same, as a feed's are."""

    def __init__(self, reason: str, *, limited: bool = False, links: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.reason, self.limited, self.links = reason, limited, tuple(links)


def scalars(text: str) -> str:
    """The text with U+FFFD for lone surrogates, which escapes of JSON and YAML can make, and no UTF-8 holds."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text)
    return text


def content_hash(title: str, blocks: list[Block]) -> str:
    """sha256 hex over the title and all block texts."""
    texts = "\0".join([title, *(block.text for block in blocks)])
    return hashlib.sha256(texts.encode("utf-8", "replace")).hexdigest()
