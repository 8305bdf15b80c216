"""Generated documentation pages: the same seed gives the same bytes, on every machine."""

import random
from dataclasses import dataclass
from html import escape

WORDS = (
    "archive broker cache channel chart client cluster column commit config cursor dataset deploy digest driver "
    "engine event export field filter folder format frame gateway handle header index ingest journal kernel label "
    "layer ledger library listener lookup manifest mapping marker merge message metric mirror module monitor "
    "network node notify object offset option origin output packet page parser partition pattern payload pipeline "
    "plugin policy pool prefix probe process profile project proxy query queue quota reader record region "
    "registry release replica report request resource result retry router runtime sample schema scope segment "
    "sensor session shard signal snapshot socket source stage storage stream sync table target template tenant "
    "thread ticket token topic trace transfer trigger update vector version view volume watch window worker "
    "writer zone "
).split()
VERBS = (
    "accepts builds checks closes collects delivers drops emits follows forwards holds keeps loads marks reads"
).split()
BRANCHES = 10
"""Links from a page to the pages below it: 1,000 pages are three clicks deep."""


@dataclass(frozen=True)
class Shape:
    """How pages look: `min_kb` and `max_kb` bound a page's HTML."""

    pages: int
    min_kb: int = 8
    max_kb: int = 80
    seed: int = 1


def path_of(number: int) -> str:
    """Page 0 is the start page of the site."""
    return "/docs/" if number == 0 else f"/docs/part-{number % 10}/page-{number:05}.html"


def page_html(shape: Shape, number: int, version: int = 0) -> str:
    """A whole page; another `version` is the same page with another text in one section."""
    draw = random.Random(f"{shape.seed}/{number}")
    title = f"{_phrase(draw)} {number}"
    wanted = draw.triangular(shape.min_kb, shape.max_kb, shape.min_kb * 1.5) * 1024
    parts = [_edited(version)] if version else []
    size = section = 0
    while size < wanted:
        section += 1
        part = _section(draw, number, section)
        parts.append(part)
        size += len(part)
    return _frame(title, _navigation(shape, number), "\n".join(parts), _children(shape, number))


def _frame(title: str, navigation: str, body: str, children: str) -> str:
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title} - Fake docs</title>
<style>body {{ font-family: serif }}</style><script>var tracking = "not for the index";</script></head>
<body><header class="site-header"><a href="/docs/">Fake docs</a> <a href="/docs/#search">Search</a></header>
<nav class="sidebar"><h2>Contents of the whole site</h2>{navigation}</nav>
<main><article><h1>{title}</h1>
{body}
<h2>Where to go on</h2><ul>{children}</ul></article></main>
<footer class="site-footer"><p>Copyright of nobody. Cookie preferences. Terms of use.</p></footer></body></html>"""


def _section(draw: random.Random, number: int, section: int) -> str:
    parts = [f"<h2 id='s{section}'>{_phrase(draw)} {number}.{section}</h2>"]
    for _ in range(draw.randint(2, 4)):
        parts.append(f"<p>{_paragraph(draw)}</p>")
    kind = draw.choice(("code", "table", "list", "deeper", "plain"))
    if kind == "code":
        parts.append(f"<pre><code>{escape(_code(draw))}</code></pre>")
    elif kind == "table":
        parts.append(_table(draw))
    elif kind == "list":
        parts.append("<ul>" + "".join(f"<li>{_sentence(draw)}</li>" for _ in range(draw.randint(3, 7))) + "</ul>")
    elif kind == "deeper":
        parts.append(f"<h3>{_phrase(draw)}</h3><p>{_paragraph(draw)}</p>")
    return "\n".join(parts)


def _navigation(shape: Shape, number: int) -> str:
    neighbours = [other for other in range(number - 5, number + 6) if 0 <= other < shape.pages]
    return "".join(f'<a href="{path_of(other)}">Page {other}</a> ' for other in neighbours)


def _children(shape: Shape, number: int) -> str:
    below = range(number * BRANCHES + 1, min(number * BRANCHES + BRANCHES + 1, shape.pages))
    return "".join(f'<li><a href="{path_of(child)}">Page {child}</a></li>' for child in below)


def _edited(version: int) -> str:
    draw = random.Random(f"edit/{version}")
    return f"<h2>Edited {version}</h2><p>{_paragraph(draw)}</p>"


def _phrase(draw: random.Random) -> str:
    return f"{draw.choice(WORDS).capitalize()} {draw.choice(WORDS)} {draw.choice(WORDS)}"


def _sentence(draw: random.Random) -> str:
    words = [draw.choice(WORDS) for _ in range(draw.randint(5, 12))]
    words.insert(2, draw.choice(VERBS))
    return "The " + " ".join(words) + "."


def _paragraph(draw: random.Random) -> str:
    return " ".join(_sentence(draw) for _ in range(draw.randint(3, 8)))


def _code(draw: random.Random) -> str:
    lines = [f"def {draw.choice(WORDS)}_{draw.choice(WORDS)}({draw.choice(WORDS)}):"]
    for _ in range(draw.randint(2, 9)):
        lines.append(f"    {draw.choice(WORDS)} = {draw.choice(WORDS)}[{draw.randint(0, 999)}] <= 5")
    return "\n".join(lines)


def _table(draw: random.Random) -> str:
    head = "<tr><th>Setting</th><th>Meaning</th></tr>"
    rows = [f"<tr><td>{draw.choice(WORDS)}</td><td>{_sentence(draw)}</td></tr>" for _ in range(draw.randint(3, 8))]
    return f"<table>{head}{''.join(rows)}</table>"
