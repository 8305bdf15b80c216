"""`headrace dead-letters`."""

import re
from typing import Any

import click
from rich.markup import escape

from headrace.cli.root import FAILED, App, Failure, pass_app, print_json
from headrace.cli.rows import Rows
from headrace.cli.view import moment
from headrace.client import API, Json


class _Place(click.ParamType):
    """partition/offset, as the table shows it."""

    name = "PLACE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Json:
        found = re.fullmatch(r"(\d+)/(\d+)", str(value))
        if found is None:
            self.fail(f"{value!r} is no place; write partition/offset, such as 2/17", param, ctx)
        return {"partition": int(found[1]), "offset": int(found[2])}


class _ListByDefault(click.Group):
    """`headrace dead-letters [KB]` lists: what is no subcommand is a knowledge base."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in (*self.commands, "--help", "-h"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group("dead-letters", cls=_ListByDefault)
def dead_letters() -> None:
    """Records that failed by themselves: list, show, retry.

    \b
    Examples:
      headrace dead-letters                          of all knowledge bases
      headrace dead-letters docs --state waiting
      headrace dead-letters show 2/17                the record as it came, and why it failed
      headrace dead-letters retry 2/17 2/18
      headrace dead-letters retry --kb docs --reason "400"
      headrace dead-letters retry --all
    """


@dead_letters.command("list")
@click.argument("kb", required=False)
@click.option("--state", type=click.Choice(["waiting", "retried", "healed", "void"]), help="Only such ones.")
@click.option("--reason", help="Only those whose reason contains this.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, a list.")
@pass_app
def list_(app: App, kb: str | None, state: str | None, reason: str | None, as_json: bool) -> None:
    """The dead letters of KB, or of all."""
    from urllib.parse import urlencode

    asked = {name: value for name, value in {"kb": kb, "state": state, "reason": reason}.items() if value}
    rows = app.client.all_rows(f"{API}/dead-letters?{urlencode({'limit': 1000, **asked})}", "dead_letters")
    if as_json:
        print_json(rows)
        return
    table = Rows("place", "KB", "state", "stage", "at", "chunk", "reason")
    for row in rows:
        table.add_row(
            _place(row["place"]), row["kb_id"] or "–", row["state"], row["stage"], moment(row["dead_lettered_at"]),
            row["chunk_id"] or "–", escape(row["reason"]),
        )  # fmt: skip
    app.out.print(table if rows else "There are none.")


@dead_letters.command()
@click.argument("place", type=_Place())
@pass_app
def show(app: App, place: Json) -> None:
    """The record at PLACE as it came, and why it failed, as JSON."""
    print_json(app.client.call("GET", f"{API}/dead-letters/{_place(place)}"))


@dead_letters.command()
@click.argument("places", nargs=-1, type=_Place())
@click.option("--kb", help="Those of this knowledge base.")
@click.option("--job", help="Those of this job.")
@click.option("--reason", help="Those whose reason contains this.")
@click.option("--all", "everything", is_flag=True, help="All that wait.")
@click.option("--json", "as_json", is_flag=True, help="The answer as JSON.")
@pass_app
def retry(
    app: App,
    places: tuple[Json, ...],
    kb: str | None,
    job: str | None,
    reason: str | None,
    everything: bool,
    as_json: bool,
) -> None:
    """Try dead letters again: those at PLACES, those that fit the options, or --all."""
    given = {"kb_id": kb, "job_id": job, "reason": reason, "places": list(places) or None, "all": everything or None}
    selection = {name: value for name, value in given.items() if value is not None}
    if not selection:
        raise click.UsageError("say which: PLACES, --kb, --job, --reason, or --all")
    answer = app.client.retry_dead_letters(selection)
    if as_json:
        print_json(answer)
    else:
        _report(app, answer)
    if answer["passed_over"] and not answer["retried"]:
        raise Failure("none of them can be retried", FAILED)


def _report(app: App, answer: Json) -> None:
    app.out.print(f"{answer['retried']:,} retried. See what becomes of them: headrace dead-letters")
    for each in answer["not_retried"]:
        app.err.print(f"  {_place(each['place'])}: {escape(each['reason'])}", soft_wrap=True)
    more = answer["passed_over"] - len(answer["not_retried"])
    if more:
        app.err.print(f"  and {more:,} more")


def _place(place: Json) -> str:
    return f"{place['partition']}/{place['offset']}"
