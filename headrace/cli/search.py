"""`headrace search`."""

import re

import click
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from headrace.cli.root import App, pass_app, print_json
from headrace.client import Json

EXCERPT_CHARS = 300


@click.command()
@click.argument("kb")
@click.argument("query", nargs=-1, required=True)
@click.option("-k", default=5, show_default=True, type=click.IntRange(1, 100), help="How many hits.")
@click.option("--mode", type=click.Choice(["hybrid", "vector", "keyword"]), default="hybrid", show_default=True)
@click.option(
    "--generation", type=click.IntRange(1), help="Search as of this generation.  [default: the published one]"
)
@click.option("--json", "as_json", is_flag=True, help="The answer as JSON, with whole texts.")
@pass_app
def search(app: App, kb: str, query: tuple[str, ...], k: int, mode: str, generation: int | None, as_json: bool) -> None:
    """Ask KB a question.

    \b
    Examples:
      headrace search docs "how do I close a file when an exception is raised?"
      headrace search docs context manager -k 3 --mode keyword
      headrace search docs "install" --json | jq -r '.hits[].url'
    """
    answer = app.client.search(kb, {"query": " ".join(query), "k": k, "mode": mode, "generation": generation})
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
        print_hit(app.out, hit, number, " ".join(query))


def print_hit(console: Console, hit: Json, number: int, query: str) -> None:
    """Title, heading path, score, URL, and what of the text is nearest to the query."""
    path = [part for part in hit.get("heading_path") or () if part != hit.get("title")]
    head = Text.assemble(
        (f"{number}. ", "bold"), (str(hit.get("title") or hit.get("url")), "bold"), (" › ".join(["", *path]), "cyan")
    )
    head.append(f"  {float(hit.get('score') or 0):.3f}", style="dim")
    console.print(head, soft_wrap=True)
    console.print(f"   [blue]{escape(str(hit.get('url')))}", soft_wrap=True)
    shown = Text(excerpt(str(hit.get("text") or ""), query), style="dim")
    if console.is_terminal:
        console.print(Padding(shown, (0, 0, 0, 3)))
    else:
        console.print("  ", shown, soft_wrap=True)


def excerpt(text: str, query: str = "", chars: int = EXCERPT_CHARS) -> str:
    """One line of a text, from the sentence on that shares the most words with the query, cut at a word."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    sentences = re.split(r"(?<=[.!?:]) ", " ".join(" ".join(lines).split()))
    pairs = [
        (_shared(" ".join(sentences[at : at + 2]), query), _shared(each, query)) for at, each in enumerate(sentences)
    ]
    start = pairs.index(max(pairs))
    flat = " ".join(sentences[start:])
    head = "… " if start else ""
    return head + (flat if len(flat) <= chars else flat[:chars].rsplit(" ", 1)[0] + " …")


def _shared(text: str, query: str) -> int:
    """How many of the query's longer words stand in the text, give or take an ending."""
    words = {word[:6] for word in re.findall(r"\w{4,}", query.lower())}
    return sum(word in text.lower() for word in words)
