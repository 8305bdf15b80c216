"""`headrace status`."""

import time

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from headrace.cli.root import App, pass_app, print_json
from headrace.cli.view import status_lines
from headrace.cli.watch import POLL_S, watch
from headrace.client import ACTIVE, Json


@click.command()
@click.argument("kb", required=False)
@click.option(
    "--watch", "-w", "watching", is_flag=True, help="Keep showing it, until the job is over (all: until Ctrl-C)."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON: an object for one KB, a list for all.")
@pass_app
def status(app: App, kb: str | None, watching: bool, as_json: bool) -> None:
    """What each knowledge base, or KB, is doing.

    \b
    Examples:
      headrace status
      headrace status docs --watch
      headrace status docs --json | jq .metrics.chunks_processed
    """
    if as_json:
        print_json(app.client.status(kb) if kb else app.client.statuses())
    elif watching:
        _watch(app, kb)
    else:
        for line in _lines([app.client.status(kb)] if kb else app.client.statuses()):
            app.out.print(line, soft_wrap=True)


def _watch(app: App, kb: str | None) -> None:
    try:
        if kb:
            last = watch(app.client, kb, app.err)
            for line in status_lines(last):
                app.out.print(line, soft_wrap=True)
        else:
            _watch_all(app)
    except KeyboardInterrupt:  # the way out
        app.err.print("No longer watching; the work goes on.")


def _watch_all(app: App) -> None:
    client = app.client
    with Live(console=app.err, auto_refresh=False) as live:
        while True:
            live.update(Group(*_lines(client.statuses())), refresh=True)
            time.sleep(POLL_S * 2)


def _lines(statuses: list[Json]) -> list[Text]:
    if not statuses:
        return [Text("Nothing was ingested yet. Begin with: headrace ingest https://example.org/docs/")]
    ordered = sorted(statuses, key=lambda status: (status.get("status") not in ACTIVE, str(status.get("kb_id"))))
    return [line for each in ordered for line in status_lines(each)]
