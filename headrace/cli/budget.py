"""The options that say what a job may spend."""

from collections.abc import Callable

import click

from headrace.client import ControlClient, Json, unchanged

_Command = Callable[..., None]


def budget_options(command: _Command) -> _Command:
    for option in (
        click.option("--max-usd", type=click.FloatRange(0), help="Pause before embedding costs more dollars."),
        click.option("--max-tokens", type=click.IntRange(1), help="Pause before more tokens are embedded."),
    ):
        command = option(command)
    return command


def budget_of(max_tokens: int | None, max_usd: float | None) -> Json:
    """The fields of a definition's budget that were given."""
    given = {"max_tokens": max_tokens, "max_usd": max_usd}
    return {name: value for name, value in given.items() if value is not None}


def set_budget(client: ControlClient, kb: str, budget: Json, reason: str | None = None) -> None:
    """In the definition of a knowledge base that is there; what isn't given stays."""
    known = client.kb(kb)
    definition = known["definition"]
    changed = {**definition, "budget": {**definition.get("budget", {}), **budget}}
    client.define(kb, changed, reason, only=unchanged(known))
