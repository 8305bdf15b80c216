"""`headrace settings` and `headrace version`."""

import os
import platform
from dataclasses import fields
from typing import Any

import click
from rich.table import Table

from headrace import __version__
from headrace.cli.root import App, pass_app, print_json
from headrace.settings import Secret, Settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, a list.")
@pass_app
def settings(app: App, as_json: bool) -> None:
    """All settings: variable, value now, default, meaning. Secrets are shown as ***."""
    rows = setting_rows(app.settings)
    if as_json:
        print_json(rows)
        return
    table = Table("variable", "value", "default", "meaning", box=None)
    for row in rows:
        value = _text(row["value"])
        table.add_row(
            row["variable"], f"[bold]{value}[/]" if row["set"] else value, _text(row["default"]), row["meaning"]
        )
    app.out.print(table)


def setting_rows(current: Settings) -> list[dict[str, Any]]:
    """One row per variable, in the order of `Settings`."""
    return [
        {
            "variable": each.metadata["env"],
            "value": _plain(getattr(current, each.name)),
            "default": _plain(each.default),
            "set": bool(os.environ.get(each.metadata["env"])),
            "meaning": each.metadata["says"],
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
