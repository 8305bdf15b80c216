"""`headrace hosts`."""

from datetime import UTC, datetime
from urllib.parse import quote

import click
from rich.markup import escape

from headrace.cli.root import App, pass_app, print_json
from headrace.cli.rows import Rows
from headrace.cli.view import duration, moment
from headrace.client import API, Json

OUTCOMES = {
    "succeeded": "ok", "not_modified": "same", "redirected": "moved", "refused": "refused", "client_errors": "4xx",
    "server_errors": "5xx", "unusable": "failed",
}  # fmt: skip
"""Field of the answer to the word for it."""


@click.command()
@click.argument("kb")
@click.option("--requests", "host", help="Each request to this host instead, in the order in which they were told.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, a list.")
@pass_app
def hosts(app: App, kb: str, host: str | None, as_json: bool) -> None:
    """What the newest job of KB asked of each web site. And how each is treated.

    \b
    Outcomes: same is not modified, refused is 429 and 503, failed is no usable answer. Then the mean and the 95th
    percentile of an answer's time; how long requests waited in all for their turn; robots.txt, with its Crawl-delay;
    how many requests are made at once now; and until when the host is left alone.

    \b
    Examples:
      headrace hosts docs
      headrace hosts docs --requests docs.example.org
      headrace hosts docs --requests docs.example.org --json | jq '.[] | select(.status == 429)'
    """
    base = f"{API}/jobs/{app.client.status(kb)['job_id']}/hosts"
    if host is not None:
        rows = app.client.all_rows(f"{base}/{quote(host, safe='')}/requests?limit=1000", "requests")
        shown = _requests(rows)
    else:
        rows = app.client.call("GET", base)["hosts"]
        shown = _hosts(rows)
    if as_json:
        print_json(rows)
    else:
        app.out.print(shown if rows else "Nothing was asked of any host.")


def _hosts(rows: list[Json]) -> Rows:
    table = Rows("host", "requests", "outcomes", "MB", "mean", "p95", "waited", "robots.txt", "at once", "closed until")
    for row in rows:
        delay = row["crawl_delay_s"]
        table.add_row(
            escape(row["host"]),
            f"{row['requests']:,}",
            ", ".join(f"{row[name]:,} {word}" for name, word in OUTCOMES.items() if row[name]),
            f"{row['bytes'] / 1e6:,.1f}",
            _ms(row["mean_ms"]),
            _ms(row["p95_ms"]),
            duration(row["waited_ms"] / 1e3),
            (row["robots"] or "not asked") + (f", {delay:g} s" if delay else ""),
            str(row["concurrency"]),
            moment(_if_ahead(row["closed_until"])),
        )
    return table


def _requests(rows: list[Json]) -> Rows:
    table = Rows("at", "for", "outcome", "try", "ms", "waited ms", "bytes", "url")
    for row in rows:
        table.add_row(
            moment(row["at"]), row["purpose"], _outcome(row), str(row["attempt"]),
            f"{row['duration_ms']:,}", f"{row['waited_ms']:,}", f"{row['bytes']:,}", escape(row["url"]),
        )  # fmt: skip
    return table


def _outcome(row: Json) -> str:
    return " ".join(str(each) for each in (row["status"], row["error"]) if each is not None)


def _if_ahead(time: str | None) -> str | None:
    """It was told with the last request, and may be over."""
    return time if time and datetime.fromisoformat(time) > datetime.now(UTC) else None


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f} ms"
