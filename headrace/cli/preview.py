"""`headrace preview`."""

from pathlib import Path
from typing import Any, get_args

import click
import msgspec
from rich.markup import escape
from rich.text import Text

from headrace.cli.addresses import check_url
from headrace.cli.beside import ask
from headrace.cli.root import FAILED, USAGE, App, Failure, pass_app, print_json
from headrace.client import Json
from headrace.counted import counted
from schemas.kb import InvalidDefinition, Strategy, parse_definition, resolve
from schemas.previews import of_definition


@click.command()
@click.argument("page", metavar="URL|FILE")
@click.option("--url", metavar="URL", help="With FILE: where its links count from, as if it stood there.")
@click.option(
    "--chunk-tokens", type=click.IntRange(32, 8_000), help="Most tokens of a chunk.  [default: 256, with OpenAI 512]"
)
@click.option("--overlap", type=click.IntRange(0), help="Tokens that a chunk repeats of the one before.  [default: 50]")
@click.option("--strategy", type=click.Choice(get_args(Strategy)), default="structure", show_default=True)
@click.option(
    "--allow-addresses", multiple=True, metavar="CIDR", help="Private addresses that may be reached. Repeatable."
)
@click.option("--links", is_flag=True, help="The links that a crawl would follow where they are in scope, too.")
@click.option("--json", "as_json", is_flag=True, help="All of it as JSON.")
@pass_app
def preview(app: App, /, page: str, url: str | None, links: bool, as_json: bool, **options: Any) -> None:
    """Show what a crawl would make of a page. Nothing is stored.

    That is its text as Markdown, and its chunks.

    The page is fetched as the crawler would: robots.txt, address rules, limits. No service has to run. Ends with 1
    where there is no text to show, such as where robots.txt disallows the page.

    \b
    Examples:
      headrace preview https://docs.example.org/install.html
      headrace preview https://docs.example.org/ --strategy sentences --chunk-tokens 128 --overlap 0
      headrace preview http://127.0.0.1:8080/ --allow-addresses 127.0.0.0/8
      headrace preview build/index.html --url https://docs.example.org/ --links
      headrace preview https://docs.example.org/ --json | jq -r '.chunks[].tokens'
    """
    is_file = "://" not in page and Path(page).is_file()
    if url and not is_file:
        raise click.UsageError(f"--url goes with a file, and {page!r} is none")
    if not is_file and "://" not in page:
        raise click.UsageError(f"{page!r} is neither a file nor a URL; write a URL like https://example.org/docs/")
    where = check_url(url or page) if url or not is_file else None
    answer = ask("producer.preview", {**_asked(app, where, **options), "url": where, "file": page if is_file else None})
    if as_json:
        print_json(answer)
    elif not answer["problem"]:
        _show(app, answer, links=links)
    if answer["problem"]:
        raise _failure(answer)


def _asked(
    app: App, where: str | None, *, chunk_tokens: int | None, overlap: int | None, strategy: str,
    allow_addresses: tuple[str, ...],
) -> Json:  # fmt: skip
    """The rest of the request: what a knowledge base with these options would have. Raises UsageError."""
    chunking = {"strategy": strategy, "max_tokens": chunk_tokens, "overlap_tokens": overlap}
    raw = {
        "source": {"urls": [where or "https://localhost/"], "allow_addresses": list(allow_addresses)},
        "chunking": {name: value for name, value in chunking.items() if value is not None},
    }
    try:
        definition = resolve(parse_definition(raw), openai_available=app.settings.openai_available)
    except InvalidDefinition as exc:
        raise click.UsageError(str(exc)) from exc
    asked: Json = msgspec.to_builtins(of_definition(definition))
    return asked


def _failure(answer: Json) -> Failure:
    reason, url = answer["reason"], answer["url"]
    if (needed := answer["needs_addresses"]) is not None:
        return Failure(f"{reason}. If {url} is on your own network, add --allow-addresses {needed}", USAGE)
    match answer["problem"]:
        case "url":
            return Failure(reason, USAGE)
        case "robots":
            return Failure(f"{reason}: a crawl leaves {url} out", FAILED)
        case "content":
            of_type = answer["content_type"] or "no content type"
            return Failure(f"{url} holds nothing to read: {reason} ({of_type})", FAILED)
    return Failure(f"{url} could not be read: {reason}", FAILED)


def _show(app: App, answer: Json, *, links: bool) -> None:
    for name, value in _facts(answer):
        app.out.print(Text.assemble((f"{name:>10}  ", "dim"), str(value)), soft_wrap=True)
    _rule(app, "text")
    app.out.print(Text(answer["text"] or "(none)"), soft_wrap=True)
    for number, chunk in enumerate(answer["chunks"], 1):
        path = " › ".join(chunk["heading_path"])
        _rule(
            app,
            f"chunk {number} of {len(answer['chunks'])}, {counted(chunk['tokens'], 'token')}"
            + (f": {path}" if path else ""),
        )
        text, begin = chunk["text"], chunk["repeated"]
        end = len(text) - chunk["closing"]
        app.out.print(Text.assemble((text[:begin], "dim"), text[begin:end], (text[end:], "dim")), soft_wrap=True)
    if links:
        _rule(app, counted(len(answer["links"]), "link"))
        for link in answer["links"]:
            app.out.print(Text(link), soft_wrap=True)


def _facts(answer: Json) -> list[tuple[str, Any]]:
    took = f"{answer['fetch_ms']} ms to fetch, {answer['extract_ms']} to extract, {answer['chunk_ms']} to chunk"
    delay = answer["crawl_delay_s"]
    tokens = sum(chunk["tokens"] for chunk in answer["chunks"])
    found = [
        ("from", " → ".join(answer["redirects"])),
        ("url", answer["url"]),
        ("skipped", answer["skipped"] and f"a crawl would leave it out: {answer['skipped']}"),
        ("robots", answer["robots"] and answer["robots"] + (f", Crawl-delay {delay:g} s" if delay else "")),
        ("status", answer["status"]),
        ("type", answer["content_type"]),
        ("size", f"{answer['bytes']:,} bytes; {took}"),
        ("title", answer["title"]),
        ("language", answer["language"]),
        ("canonical", answer["canonical_url"]),
        ("about", answer["description"]),
        ("date", answer["published_on"]),
        ("found by", answer["method"]),
        ("nofollow", "its links are not followed" if answer["nofollow"] else None),
        ("links", len(answer["links"])),
        ("chunks", f"{len(answer['chunks'])}, {counted(tokens, 'token')}"),
    ]
    return [(name, value) for name, value in found if value not in (None, "")]


def _rule(app: App, words: str) -> None:
    app.out.print(f"\n[bold]── {escape(words)} ──[/]", soft_wrap=True)
