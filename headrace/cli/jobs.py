"""`headrace jobs`."""

import click
from rich.markup import escape
from rich.table import Table

from headrace.cli.root import App, pass_app, print_json
from headrace.cli.view import job_table
from headrace.client import API, Json


@click.command()
@click.argument("kb", required=False)
@click.option("--events", is_flag=True, help="The audit trail of the newest job of KB.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, a list.")
@pass_app
def jobs(app: App, kb: str | None, events: bool, as_json: bool) -> None:
    """The jobs of KB, or of all, newest first.

    \b
    Examples:
      headrace jobs
      headrace jobs docs
      headrace jobs docs --events            who commanded what, and what came of it
    """
    if events and not kb:
        raise click.UsageError("--events needs KB: headrace jobs KB --events")
    if kb and events:
        _show(app, _events(app, kb), as_json)
    else:
        names = [kb] if kb else [str(row["kb_id"]) for row in app.client.kbs()]
        found = [job for name in names for job in app.client.jobs(name)]
        if as_json:
            print_json(found)
        else:
            app.out.print(job_table(found) if found else "There was no job yet.")


def _events(app: App, kb: str) -> list[Json]:
    job = app.client.status(kb)["job_id"]
    rows = app.client.all_rows(f"{API}/jobs/{job}/events?limit=1000", "events")
    return [{**row, "what": _brief(row.get("value") or {})} for row in rows]


def _brief(value: Json) -> str:
    """The telling fields of an event, in one line."""
    names = ("action", "state", "outcome", "revision", "reason", "issued_by", "worker", "owner", "dependency", "ended")
    return ", ".join(f"{name} {value[name]}" for name in names if value.get(name) not in (None, "", False))


def _show(app: App, rows: list[Json], as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    table = Table("at", "type", "what", box=None)
    for row in rows:
        table.add_row(str(row["at"]), str(row["type"]), escape(row["what"]))
    app.out.print(table if rows else "There are none.")
