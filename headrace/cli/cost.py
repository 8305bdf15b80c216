"""`headrace cost`."""

from collections.abc import Iterator

import click

from headrace.cli.root import App, pass_app, print_json
from headrace.cli.rows import Rows
from headrace.cli.view import dollars
from headrace.client import Json
from headrace.counted import counted


@click.command()
@click.argument("kb", required=False)
@click.option("--json", "as_json", is_flag=True, help="The answer as JSON.")
@pass_app
def cost(app: App, kb: str | None, as_json: bool) -> None:
    """What embedding cost, of KB or of all.

    By day (UTC), by job, and for the questions of searches (told some seconds late): tokens as the provider counted
    them, dollars at the price of the day. Without KB: by day and by knowledge base, those that were deleted too.
    Prices: headrace settings, HEADRACE_PRICES.

    \b
    Examples:
      headrace cost
      headrace cost docs
      headrace cost docs --json | jq '.days[] | [.day, .usd]'
    """
    answer = app.client.cost(kb)
    if as_json:
        print_json(answer)
        return
    table = Rows(f"day / {'job' if kb else 'KB'}", "calls", "texts", "tokens", "dollars", "not settled")
    for day in answer["days"]:
        table.add_row(day["day"], *_cells(day))
    for name, spent in _parts(answer):
        table.add_row(name, *_cells(spent))
    table.add_row("[bold]in all[/]", *_cells(answer))
    app.out.print(table)


def _parts(answer: Json) -> Iterator[tuple[str, Json]]:
    """Jobs and searches of a knowledge base, or knowledge bases."""
    for each in answer.get("kbs", ()):
        yield each["kb_id"], each
    for job in answer.get("jobs", ()):
        of = "" if job["generation"] is None else f" (generation {job['generation']})"
        yield f"{job['job_id']}{of}", job
    if answer.get("searches", {}).get("calls"):
        yield "searches", answer["searches"]


def _cells(spent: Json) -> list[str]:
    """`not settled`: of calls under way, or of which no end was told; they may have cost so much."""
    left = spent["unsettled_tokens"]
    return [
        f"{spent['calls']:,}",
        f"{spent['texts_embedded']:,}",
        f"{spent['tokens_embedded']:,}",
        dollars(spent["usd"]),
        f"{counted(left, 'token')}, {dollars(spent['unsettled_usd'])}" if left else "–",
    ]
