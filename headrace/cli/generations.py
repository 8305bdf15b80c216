"""`headrace generations`, `vacuum`, `changes`."""

import click
from rich.markup import escape

from headrace.cli.reason import reason_option
from headrace.cli.root import App, pass_app, print_json
from headrace.cli.rows import Rows
from headrace.cli.view import moment
from headrace.client import Json
from headrace.counted import counted


@click.command()
@click.argument("kb")
@click.option("--json", "as_json", is_flag=True, help="The answer as JSON.")
@pass_app
def generations(app: App, kb: str, as_json: bool) -> None:
    """The generations of KB, and which can be searched. Newest first."""
    answer = app.client.generations(kb)
    if as_json:
        print_json(answer)
        return
    table = Rows("generation", "state", "search", "base", "changed", "job", "reason")
    for row in answer["generations"]:
        table.add_row(
            str(row["generation"]),
            row["state"],
            "published" if row["searched"] else f"--generation {row['generation']}" if row["searchable"] else "–",
            str(row["base"] or "–"),
            moment(row["changed_at"]),
            row["job_id"],
            row["reason"] or "",
        )
    app.out.print(table if answer["generations"] else f"{kb} has no generation yet.")
    if answer.get("vacuum"):
        app.out.print(_vacuumed(answer["vacuum"]))


@click.command()
@click.argument("kb")
@click.option("--keep", type=click.IntRange(1), help="So many published generations stay searchable.  [default: 1]")
@click.option("--below", type=click.IntRange(1), help="Generations below this one go.")
@reason_option
@click.option("--yes", "-y", is_flag=True, help="Don't ask.")
@click.option("--json", "as_json", is_flag=True, help="The answer as JSON.")
@pass_app
def vacuum(
    app: App, kb: str, keep: int | None, below: int | None, reason: str | None, yes: bool, as_json: bool
) -> None:
    """Delete what only old generations of KB show. They can't be searched or gone back to after that."""
    if keep is not None and below is not None:
        raise click.UsageError("give --keep or --below, not both")
    if not yes:
        what = (
            f"generations below {below}" if below is not None else f"all but the last {keep or 1} published generations"
        )
        click.confirm(f"Vacuum {what} of {kb} for good?", abort=True, err=True)
    answer = app.client.command(kb, "vacuum", reason, keep=keep, below=below)
    if as_json:
        print_json(answer)
    else:
        app.out.print(
            f"{kb}: generations below {answer['vacuumed_below']} are vacuumed. See: headrace generations {kb}"
        )


@click.command()
@click.argument("kb")
@click.argument("first", metavar="[FROM]", required=False, type=click.IntRange(1))
@click.argument("last", metavar="[TO]", required=False, type=click.IntRange(1))
@click.option("--change", type=click.Choice(["added", "changed", "removed", "unchanged"]), help="Only such pages.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1_000), help="Pages shown.")
@click.option("--json", "as_json", is_flag=True, help="The answer as JSON.")
@pass_app
def changes(
    app: App, kb: str, first: int | None, last: int | None, change: str | None, limit: int, as_json: bool
) -> None:
    """What changed between two generations of KB.

    Without FROM and TO: what publishing would change, where a refresh waits for a review; else what the newest
    published generation changed.

    \b
    Examples:
      headrace changes docs --change removed     which pages are gone, and why
      headrace changes docs 3 7
    """
    answer = app.client.changes(kb, from_=first, to=last, change=change, limit=limit)
    if as_json:
        print_json(answer)
        return
    totals = answer["totals"]
    app.out.print(
        f"{kb}: generation {answer['from_generation']} to {answer['to_generation']}"
        + (", not published yet" if answer["provisional"] else "")
    )
    for what, words in (
        ("pages", ("added", "changed", "removed", "unchanged")),
        ("chunks", ("added", "removed", "kept")),
    ):
        app.out.print(f"  {what}: " + ", ".join(f"{totals[f'{what}_{word}']:,} {word}" for word in words))
    if answer["pages"]:
        app.out.print(_page_table(answer["pages"]))
    if answer.get("next_after"):
        app.err.print("There are more: --limit, or --json with the API's `after`.")


def _page_table(pages: list[Json]) -> Rows:
    table = Rows("change", "+", "-", "=", "url", "why")
    for page in pages:
        why = page["reason"] or page["status"] or page["state"] if page["change"] == "removed" else ""
        counts = (str(page[f"chunks_{word}"]) for word in ("added", "removed", "kept"))
        table.add_row(page["change"], *counts, escape(page["url"]), escape(str(why or "")))
    return table


def _vacuumed(state: Json) -> str:
    if state["vacuumed_at"] is None:
        return f"Below {state['below']}: being vacuumed."
    deleted, at = state["objects_deleted"], moment(state["vacuumed_at"])
    return f"Below {state['below']}: vacuumed at {at}, {counted(deleted, 'object')} deleted."
