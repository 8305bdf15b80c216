"""`headrace pages`."""

from typing import Final, get_args
from urllib.parse import quote, urlencode, urlsplit

import click
from rich.markup import escape

from headrace.cli.root import NOT_FOUND, App, Failure, pass_app, print_json
from headrace.cli.rows import Rows
from headrace.client import API, Json
from headrace.counted import counted
from schemas.pages import PageState

REASONS_SHOWN: Final = 10


@click.command()
@click.argument("kb")
@click.option("--state", type=click.Choice(get_args(PageState)), help="Only pages of this state.")
@click.option("--reason", metavar="TEXT", help="Only pages whose reason contains this.")
@click.option("--url", "contains", metavar="TEXT", help="Only pages whose URL contains this.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(0), help="Pages shown.")
@click.option("--after", metavar="URL", help="Go on behind this one; pages are in the order of their URLs.")
@click.option("--job", metavar="ID", help="Of this job.  [default: the newest]")
@click.option("--generation", type=click.IntRange(1), help="Of the job that made this generation.")
@click.option("--why", metavar="URL", help="Instead: why this URL was crawled, or was not.")
@click.option(
    "--json", "as_json", is_flag=True, help="As JSON: job_id, summary, pages, next_after; or verdict, words, …"
)
@pass_app
def pages(
    app: App, kb: str, state: str | None, reason: str | None, contains: str | None, limit: int, after: str | None,
    job: str | None, generation: int | None, why: str | None, as_json: bool,
) -> None:  # fmt: skip
    """What became of each page that the newest job of KB came to.

    How many there are of each state and for each reason, then the pages: answer, chunks, bytes as received, time of the
    request, depth below the start, where it was found first. States: fetched; unchanged since the published generation;
    redirected; kept as published, because of an error or a limit; gone; skipped (robots.txt, noindex, a copy, nothing
    to read); failed; out_of_scope.

    \b
    Examples:
      headrace pages docs
      headrace pages docs --state failed                     which pages failed, and why
      headrace pages docs --reason robots --limit 1000
      headrace pages docs --url /api/ --json | jq -r '.pages[] | select(.chunks == 0).url'
      headrace pages docs --generation 3 --limit 0           only the counts
      headrace pages docs --why https://docs.example.org/old/install.html

    --why tells what became of the URL and by which way it was found. Where the job has no record of it, it tells what
    keeps it out: scope, robots.txt, a trap, max_depth, max_pages, nofollow; or that nothing names it. For that the site
    is asked for its robots.txt and sitemaps, and the pages' links are read from Kafka, where that can be reached from
    here. Verdicts of --json: the page's state, or invalid_url, out_of_scope, trap, robots, max_depth, max_pages,
    repeated, nofollow, waiting, cut_short, not_known_then, not_found, no_job.
    """
    if why is not None:
        if state or reason or contains or after:
            raise click.UsageError("--why is of one URL: it goes with --job, --generation and --json only")
        _explain(app, kb, why, job or (_job_of(app, kb, generation) if generation else None), as_json)
        return
    job_id = job or _job_of(app, kb, generation)
    base = f"{API}/kb/{quote(kb)}/jobs/{quote(job_id)}/pages"
    chosen = {name: value for name, value in {"state": state, "reason": reason, "contains": contains}.items() if value}
    summary = app.client.call("GET", f"{base}/summary?{urlencode(chosen)}")
    rows, next_after = app.client.some_rows(f"{base}?{urlencode(chosen)}", "pages", limit, after)
    if as_json:
        print_json({"job_id": job_id, "summary": summary, "pages": rows, "next_after": next_after})
        return
    _print_summary(app, summary)
    if rows:
        app.out.print(_table(rows))
    if next_after is not None and limit:
        app.err.print(f"There are more: --limit, or go on with --after '{next_after}'", soft_wrap=True, markup=False)


def _explain(app: App, kb: str, url: str, job_id: str | None, as_json: bool) -> None:
    from headrace.cli.why import print_why, why

    answer = why(app, kb, url, job_id)
    if as_json:
        print_json(answer)
    else:
        print_why(app, answer)


def _job_of(app: App, kb: str, generation: int | None) -> str:
    if generation is None:
        return str(app.client.status(kb)["job_id"])
    found = [row["job_id"] for row in app.client.generations(kb)["generations"] if row["generation"] == generation]
    if not found:
        raise Failure(f"{kb} has no generation {generation}. See: headrace generations {kb}", NOT_FOUND)
    return str(found[0])


def _print_summary(app: App, summary: Json) -> None:
    states = summary["states"]
    if not states:
        app.out.print("There are none.")
        return
    total, chunks, size = (sum(row[name] for row in states) for name in ("pages", "chunks", "bytes"))
    app.out.print(
        f"{counted(total, 'page')}, {counted(chunks, 'chunk')}, {size / 1e6:,.1f} MB: "
        + ", ".join(f"{row['pages']:,} {row['state']}" for row in states)
    )
    for row in summary["reasons"][:REASONS_SHOWN]:
        app.out.print(f"  {row['pages']:,} {row['state']}: {escape(row['reason'])}", soft_wrap=True)
    if (more := len(summary["reasons"]) - REASONS_SHOWN) > 0:
        app.out.print(f"  and {counted(more, 'more reason')}; --json shows them")
    app.out.print()


def _table(rows: list[Json]) -> Rows:
    table = Rows("state", "status")
    for name in ("chunks", "bytes", "ms", "depth"):
        table.add_column(name, justify="right")
    for name in ("url", "title", "reason", "found on"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(
            row["state"], "" if row["status"] is None else str(row["status"]),
            f"{row['chunks']:,}", f"{row['bytes']:,}", f"{row['duration_ms']:,}", str(row["depth"]),
            escape(row["url"]), escape(row["title"]), escape(row["reason"] or ""), escape(_beside(row)),
        )  # fmt: skip
    return table


def _beside(row: Json) -> str:
    """Where the page was found; on its own host the path says it."""
    found_on = str(row["discovered_from"] or "")
    root = "{0.scheme}://{0.netloc}".format(urlsplit(row["url"]))
    return found_on.removeprefix(root) if found_on.startswith(root + "/") else found_on
