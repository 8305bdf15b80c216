"""`headrace settings` and `headrace version`."""

import os
import platform
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from headrace import __version__
from headrace.cli.root import USAGE, App, Failure, pass_app, print_json
from headrace.settings import Secret, Settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, a list.")
@pass_app
def settings(app: App, as_json: bool) -> None:
    """All settings: variable, value now, default, meaning. Secrets are shown as ***.

    Those that don't fit are marked, and what they should be is told at the end.
    """
    current, wrong = Settings.as_far_as_they_fit()
    rows = setting_rows(current, wrong)
    print_json(rows) if as_json else _show(app, rows)
    told = [f"{variable} does not fit: {says}" for variable, says in wrong.items()]
    if told := told or list(filter(None, [current.misfit()])):
        raise Failure("\n".join(told), USAGE)


def _show(app: App, rows: list[dict[str, Any]]) -> None:
    table = Table("variable", "value", "default", "meaning", box=None)
    for row in rows:
        table.add_row(row["variable"], _now(row), escape(_text(row["default"])), escape(row["meaning"]))
    app.out.print(table)


def _now(row: dict[str, Any]) -> str:
    if row["problem"]:
        return "[red]✗ does not fit[/]"
    value = escape(_text(row["value"]))
    return f"[bold]{value}[/]" if row["set"] else value


def setting_rows(current: Settings, wrong: Mapping[str, str]) -> list[dict[str, Any]]:
    """One row per variable, in the order of `Settings`. `wrong`: what is wrong with some, by variable; their value is
    not shown, as it may be a secret in the wrong place."""
    return [
        {
            "variable": each.metadata["env"],
            "value": None if each.metadata["env"] in wrong else _plain(getattr(current, each.name)),
            "default": _plain(each.default),
            "set": bool(os.environ.get(each.metadata["env"])),
            "meaning": each.metadata["says"],
            "problem": wrong.get(each.metadata["env"]),
        }
        for each in fields(current)
    ]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@pass_app
def version(app: App, as_json: bool) -> None:
    """The version of Headrace."""
    if as_json:
        print_json({"headrace": __version__, "python": platform.python_version()})
    else:
        app.out.print(f"headrace {__version__} (Python {platform.python_version()})")


def _plain(value: Any) -> Any:
    if isinstance(value, Secret):
        return "***"
    if isinstance(value, tuple):  # names and values, as they are written
        return ",".join(f"{name}={each}" for name, each in value) or None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _text(value: Any) -> str:
    return "–" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
