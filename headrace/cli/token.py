"""`headrace token create | list | rotate | revoke`: on the machine, or in the container, where control runs."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import click
import msgspec
from rich.markup import escape

from headrace.cli.root import NOT_FOUND, USAGE, App, Failure, pass_app, print_json
from headrace.cli.rows import Rows
from headrace.cli.view import moment
from headrace.tokens import InvalidTokens, Role, Token, UnknownToken, create, read_tokens, revoke, rotate

LONGEST = timedelta(days=3_650)
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class Duration(click.ParamType):
    """Such as 30m, 12h or 90d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        form = re.fullmatch(r"([0-9]{1,5})([mhd])", value)
        if form is None or int(form[1]) == 0:
            self.fail("write a number and m, h or d, such as 90d", param, ctx)
        lasts = timedelta(**{_UNITS[form[2]]: int(form[1])})
        if lasts > LONGEST:
            self.fail(f"no token can last longer than {LONGEST.days} days", param, ctx)
        return lasts


@click.group()
def token() -> None:
    """API tokens of control: create, list, rotate, revoke. Control takes each change at once.

    Control on this machine asks for none until the first is made. It keeps a hash of each: a token is shown once.
    """


@token.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice(get_args(Role)), required=True,
              help="read: see and search. operate: run jobs too. admin: define and delete too.")  # fmt: skip
@click.option("--kb", "kbs", multiple=True, help="Only this knowledge base, or those of a pattern such as team-a-*.")
@click.option("--expires", type=Duration(), help="After so long, such as 90d; never without it.")
@pass_app
def create_(app: App, name: str, role: Role, kbs: tuple[str, ...], expires: timedelta | None) -> None:
    """Make a token. NAME stands in the audit trail beside what is done with it.

    \b
    Examples:
      export HEADRACE_TOKEN=$(headrace token create me --role admin)
      headrace token create wiki-bot --role read --kb wiki --expires 90d
    """
    with _told():
        made, text = create(app.settings.tokens, name, role, kbs=kbs, lasts=expires)
    click.echo(text)
    app.err.print(f"This is shown once. {_says(made)} {app.settings.tokens} holds a hash of it.")


@token.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON, a list.")
@pass_app
def list_(app: App, as_json: bool) -> None:
    """All tokens, those that were revoked too."""
    with _told():
        tokens = read_tokens(app.settings.tokens)
    now = datetime.now(UTC)
    if as_json:
        hidden = {"sha256", "former"}
        rows = [msgspec.structs.asdict(each) | {"state": each.state(now)} for each in tokens]
        print_json([{name: value for name, value in row.items() if name not in hidden} for row in rows])
        return
    table = Rows("name", "role", "knowledge bases", "state", "created", "expires", "id")
    for each in tokens:
        scope = ", ".join(each.kbs) or "all"
        table.add_row(
            escape(each.name), each.role, scope, each.state(now), moment(each.created_at), moment(each.expires_at),
            each.id,
        )  # fmt: skip
    app.out.print(
        table if tokens else f"There is none in {app.settings.tokens}: headrace token create NAME --role admin"
    )


@token.command("rotate")
@click.argument("name")
@click.option("--grace", type=Duration(), help="Take the old secret for so long yet, such as 1h.")
@pass_app
def rotate_(app: App, name: str, grace: timedelta | None) -> None:
    """Give a token a new secret; the old one ends at once, or after --grace."""
    with _told():
        made, text = rotate(app.settings.tokens, name, grace=grace or timedelta())
    click.echo(text)
    old = f"The old one is taken until {moment(made.former.until)}." if made.former else "The old one is not taken."
    app.err.print(f"This is shown once. {old}")


@token.command("revoke")
@click.argument("name")
@pass_app
def revoke_(app: App, name: str) -> None:
    """End a token, and the logins of the page that began with it."""
    with _told():
        revoke(app.settings.tokens, name)
    app.out.print(f"{name} is revoked.")


def _says(made: Token) -> str:
    return f"Its role is {made.role}, over {', '.join(made.kbs) or 'all knowledge bases'}" + (
        f", until {moment(made.expires_at)}." if made.expires_at else "."
    )


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except UnknownToken as exc:
        raise Failure(str(exc), NOT_FOUND) from exc
    except InvalidTokens as exc:
        raise Failure(str(exc), USAGE) from exc
