"""`headrace sql`."""

from pathlib import Path

import click
from rich.markup import escape

from headrace.cli.root import App, pass_app, print_json
from headrace.cli.rows import Rows
from headrace.client import Json


@click.command()
@click.argument("query")
@click.option("--json", "as_json", is_flag=True, help="As JSON: columns, rows, truncated.")
@click.option("--parquet", "file", type=click.Path(dir_okay=False, writable=True, path_type=Path), metavar="FILE",
              help="Into a Parquet file.")  # fmt: skip
@pass_app
def sql(app: App, query: str, as_json: bool, file: Path | None) -> None:
    """Ask the history by SQL: jobs, pages, requests, costs.

    One SELECT, as DuckDB has them, over jobs, pages, outcomes, requests and others.

    What there is: docs/views.md, or headrace sql "SHOW TABLES" and headrace sql "DESCRIBE pages".

    \b
    Examples:
      headrace sql "SELECT state, count(*) FROM pages WHERE kb_id = 'docs' GROUP BY state"
      headrace sql "SELECT host, avg(duration_ms) FROM requests GROUP BY host ORDER BY 2 DESC"
      headrace sql "FROM pages" --parquet pages.parquet
    """
    if as_json and file:
        raise click.UsageError("--json or --parquet, not both")
    if file:
        truncated = app.client.sql_file(query, file)
        app.err.print(f"{escape(str(file))}: {file.stat().st_size:,} bytes", soft_wrap=True)
    else:
        answer = app.client.sql(query)
        truncated = answer["truncated"]
        print_json(answer) if as_json else _show(app, answer)
    if truncated:
        app.err.print("There were more rows than an answer holds: narrow the query, or see --parquet.", style="yellow")


def _show(app: App, answer: Json) -> None:
    table = Rows(*(escape(column["name"]) for column in answer["columns"]))
    for row in answer["rows"]:
        table.add_row(*("" if value is None else escape(str(value)) for value in row))
    app.out.print(table)
