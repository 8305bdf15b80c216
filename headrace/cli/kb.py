"""`headrace kb list | show | define | delete`."""

import json
from typing import Any, TextIO

import click

from headrace.cli.reason import reason_option
from headrace.cli.root import USAGE, App, Failure, pass_app, print_json
from headrace.cli.rows import Rows
from headrace.cli.view import moment


@click.group()
def kb() -> None:
    """Knowledge bases: list, show, define, delete."""


@kb.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON, a list.")
@pass_app
def list_(app: App, as_json: bool) -> None:
    """All knowledge bases."""
    rows = app.client.kbs()
    if as_json:
        print_json(rows)
        return
    table = Rows("KB", "published", "last", "active job", "updated", "source")
    for row in rows:
        urls = row["definition"]["source"]["urls"]
        more = f" and {len(urls) - 1} more" if len(urls) > 1 else ""
        table.add_row(
            row["kb_id"],
            str(row.get("published_generation") or "–"),
            str(row.get("last_generation") or "–"),
            row.get("active_job_id") or "–",
            moment(row.get("updated_at")),
            f"{urls[0]}{more}",
        )
    app.out.print(table if rows else "There is none yet. Begin with: headrace ingest https://example.org/docs/")


@kb.command()
@click.argument("name")
@pass_app
def show(app: App, name: str) -> None:
    """The definition of a knowledge base and its generations, as JSON.

    \b
    Change a definition:
      headrace kb show docs | jq .definition > docs.json
      $EDITOR docs.json
      headrace kb define docs docs.json
    """
    print_json(app.client.kb(name))


@kb.command()
@click.argument("name")
@click.argument("file", type=click.File("r"))
@reason_option
@click.option("--json", "as_json", is_flag=True, help="The answer as JSON.")
@pass_app
def define(app: App, name: str, file: TextIO, reason: str | None, as_json: bool) -> None:
    """Define NAME, or define it anew, from a JSON FILE (- reads stdin). Starts nothing.

    \b
    The least there can be:
      echo '{"source": {"urls": ["https://example.org/docs/"]}}' | headrace kb define docs -
      headrace ingest --kb docs
    """
    answer = app.client.define(name, _definition(file), reason)
    if as_json:
        print_json(answer)
    else:
        app.out.print(f"{name} is defined. Start it with: headrace ingest --kb {name}")


@kb.command()
@click.argument("name")
@reason_option
@click.option("--yes", "-y", is_flag=True, help="Don't ask.")
@pass_app
def delete(app: App, name: str, reason: str | None, yes: bool) -> None:
    """Drop NAME and everything that is indexed for it. Its history stays in the log."""
    if not yes:
        click.confirm(f"Delete the knowledge base {name} and all that is indexed for it?", abort=True, err=True)
    app.client.delete(name, reason)
    app.out.print(f"{name} is deleted.")


def _definition(file: TextIO) -> dict[str, Any]:
    try:
        value = json.load(file)
    except ValueError as exc:
        raise Failure(f"{file.name} is no JSON: {exc}", USAGE) from exc
    if not isinstance(value, dict):
        raise Failure(f'{file.name} must hold a JSON object, such as {{"source": {{"urls": ["https://…"]}}}}', USAGE)
    return value
