"""`headrace webhook add | list | test | rotate | remove`; the file is on the machine where control runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import click
from rich.markup import escape

from headrace.cli.root import NOT_FOUND, USAGE, App, Failure, pass_app, print_json
from headrace.cli.rows import Rows
from headrace.cli.token import Duration
from headrace.cli.view import moment
from headrace.client import STATUSES
from headrace.webhooks import InvalidWebhooks, UnknownWebhook, add, remove, rotate


@click.group()
def webhook() -> None:
    """Webhooks: have a server told of each change of a job.

    Messages are POSTs, signed as Standard Webhooks has it, and sent again for a day until they are taken.
    """


@webhook.command("add")
@click.argument("name")
@click.argument("url")
@click.option("--kb", "kbs", multiple=True, help="Only of this knowledge base, or of a pattern such as team-a-*.")
@click.option("--on", "on", multiple=True, type=click.Choice(STATUSES), metavar="STATUS",
              help=f"Only this status: {', '.join(STATUSES)}.")  # fmt: skip
@click.option("--allow-address", "allow_addresses", multiple=True, metavar="CIDR",
              help="Addresses beyond public ones that URL may lead to, such as 10.1.0.0/16.")  # fmt: skip
@pass_app
def add_(
    app: App, name: str, url: str, kbs: tuple[str, ...], on: tuple[str, ...], allow_addresses: tuple[str, ...]
) -> None:
    """Tell URL of each change from now on. Prints the secret by which it knows that a message is ours.

    \b
    Examples:
      headrace webhook add deploy https://example.org/hooks/headrace --on completed --on failed
      headrace webhook add local http://127.0.0.1:9000/ --kb docs --allow-address 127.0.0.0/8
    """
    with _told():
        made = add(app.settings.webhooks, name, url, kbs=kbs, on=on, allow_addresses=allow_addresses)
    click.echo(made.secret)
    app.err.print(f"The receiver checks signatures with this secret. Try it: headrace webhook test {escape(name)}")


@webhook.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON, a list.")
@pass_app
def list_(app: App, as_json: bool) -> None:
    """All webhooks, what waits for each, and what it answered last."""
    rows = app.client.webhooks()
    if as_json:
        print_json(rows)
        return
    table = Rows("name", "server", "knowledge bases", "statuses", "state", "waiting", "last answer")
    for row in rows:
        last = f"{row['last_answer']}, {moment(row['last_answer_at'])}" if row["last_answer_at"] else "–"
        cells = (row["name"], row["url"], ", ".join(row["kbs"]) or "all", ", ".join(row["on"]) or "all")
        table.add_row(*map(escape, cells), row["state"], f"{row['waiting']:,}", escape(last))
    app.out.print(table if rows else "There is none: headrace webhook add NAME URL")


@webhook.command("test")
@click.argument("name")
@pass_app
def test_(app: App, name: str) -> None:
    """Send a message of type webhook.test, and say what came back."""
    answer = app.client.test_webhook(name)
    if not answer["delivered"]:
        raise Failure(f"{name} did not take it: {answer['answer']}")
    app.out.print(f"{escape(name)} took it: {escape(str(answer['answer']))}")


@webhook.command("rotate")
@click.argument("name")
@click.option("--grace", type=Duration(), help="Sign by the old secret too for so long yet, such as 1h.")
@pass_app
def rotate_(app: App, name: str, grace: timedelta | None) -> None:
    """Give a webhook a new secret."""
    with _told():
        made = rotate(app.settings.webhooks, name, grace=grace or timedelta())
    click.echo(made.secret)


@webhook.command("remove")
@click.argument("name")
@pass_app
def remove_(app: App, name: str) -> None:
    """Tell it nothing more, not even what waits for it."""
    with _told():
        remove(app.settings.webhooks, name)
    app.out.print(f"{escape(name)} is removed.")


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except UnknownWebhook as exc:
        raise Failure(str(exc), NOT_FOUND) from exc
    except InvalidWebhooks as exc:
        raise Failure(str(exc), USAGE) from exc
