"""`headrace reembed`: another model for what is stored already."""

import uuid

import click
from rich.table import Table

from headrace.cli.estimate import cells, price_note
from headrace.cli.ingest import follow, started
from headrace.cli.reason import reason_option
from headrace.cli.root import App, pass_app, print_json
from headrace.cli.view import dollars, duration
from headrace.client import Json
from headrace.counted import counted


@click.command()
@click.argument("kb")
@click.option("--model", help="The embedding model's name.  [default: the provider's usual one]")
@click.option(
    "--provider", type=click.Choice(["openai", "local"]), help="Who embeds.  [default: openai where a key is set]"
)
@click.option("--dimensions", type=click.IntRange(1), help="Of a vector.  [default: the model's, where it is known]")
@click.option("--endpoint", metavar="NAME", help="A server that the services' environment names.")
@reason_option
@click.option("--dry-run", is_flag=True, help="Only tell what it would come to: texts, tokens, dollars, time.")
@click.option("--no-wait", is_flag=True, help="Return once the job is started.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON; progress still goes to stderr.")
@pass_app
def reembed(
    app: App,
    kb: str,
    model: str | None,
    provider: str | None,
    dimensions: int | None,
    endpoint: str | None,
    reason: str | None,
    dry_run: bool,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Embed the texts of KB by another model. No page is fetched.

    The stored texts of the published generation go through the new model into a generation of their own, each distinct
    text once. Until that is published, searches see the old one, by the old model; then all at once the new one, and
    refreshes go on with the new model. It is a job like any other: status, pause, resume and cancel work on it, and a
    cancelled one leaves all as it was. `headrace rollback` goes back to the old model, until it is vacuumed.

    With none of --model, --provider, --dimensions and --endpoint, the model that the definition names by now is taken.

    Chunks stay as they were cut. To cut pages anew, change `chunking` in the definition and start a job instead.

    \b
    Examples:
      headrace reembed docs --model text-embedding-3-large --dry-run
      headrace reembed docs --model text-embedding-3-large
      headrace reembed docs --provider openai              from the local model, once there is a key
      headrace reembed docs --model bge-m3 --dimensions 1024 --endpoint ours
    """
    named = {"provider": provider, "model": model, "dimensions": dimensions, "endpoint": endpoint}
    embedding = {name: value for name, value in named.items() if value is not None}
    if dry_run:
        _show(app, app.client.reembed_estimate(kb, embedding or None), as_json)
        return
    accepted = app.client.reembed(kb, embedding or None, reason, idempotency_key=str(uuid.uuid4()))
    if no_wait:
        started(app, kb, accepted, as_json)
    else:
        follow(app, kb, accepted, as_json)


def _show(app: App, answer: Json, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    table = Table("", "about", "between", box=None)
    table.add_row("chunks", f"{answer['chunks']:,}", "")
    table.add_row("texts", f"{answer['texts'] - answer['reused']:,}", "")
    table.add_row("tokens", *cells(answer["tokens"], lambda each: f"{each:,.0f}"))
    table.add_row("dollars", *(cells(answer["usd"], dollars) if answer["usd"] else ("unknown", "")))
    table.add_row("time", *cells(answer["minutes"], lambda each: duration(60 * each)))
    app.out.print(table)
    notes = [f"Nothing was started. Generation {answer['generation']} would be embedded anew; no page is fetched."]
    if answer["reused"]:
        notes.append(
            f"{counted(answer['reused'], 'more text is', 'more texts are')} embedded by {answer['model']} already, "
            "and at no cost."
        )
    for line in (*notes, price_note(answer)):
        app.err.print(line, style="dim", soft_wrap=True)
