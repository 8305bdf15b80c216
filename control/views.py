"""What SQL is answered over: each view with its columns. docs/views.md is made from this list.

Views are the contract; the tables beneath (control/folds.py) may change with any version.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """`kind` is DuckDB's name of the type; `select` makes it from the view's source, by default the column named so."""

    name: str
    kind: str
    says: str
    select: str = ""


@dataclass(frozen=True)
class View:
    """`source` is what follows FROM."""

    name: str
    says: str
    source: str
    columns: tuple[Column, ...]

    @property
    def select(self) -> str:
        chosen = ", ".join(f'({c.select or _quoted(c.name)})::{c.kind} AS "{c.name}"' for c in self.columns)
        return f"SELECT {chosen} FROM {self.source}"


def _quoted(name: str) -> str:
    return f'"{name}"'


def _time(name: str, says: str, of: str = "") -> Column:
    return Column(
        name, "TIMESTAMP", f"{says}, in UTC", f"timezone('UTC', TRY_CAST({of or _quoted(name)} AS TIMESTAMPTZ))"
    )


_KB = Column("kb_id", "VARCHAR", "knowledge base")
_JOB = Column("job_id", "VARCHAR", "job")
_GENERATION = Column("generation", "BIGINT", "the job's number within its knowledge base")

_OF_JOBS = """(
    SELECT job_id, any_value(kb_id) AS kb_id, any_value(generation) AS generation,
        min(told_at) FILTER (type = 'command_issued' AND state = 'start') AS started_at,
        min(told_at) FILTER (type = 'job_finished') AS finished_at,
        arg_max(CASE WHEN type = 'index_report' THEN 'cancelled' ELSE state END, "position")
            FILTER (type = 'job_finished' OR (type = 'index_report' AND state = 'undone')) AS outcome,
        arg_max(value->>'$.issued_by', "position") FILTER (type = 'command_issued' AND state = 'start') AS started_by
    FROM facts WHERE job_id IS NOT NULL AND generation IS NOT NULL GROUP BY job_id)"""

VIEWS = (
    View("jobs", "One row per job.", _OF_JOBS, (
        _JOB, _KB, _GENERATION,
        _time("started_at", "when its start was commanded"),
        Column("started_by", "VARCHAR", "who commanded it: `http`, or `token:` and the token's name"),
        _time("finished_at", "when its end was told; null while it goes on, and for a cancelled one"),
        Column("outcome", "VARCHAR", "completed, completed_with_errors or failed; cancelled where it was undone by "
               "cancel or rollback; null while it goes on"),
    )),
    View("pages", "One row per URL of a job: what became of it.", "newest_pages", (
        _JOB, _KB, _GENERATION,
        Column("url", "VARCHAR", "canonical URL"),
        Column("state", "VARCHAR", "fetched, unchanged, kept, gone, skipped …: `state` of the topic `pages`"),
        Column("status", "BIGINT", "of the HTTP answer; null where there was none"),
        Column("reason", "VARCHAR", "why it is not fetched"),
        Column("title", "VARCHAR", "title"),
        Column("language", "VARCHAR", "language, where the page says it"),
        Column("canonical_url", "VARCHAR", "what the page itself names"),
        Column("discovered_from", "VARCHAR", "the URL whose link led here first"),
        Column("depth", "BIGINT", "links away from a start URL"),
        Column("chunks", "BIGINT", "how many it was cut into"),
        Column("bytes", "BIGINT", "size of the answer's body"),
        Column("duration_ms", "BIGINT", "how long it took to be fetched"),
        _time("fetched_at", "when"),
    )),
    View("page_chunks", "One row per chunk of a page.", """(
        SELECT p.job_id, p.kb_id, p.generation, p.url, c.chunk_id, c.born
        FROM newest_pages p JOIN page_chunks c USING ("partition", "position"))""", (
        _JOB, _KB, _GENERATION,
        Column("url", "VARCHAR", "the page"),
        Column("chunk_id", "UUID", "id of the object in Weaviate"),
        Column("born", "BIGINT", "the generation that wrote the object"),
    )),
    View("outcomes", "One row per record of a job that the consumer decided on; a record may be decided twice.", """(
        SELECT o.job_id, b.kb_id, o.type, o.chunk_id, o.result, o.reused, o.record_offset, b.decided_at
        FROM outcomes o LEFT JOIN batches b USING ("partition", "position"))""", (
        _JOB, _KB,
        Column("type", "VARCHAR", "of the record: chunk, page_end, crawl_begin, crawl_end …"),
        Column("chunk_id", "UUID", "of a chunk"),
        Column("result", "VARCHAR", "indexed, duplicate, dead_lettered, parked, superseded …"),
        Column("reused", "BOOLEAN", "whether its vector was found and not paid for again"),
        Column("record_offset", "BIGINT", "the record's original place in its partition of `chunks`"),
        _time("decided_at", "when"),
    )),
    View("dead_letters", "One row per record that failed by itself, retried or not.",
         "(SELECT * FROM facts WHERE type = 'dead_lettered')", (
        _JOB,
        Column("chunk_id", "VARCHAR", "of a chunk", "value->>'$.chunk_id'"),
        Column("stage", "VARCHAR", "where it failed", "state"),
        Column("reason", "VARCHAR", "why", "value->>'$.reason'"),
        _time("dead_lettered_at", "when", "told_at"),
    )),
    View("calls", "One row per call of an embedding provider: as it was settled, or as it was reserved before.", """(
        SELECT * FROM calls QUALIFY row_number() OVER (
            PARTITION BY kb_id, job_id, call_id ORDER BY settled DESC, "partition", "position") = 1)""", (
        Column("job_id", "VARCHAR", "job; null for the questions of searches, which are told in sums"), _KB,
        Column("settled", "BOOLEAN", "false: it stands at its upper bound, under way or lost in a crash"),
        Column("texts", "BIGINT", "how many were embedded"),
        Column("requests", "BIGINT", "how many were made"),
        Column("tokens", "BIGINT", "as the provider counted them"),
        Column("usd", "DOUBLE", "cost; null where no price is known", "pico_usd / 1e12"),
        _time("at", "when it was told"),
    )),
    View("requests", "One row per HTTP request of a crawl.", "requests", (
        _JOB,
        Column("host", "VARCHAR", "host, or host:port"),
        Column("method", "VARCHAR", "GET or HEAD"),
        Column("url", "VARCHAR", "what was asked for"),
        Column("purpose", "VARCHAR", "page, robots, sitemap …"),
        Column("status", "BIGINT", "of the answer; null where there was none"),
        Column("error", "VARCHAR", "why there was none"),
        Column("bytes", "BIGINT", "size of the body"),
        Column("duration_ms", "BIGINT", "from the request to the answer's end"),
        Column("waited_ms", "BIGINT", "for politeness, before it"),
        Column("attempt", "BIGINT", "1 the first time"),
        _time("at", "when it was made"),
    )),
    View("events", "One row per fact on the topic `events`, save outcomes, calls and requests: the audit trail.",
         "facts", (
        Column("type", "VARCHAR", "event type, as docs/topics.md has them"),
        Column("job_id", "VARCHAR", "job, where it is of one"), Column("kb_id", "VARCHAR", "knowledge base, likewise"),
        Column("generation", "BIGINT", "likewise"),
        Column("revision", "BIGINT", "of the command that it answers; 0 where it answers none"),
        Column("state", "VARCHAR", "what it says in a word: the action, state or outcome"),
        _time("told_at", "when"),
        Column("partition", "BIGINT", "where it stands on the topic"),
        Column("offset", "BIGINT", "and at which offset", '"position"'),
        Column("value", "JSON", "the whole event"),
    )),
)  # fmt: skip


def document() -> str:
    """docs/views.md."""
    parts = [_INTRODUCTION]
    for view in VIEWS:
        rows = "\n".join(f"| `{column.name}` | {column.kind} | {column.says} |" for column in view.columns)
        parts.append(f"## {view.name}\n\n{view.says}\n\n| column | type | |\n|---|---|---|\n{rows}\n")
    return "\n".join(parts)


_INTRODUCTION = """\
<!-- Made from control/views.py: python -m control.views -->
# SQL over the history

```sh
headrace sql "SELECT state, count(*) FROM pages WHERE kb_id = 'docs' GROUP BY state"
headrace sql "SELECT date_trunc('hour', fetched_at) AS hour, count(*) FROM pages GROUP BY hour ORDER BY hour" --json
headrace sql "FROM requests" --parquet requests.parquet
```

or `POST /api/ingestion/sql` with `{"query": "…", "format": "json"}`. The language is DuckDB's, one SELECT a time, over
the views below: what control has read of the topics `events` and `pages`, as of the moment of asking. `DESCRIBE pages`
and `SUMMARIZE pages` work too. A view must be named plainly: not by a name put together in the query.

A query runs in a process of its own, on copies of the views that it names, all of each: over a log of millions, it
waits for them. It reaches no file, network or setting, and has one thread, 512 MB and, copies included, 30 seconds.
An answer holds 10,000 rows and 16 MB at most, a Parquet file 5,000,000 rows and 256 MB; where more was found,
`truncated` is true (of Parquet, the header `Headrace-Truncated` and the file's own metadata). Two queries run at
once; a third is answered 503. The call takes the role `read` and a scope of all knowledge bases.
"""

if __name__ == "__main__":
    from pathlib import Path

    Path("docs/views.md").write_text(document(), encoding="utf-8")
