"""`--reason`, of every command that stands in the audit trail."""

import click

from schemas.commands import MAX_REASON


def _short(ctx: click.Context, param: click.Parameter, given: str | None) -> str | None:
    if given is not None and len(given) > MAX_REASON:
        raise click.BadParameter(f"it has {len(given):,} characters, and {MAX_REASON} are taken: shorten it")
    return given


reason_option = click.option(
    "--reason", callback=_short, help=f"Why; stands in the audit trail. Up to {MAX_REASON} characters."
)
