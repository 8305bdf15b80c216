"""Plain text as blocks."""

import re
from textwrap import dedent

from producer.content.document import Block, BlockKind

_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")


def plain_blocks(text: str) -> list[Block]:
    """Paragraphs as blank lines part them, without the indentation that all their lines have."""
    paragraphs = (dedent(part).strip() for part in _BLANK_LINES.split(unix(text)))
    return [Block(BlockKind.PARAGRAPH, part) for part in paragraphs if part]


def unix(text: str) -> str:
    """With line feeds alone as line ends."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
