"""`headrace ingest`: from a URL to a searchable knowledge base."""

import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import click
import msgspec

from headrace.cli.addresses import check_url, covered, directory_of, is_loopback, private_range, same_urls, slug_of
from headrace.cli.budget import budget_of, budget_options, set_budget
from headrace.cli.root import CONFLICT, FAILED, WAITS, App, Failure, pass_app, print_json
from headrace.cli.view import chunk_counts, cost_words, pages_read, took, trouble
from headrace.cli.watch import waits_for_a_person, waits_for_nothing, watch
from headrace.client import ABSENT, ALWAYS, ControlProblem, Json, unchanged
from headrace.counted import counted
from schemas.kb import InvalidDefinition, differences, parse_definition

_OPTIONS = (
    click.option(
        "--include", multiple=True, metavar="GLOB", help="Only URL paths that fit, e.g. '/docs/**'. Repeatable."
    ),
    click.option("--exclude", multiple=True, metavar="GLOB", help="No URL paths that fit. Repeatable."),
    click.option("--max-pages", type=click.IntRange(1), help="Stop after so many pages.  [default: 10000]"),
    click.option(
        "--max-depth", type=click.IntRange(0), help="Follow links so far from the start.  [default: no limit]"
    ),
    click.option("--no-sitemaps", is_flag=True, help="Find pages by links alone."),
    click.option(
        "--delay", "delay_s", type=click.FloatRange(0), help="Seconds between two requests to a host.  [default: 0]"
    ),
    click.option("--embedding", type=click.Choice(["openai", "local"]), help="[default: openai where a key is set]"),
    click.option(
        "--allow-addresses", multiple=True, metavar="CIDR", help="Private addresses the crawler may reach. Repeatable."
    ),
)


def definition_options(command: Callable[..., None]) -> Callable[..., None]:
    """What of a definition can be said on the command line, save its budget."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("urls", nargs=-1, metavar="URL...")
@click.option("--kb", "name", help="The knowledge base's name.  [default: made from the first URL]")
@definition_options
@budget_options
@click.option("--replace", is_flag=True, help="Where the name is one of other URLs: define it anew by these.")
@click.option("--no-wait", is_flag=True, help="Return once the job is started.")
@click.option("--json", "as_json", is_flag=True, help="The result as JSON; progress still goes to stderr.")
@pass_app
def ingest(
    app: App, /, urls: tuple[str, ...], name: str | None, replace: bool, no_wait: bool, as_json: bool, **options: Any
) -> None:
    """Crawl a site and make it searchable.

    The crawl covers each URL's host and directory: of https://example.org/docs/ what lies under /docs/, but of
    https://example.org/docs, without the slash, the whole host. --include and --exclude narrow or widen that by
    the path of URLs: * is any part of a segment, ? one character of it, ** any part of a path, a / at the end
    everything beneath; '*.pdf' counts at any depth, '/docs/**' from the root, and 'https://other.example/docs/**'
    adds a host. With --include, only what fits is crawled, and the URLs themselves; --exclude wins.

    Without URL, the knowledge base named by --kb is refreshed as it is defined. With the URLs that it has, it is
    defined by what this says, and refreshed; where it has others, nothing is done without --replace.

    Ctrl-C stops watching, not the job.

    \b
    Examples:
      headrace ingest https://example.org/docs/
      headrace ingest https://example.org/docs/ --kb docs --exclude '/docs/old/**' --max-pages 500
      headrace ingest --kb docs                                      refresh it
      headrace ingest http://127.0.0.1:8080/ --allow-addresses 127.0.0.0/8
    """
    if not urls and not name:
        raise click.UsageError("name a URL, or with --kb a knowledge base to refresh")
    if replace and not urls:
        raise click.UsageError("--replace goes with the URLs that the knowledge base is to have")
    kb = name or slug_of(check_url(urls[0]))
    if not kb:
        raise click.UsageError(f"no name can be made of {urls[0]}; give one with --kb")
    definition = definition_of(urls, **options) if urls else None
    budget = budget_of(options["max_tokens"], options["max_usd"])
    if budget and not urls:
        set_budget(app.client, kb, budget)
    if not options["include"]:
        _point_out_width(app, urls)
    only = ALWAYS if definition is None else _only(app, kb, definition, named=name is not None, replace=replace)
    accepted = app.client.start(kb, definition, idempotency_key=str(uuid.uuid4()), only=only)
    _point_out_no_contact(app, urls)
    if no_wait:
        started(app, kb, accepted, as_json)
    else:
        follow(app, kb, accepted, as_json)


def _only(app: App, kb: str, definition: Json, *, named: bool, replace: bool) -> Mapping[str, str]:
    """The precondition by which the definition replaces no other than the one that was looked at.

    Raises Failure where that is one of other URLs, and UsageError for what is no definition.
    """
    try:
        wanted = msgspec.json.decode(msgspec.json.encode(parse_definition(definition)))  # lists, as control's answer
    except InvalidDefinition as exc:
        raise click.UsageError(str(exc)) from exc
    try:
        known = app.client.kb(kb)
    except ControlProblem as problem:
        if problem.code != "unknown-kb":
            raise
        return ABSENT
    urls = known["definition"]["source"]["urls"]
    if not replace and not same_urls(urls, wanted["source"]["urls"]):
        other = "name another by --kb" if named else "name yours by --kb NAME"
        raise Failure(
            f"{kb} is a knowledge base of {', '.join(urls)}: {other}. To define it anew by what you gave, add "
            f"--replace; to refresh it as it is, headrace ingest --kb {kb}",
            CONFLICT,
        )
    _point_out_changes(app, kb, differences(known["definition"], wanted))
    return unchanged(known)


def _point_out_changes(app: App, kb: str, changes: Mapping[str, tuple[Any, Any]]) -> None:
    if changes:
        told = ", ".join(f"{path} {json.dumps(old)} → {json.dumps(new)}" for path, (old, new) in changes.items())
        words = f"{kb} is defined anew: {told}. Without a URL, headrace ingest --kb {kb} keeps its definition."
        app.err.print(words, style="yellow", markup=False, soft_wrap=True)


def _point_out_width(app: App, urls: tuple[str, ...]) -> None:
    for url in urls:
        if (narrower := directory_of(url)) is not None:
            wide = narrower[:-1].rpartition("/")[0] + "/"
            words = f"{url} has no slash at its end: all under {wide} is crawled. Was {narrower} meant?"
            app.err.print(words, style="yellow", markup=False, soft_wrap=True)


def _point_out_no_contact(app: App, urls: tuple[str, ...]) -> None:
    if not app.settings.has_contact and not all(map(is_loopback, urls)):
        app.err.print(
            f"[yellow]The crawler's User-Agent names no contact, so site owners can't reach you: set "
            f'HEADRACE_USER_AGENT, e.g. "{app.settings.example_user_agent}", and restart the producer.',
            soft_wrap=True,
        )


def definition_of(
    urls: tuple[str, ...],
    *,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    max_pages: int | None,
    max_depth: int | None,
    no_sitemaps: bool,
    delay_s: float | None,
    embedding: str | None,
    allow_addresses: tuple[str, ...],
    max_tokens: int | None = None,
    max_usd: float | None = None,
) -> Json:
    """A KB definition that names only what was given. Raises UsageError for a URL that can't be crawled so."""
    for url in urls:
        needed = private_range(check_url(url))
        if needed and not covered(needed, allow_addresses):
            raise click.UsageError(
                f"{url} is on a private network, which the crawler reaches only when told so: "
                f"add --allow-addresses {needed}"
            )
    source = {
        "urls": list(urls),
        "include": list(include),
        "exclude": list(exclude),
        "max_pages": max_pages,
        "max_depth": max_depth,
        "allow_addresses": list(allow_addresses),
        "sitemaps": False if no_sitemaps else None,
    }
    definition: Json = {"source": {field: value for field, value in source.items() if value not in (None, [])}}
    if delay_s is not None:
        definition["crawl"] = {"delay_s": delay_s}
    if embedding:
        definition["embedding"] = {"provider": embedding}
    if budget := budget_of(max_tokens, max_usd):
        definition["budget"] = budget
    return definition


def started(app: App, kb: str, accepted: Json, as_json: bool) -> None:
    if as_json:
        print_json(accepted)
    else:
        app.out.print(f"{kb}: job {accepted.get('job_id')} is started. Watch it with: headrace status {kb} --watch")


def follow(app: App, kb: str, accepted: Json, as_json: bool) -> None:
    app.err.print(f"[bold]{kb}[/]: generation {accepted.get('generation')}, job {accepted.get('job_id')}")
    try:
        status = watch(app.client, kb, app.err, until=waits_for_nothing, job=str(accepted.get("job_id")))
    except KeyboardInterrupt:  # asked for: the job is not ours to stop
        app.err.print(f"\nThe job goes on. Watch again: headrace status {kb} --watch   Stop it: headrace pause {kb}")
        return
    if as_json:
        print_json(status)
    else:
        _report(app, kb, status)
    if waits_for_a_person(status):
        raise Failure(f"{kb} waits for a person: {status.get('reason') or 'see headrace status ' + kb}", WAITS)
    if status.get("status") not in ("completed", "completed_with_errors"):
        raise Failure(f"{kb} is {status.get('status')}: {status.get('reason') or 'see headrace jobs ' + kb}", FAILED)


def _report(app: App, kb: str, status: Json) -> None:
    pages = pages_read(status)
    chunks, _ = chunk_counts(status)
    unchanged = (status.get("crawl") or {}).get("pages_unchanged") or 0
    same = f" ({unchanged:,} unchanged)" if unchanged else ""
    cost = cost_words(status)
    app.out.print(
        f"{kb} is {status.get('status')}: {counted(pages, 'page')}{same}, {counted(chunks, 'chunk')} indexed, "
        f"in {took(status)}" + (f", for {cost}" if cost else ""),
        soft_wrap=True,
    )
    for line in trouble(status) if status.get("status") != "needs_review" else ():  # which was said when it came to be
        app.err.print(f"[yellow]{line}", soft_wrap=True)
    if str(status.get("status")).startswith("completed"):
        app.err.print(f'Ask it: headrace search {kb} "your question"')
