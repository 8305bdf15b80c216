"""`headrace search`."""

import re
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from headrace.cli.root import App, pass_app, print_json
from headrace.client import Json

EXCERPT_CHARS = 300
DUPLICATES_SHOWN = 3
_HEADING_MARK = re.compile(r"(?:^|(?<=\n))#{1,6} ")


@click.command()
@click.argument("kb")
@click.argument("query", nargs=-1, required=True)
@click.option("-k", default=5, show_default=True, type=click.IntRange(1, 100), help="How many hits.")
@click.option(
    "--mode",
    type=click.Choice(["hybrid", "vector", "keyword"]),
    default="hybrid",
    show_default=True,
    help="By words and meaning, by meaning alone (finds other words for the same), or by words alone (finds names).",
)
@click.option(
    "--alpha", type=click.FloatRange(0, 1), help="In hybrid: 0 goes by words, 1 by meaning.  [default: measured]"
)
@click.option("--path", "paths", multiple=True, metavar="GLOB", help="Pages with this path only; may be repeated.")
@click.option("--heading", metavar="TEXT", help="Only below a heading that contains TEXT, in any case.")
@click.option("--context", default=0, type=click.IntRange(0, 10), metavar="N", help="Whole texts, and N around each.")
@click.option("--no-fold", is_flag=True, help="Show hits that say the same one by one.")
@click.option(
    "--generation", type=click.IntRange(1), help="Search as of this generation.  [default: the published one]"
)
@click.option("--json", "as_json", is_flag=True, help="The answer as JSON, with whole texts.")
@pass_app
def search(app: App, /, kb: str, query: tuple[str, ...], as_json: bool, **asked: Any) -> None:
    """Ask KB a question.

    Each hit shows its title and headings, its score, its URL, and the passages that hold words of the question (bold on
    a terminal); a hit that was found by its meaning alone shows its beginning. Hits that say the same are one, with
    the other pages named.

    A GLOB is one as in a definition's include: /docs/** counts from the root, *.html and api/** at any depth, /docs/ is
    everything beneath, * stays within a segment, https://example.org/docs/** names a host.

    \b
    Examples:
      headrace search docs "how do I close a file when an exception is raised?"
      headrace search docs context manager -k 3 --mode keyword
      headrace search docs timeout --path "/reference/**" --path "*.html" --heading configuration
      headrace search docs "rotate the logs" --context 1
      headrace search docs "install" --json | jq -r '.hits[].url'
    """
    answer = app.client.search(kb, body(" ".join(query), **asked))
    if as_json:
        print_json(answer)
        return
    if answer.get("provisional"):
        app.err.print("[yellow]Nothing is published yet: this is what the running job has indexed so far.")
    if answer.get("note"):
        app.err.print(f"[yellow]{escape(str(answer['note']))}")
    if not answer.get("hits"):
        app.out.print("Nothing fits.")
    for number, hit in enumerate(answer.get("hits", ()), 1):
        print_hit(app.out, hit, number, whole=asked["context"] > 0)


def body(
    query: str,
    *,
    k: int,
    mode: str,
    generation: int | None,
    alpha: float | None,
    paths: Sequence[str],
    heading: str | None,
    context: int,
    no_fold: bool,
) -> Json:
    filters = {"path": list(paths) or None, "heading": heading}
    given = {
        "alpha": alpha,
        "filters": {name: value for name, value in filters.items() if value is not None} or None,
        "neighbours": context or None,
        "fold": False if no_fold else None,
    }
    named = {name: value for name, value in given.items() if value is not None}
    return {"query": query, "k": k, "mode": mode, "generation": generation} | named


def print_hit(console: Console, hit: Json, number: int, *, whole: bool = False) -> None:
    """Title, heading path, score, URL, and what of the text holds the query's words, or all of it."""
    path = [part for part in hit.get("heading_path") or () if part != hit.get("title")]
    head = Text.assemble(
        (f"{number}. ", "bold"), (str(hit.get("title") or hit.get("url")), "bold"), (" › ".join(["", *path]), "cyan")
    )
    head.append(f"  {float(hit.get('score') or 0):.3f}", style="dim")
    console.print(head, soft_wrap=True)
    console.print(f"   [blue]{escape(str(hit.get('url')))}", soft_wrap=True)
    if duplicates := hit.get("duplicates"):
        console.print(f"   [dim]also at {escape(_places(duplicates))}", soft_wrap=True)
    if whole:
        _print_whole(console, hit)
        return
    shown = passages(hit)
    if console.is_terminal:
        console.print(Padding(shown, (0, 0, 0, 3)))
    else:
        console.print("  ", shown, soft_wrap=True)


def passages(hit: Json) -> Text:
    """One line: the highlights, their matches bold, or the beginning of the text."""
    text = str(hit.get("text") or "")
    if not hit.get("highlights"):
        return Text(excerpt(text), style="dim")
    shown, end = Text(style="dim"), 0
    for passage in hit["highlights"]:
        start = max(text.find("".join(part["text"] for part in passage), end), end)
        shown.append("… " if start > end and text[end:start].strip() else "")
        for part in passage:
            flat = re.sub(r"\s+", " ", _HEADING_MARK.sub("", part["text"]))
            shown.append(flat, style="bold not dim" if part.get("match") else None)
        end = start + sum(len(part["text"]) for part in passage)
        shown.append(" ")
    shown.append("…" if text[end:].strip() else "")
    shown.rstrip()
    return shown


def excerpt(text: str, chars: int = EXCERPT_CHARS) -> str:
    """One line of a text's beginning, without its headings, cut at a word."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    flat = " ".join(" ".join(lines).split())
    return flat if len(flat) <= chars else flat[:chars].rsplit(" ", 1)[0] + " …"


def _places(duplicates: Sequence[Json]) -> str:
    urls = list(dict.fromkeys(str(each.get("url")) for each in duplicates))
    rest = len(urls) - DUPLICATES_SHOWN
    return ", ".join(urls[:DUPLICATES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _print_whole(console: Console, hit: Json) -> None:
    """The hit's text between its neighbours, which are dim."""
    chunks = [(each, "dim") for each in hit.get("before") or ()]
    chunks += [(hit, ""), *((each, "dim") for each in hit.get("after") or ())]
    for chunk, style in chunks:
        console.print(Padding(Text(str(chunk.get("text") or ""), style=style), (0, 0, 1, 3)))
