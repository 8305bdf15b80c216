"""`headrace search`."""

import click
from rich.console import Console
from rich.markup import escape
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
        print_hit(app.out, hit, number)


def print_hit(console: Console, hit: Json, number: int) -> None:
    """Title, heading path, score, URL and the beginning of the text."""
    path = [part for part in hit.get("heading_path") or () if part != hit.get("title")]
    head = Text.assemble(
        (f"{number}. ", "bold"), (str(hit.get("title") or hit.get("url")), "bold"), (" › ".join(["", *path]), "cyan")
    )
    head.append(f"  {float(hit.get('score') or 0):.3f}", style="dim")
    console.print(head, soft_wrap=True)
    console.print(f"   [blue]{escape(str(hit.get('url')))}", soft_wrap=True)
    console.print(Text(f"   {excerpt(str(hit.get('text') or ''))}", style="dim"), soft_wrap=not console.is_terminal)


def excerpt(text: str, chars: int = EXCERPT_CHARS) -> str:
    """The beginning of a text in one line, cut at a word."""
    flat = " ".join(text.split())
    return flat if len(flat) <= chars else flat[:chars].rsplit(" ", 1)[0] + " …"
