"""`headrace estimate`."""

from typing import Any

import click
import msgspec
from rich.table import Table

from headrace.cli.beside import ask
from headrace.cli.ingest import definition_of, definition_options
from headrace.cli.root import FAILED, App, Failure, pass_app, print_json
from headrace.cli.view import dollars, duration
from headrace.client import Json
from headrace.counted import counted
from schemas.estimates import MAX_SAMPLE, SAMPLE, EstimateRequest
from schemas.kb import Definition, InvalidDefinition, parse_definition, resolve


@click.command()
@click.argument("urls", nargs=-1, metavar="URL...")
@click.option("--kb", "name", help="Without URL: the knowledge base whose next job is estimated.")
@click.option(
    "--sample", type=click.IntRange(1, MAX_SAMPLE), default=SAMPLE, show_default=True, help="Pages to read at most."
)
@definition_options
@click.option("--json", "as_json", is_flag=True, help="All of it as JSON.")
@pass_app
def estimate(app: App, /, urls: tuple[str, ...], name: str | None, sample: int, as_json: bool, **options: Any) -> None:
    """What `headrace ingest` would come to. Nothing is stored or embedded.

    In pages, chunks, tokens, dollars and minutes.

    A sample of the site's pages is read as a crawl would: by robots.txt, address rules, limits; within a minute. With
    --kb, control does that, and what the knowledge base holds already costs nothing. Else no service has to run.

    \b
    Examples:
      headrace estimate https://docs.example.org/
      headrace estimate https://docs.example.org/ --embedding openai --sample 200
      headrace estimate --kb docs
      headrace estimate https://docs.example.org/ --json | jq .usd.high
    """
    if bool(urls) == bool(name):
        raise click.UsageError("name a URL, or with --kb a knowledge base")
    if name:
        answer = app.client.estimate(name, sample)
    else:
        request = EstimateRequest(definition=_resolved(app, definition_of(urls, **options)), sample=sample)
        answer = ask("producer.estimate", msgspec.to_builtins(request))
    if as_json:
        print_json(answer)
    elif not answer["problem"]:
        _show(app, answer)
    if answer["problem"]:
        raise Failure(f"there is nothing to estimate by: {answer['problem']}", FAILED)


def _resolved(app: App, raw: Json) -> Definition:
    """As control fills defaults in. Raises UsageError."""
    try:
        return resolve(parse_definition(raw), openai_available=app.settings.openai_available)
    except InvalidDefinition as exc:
        raise click.UsageError(str(exc)) from exc


def _show(app: App, answer: Json) -> None:
    table = Table("", "about", "between", box=None)
    for name in ("pages", "chunks", "tokens"):
        table.add_row(name, *cells(answer[name], lambda each: f"{each:,.0f}"))
    if answer["reused_tokens"]["high"]:
        table.add_row("  of them new", *cells(answer["new_tokens"], lambda each: f"{each:,.0f}"))
    table.add_row("dollars", *(cells(answer["usd"], dollars) if answer["usd"] else ("unknown", "")))
    table.add_row("time", *cells(answer["minutes"], lambda each: duration(60 * each)))
    app.out.print(table)
    for line in _notes(answer):
        app.err.print(line, style="dim", soft_wrap=True)


def cells(of: Json, shown: Any) -> tuple[str, str]:
    exact = of["low"] == of["high"]
    return shown(of["expected"]), "" if exact else f"{shown(of['low'])} and {shown(of['high'])}"


def _notes(answer: Json) -> list[str]:
    sampled = f"{counted(answer['sampled'], 'page was', 'pages were')} read in {duration(answer['took_s'])}"
    known = f"{answer['known']:,} are known, {answer['of_sitemaps']:,} of them by sitemaps"
    notes = [f"{sampled}: all there are." if answer["whole"] else f"{sampled}; {known}. More with --sample."]
    notes += [f"  {count:,} of them hold nothing to index: {why}" for why, count in answer["no_content"].items()]
    if answer["pages"]["high"] >= answer["max_pages"]:
        notes.append(f"More than --max-pages, {answer['max_pages']:,}, are never crawled.")
    if answer["reused_tokens"]["high"]:
        notes.append(f"About {answer['reused_tokens']['expected']:,.0f} tokens are of texts embedded once, or already.")
    if answer["not_looked_up"]:
        notes.append(f"What is stored already is not taken off: {answer['not_looked_up']}.")
    notes.append(price_note(answer))
    notes.append(f"Most of the time goes to the {answer['bound_by']}.")
    return notes


def price_note(answer: Json) -> str:
    price, model = answer["usd_per_mtok"], answer["model"]
    if price is None:
        return f"The price of {model} is not known: set HEADRACE_PRICES={model}=<dollars per million tokens>."
    if price:
        return f"{model} costs ${price:g} per million tokens, as of {answer['prices_as_of']}."
    return f"{model} costs nothing."
