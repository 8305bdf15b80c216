"""Plain text and Markdown as blocks. Markdown is read by its block structure only; inline marks stay."""

import re

from producer.content.document import Block, BlockKind

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)")
_ATX = re.compile(r"^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
_SETEXT = re.compile(r"^ {0,3}(=+|-{2,})\s*$")
_LIST_ITEM = re.compile(r"^\s*(?:[-*+]|\d{1,9}[.)])\s+\S")
_MARKDOWN_LINK = re.compile(
    r"\]\(\s*<?([^\s)>]+)>?[^)]{0,200}\)|<(https?://[^\s>]+)>|^ {0,3}\[[^\]]+\]:\s*<?(\S+?)>?(?:\s|$)", re.M
)
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


def plain_blocks(text: str) -> list[Block]:
    """Paragraphs as blank lines part them."""
    paragraphs = (part.strip("\n").rstrip() for part in re.split(r"\n[ \t]*(?:\n[ \t]*)+", _unix(text)))
    return [Block(BlockKind.PARAGRAPH, part.strip()) for part in paragraphs if part.strip()]


def markdown_blocks(text: str) -> list[Block]:
    """Headings, fenced code, lists, tables, quotes and paragraphs of a Markdown text."""
    blocks: list[Block] = []
    lines = _FRONT_MATTER.sub("", _unix(text)).split("\n")
    position = 0
    while position < len(lines):
        if not lines[position].strip():
            position += 1
            continue
        position = _take_block(lines, position, blocks)
    return blocks


def markdown_links(text: str) -> list[str]:
    """Link targets as written, in order."""
    return [next(filter(None, match.groups()), "") for match in _MARKDOWN_LINK.finditer(text)]


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _take_block(lines: list[str], start: int, blocks: list[Block]) -> int:
    """Append the block at `start`; returns the line after it, always beyond `start`."""
    line = lines[start]
    if match := _ATX.match(line):
        if words := match.group(2):
            level = len(match.group(1))
            blocks.append(Block(BlockKind.HEADING, "#" * level + " " + words, level))
        return start + 1
    if match := _FENCE.match(line):
        return _take_fence(lines, start, match.group(1), match.group(2) or None, blocks)
    return _take_paragraph(lines, start, blocks)


def _take_fence(lines: list[str], start: int, fence: str, language: str | None, blocks: list[Block]) -> int:
    end = start + 1
    while end < len(lines) and not lines[end].strip().startswith(fence):
        end += 1
    text = "\n".join(lines[start : end + 1]).strip()
    blocks.append(Block(BlockKind.CODE, text, language=language))
    return end + 1


def _take_paragraph(lines: list[str], start: int, blocks: list[Block]) -> int:
    end = start + 1
    while end < len(lines) and lines[end].strip() and not _ATX.match(lines[end]) and not _FENCE.match(lines[end]):
        if end == start + 1 and (match := _SETEXT.match(lines[end])) and not _LIST_ITEM.match(lines[start]):
            level = 1 if match.group(1).startswith("=") else 2
            blocks.append(Block(BlockKind.HEADING, "#" * level + " " + lines[start].strip(), level))
            return end + 1
        end += 1
    blocks.append(Block(_kind(lines[start]), "\n".join(lines[start:end]).strip()))
    return end


def _kind(line: str) -> BlockKind:
    if _LIST_ITEM.match(line):
        return BlockKind.LIST
    if line.lstrip().startswith("|"):
        return BlockKind.TABLE
    return BlockKind.QUOTE if line.lstrip().startswith(">") else BlockKind.PARAGRAPH
