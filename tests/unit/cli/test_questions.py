"""Commands that ask: status, jobs, kb, search; tables, JSON and exit codes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from headrace.cli.search import excerpt, passages
from tests.unit.cli.conftest import Run
from tests.unit.cli.control_fake import FakeControl, problem, status_of


def test_a_status_in_words(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of()]
    result = run("status", "docs")
    assert result.exit_code == 0
    for part in ("docs", "running", "40 %", "10 of 15 pages", "20 of 50 chunks", "12/s", "lag 42", "1 min 15 s"):
        assert part in result.stdout, part


def test_pages_that_were_not_read_are_told_apart(run: Run, control: FakeControl) -> None:
    crawl = {"pages_crawled": 43, "pages_queued": 0, "pages_failed": 1, "pages_gone": 1}
    control.statuses["docs"] = [status_of("docs", "completed", crawl=crawl)]
    assert "45 of 45 pages  43 read, 1 gone, 1 failed" in run("status", "docs").stdout
    assert run("jobs", "docs").stdout.splitlines()[-1].split()[3] == "43"


def test_a_status_as_json_is_control_s_answer(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of()]
    assert json.loads(run("status", "docs", "--json").stdout) == status_of()


def test_the_status_of_all_shows_active_ones_first(run: Run, control: FakeControl) -> None:
    control.statuses |= {"a": [status_of("a", "completed")], "b": [status_of("b")], "never": []}
    lines = run("status").stdout.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == ["b", "a"]
    assert [each["kb_id"] for each in json.loads(run("status", "--json").stdout)] == ["a", "b"]


def test_without_any_kb_the_way_on_is_shown(run: Run) -> None:
    assert "headrace ingest" in run("status").stdout
    assert "headrace ingest" in run("kb", "list").stdout
    assert run("jobs").stdout == "There was no job yet.\n"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"status": "paused", "reason": "shutdown"}, "go on with: headrace resume docs"),
        (
            {"status": "paused", "commanded_by": "budget", "cost": {"budget": {"max_tokens": None, "max_usd": 0.5}}},
            "go on with: headrace resume docs --max-usd <more than 0.5>",
        ),
        ({"cost": {"usd": 0.0123, "budget": {"max_tokens": None, "max_usd": 0.5}}}, "$0.0123 of $0.5000"),
        ({"cost": {"usd": 3.2e-06}}, "$0.000003"),
        ({"cost": {"usd": None, "tokens_embedded": 4_100}}, "4,100 tokens, dollars unknown"),
        ({"cost": {"tokens_embedded": 4_100, "budget": {"max_tokens": 10_000}}}, "4,100 of 10,000 tokens"),
        (
            {"crawl": {"left_out": {"pages of dates": 1200, "a view to print": 3}}},
            "links that lead into traps are not followed: a view to print (3), pages of dates (1,200)",
        ),
        ({"lost": {"records": 1200, "pages": 3}}, "1,200 records were lost from the log; 3 pages fetched again"),
        (
            {"lost": {"records": 0, "chunks": 1200, "pages": 3}},
            "1,200 chunks were missing in Weaviate; 3 pages fetched again",
        ),
        (
            {"lost": {"records": 5, "chunks": 7, "pages": 3}},
            "5 records were lost from the log, 7 chunks were missing in Weaviate; 3 pages fetched again",
        ),
        ({"status": "needs_review", "reason": "much"}, "headrace approve docs, or drop it: headrace cancel docs"),
        ({"status": "failed", "reason": "no page could be fetched"}, "reason: no page could be fetched"),
        ({"crawl": {"pages_failed": 1}}, "1 page failed; which and why"),
        ({"lost": {"records": 1, "pages": 1}}, "1 record was lost from the log; 1 page fetched again"),
        ({"metrics": {"chunks_failed": 1}}, "1 chunk is in the dead letters; which and why"),
        ({"metrics": {"chunks_total": 1, "chunks_processed": 1}}, "1 of 1 chunk "),
        ({"crawl": {"pages_failed": 3}}, "3 pages failed; which and why: headrace pages docs --state failed"),
        (
            {"metrics": {"chunks_parked": 1200}, "offsets": {"partition": 3}},
            "1,200 chunks are set aside, and taken up in turn with other jobs on partition 3",
        ),
        (
            {"metrics": {"chunks_failed": 2}},
            "2 chunks are in the dead letters; which and why: headrace dead-letters docs",
        ),
        (
            {"status": "stalled", "stalls": [{"service": "consumer", "dependency": "OpenAI", "reason": "no key"}]},
            "consumer waits for OpenAI: no key",
        ),
    ],
)
def test_trouble_is_said_with_what_to_do(run: Run, control: FakeControl, changes: dict[str, Any], says: str) -> None:
    control.statuses["docs"] = [status_of(**changes)]
    assert says in run("status", "docs").stdout


def test_generations(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = []
    assert "no generation yet" in run("generations", "docs").stdout
    shared = {"job_id": "j", "base": None, "collection": "C", "changed_at": "2026-01-01T00:00:00.000Z", "reason": None}
    control.generations = {
        "vacuum": {"below": 2, "objects_deleted": 1200, "vacuumed_at": "2026-01-01T00:00:00.000Z"},
        "generations": [
            {"generation": 3, "state": "published", "searched": True, "searchable": True, **shared},
            {"generation": 2, "state": "published", "searched": False, "searchable": True, **shared},
            {"generation": 1, "state": "published", "searched": False, "searchable": False, **shared},
        ],
    }
    said = run("generations", "docs").stdout
    rows = [re.split(r"  +", line.strip())[:3] for line in said.splitlines()[1:4]]
    assert rows == [["3", "published", "published"], ["2", "published", "--generation 2"], ["1", "published", "–"]]
    assert "Below 2: vacuumed at" in said and "1,200 objects deleted" in said
    control.generations["vacuum"]["vacuumed_at"] = None
    assert "Below 2: being vacuumed" in run("generations", "docs").stdout


def test_changes(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = []
    words = ("pages_added", "pages_changed", "pages_removed", "pages_unchanged", "chunks_added", "chunks_removed")
    page = {"url": "https://x.org/[a]", "change": "removed", "chunks_added": 0, "chunks_removed": 3, "chunks_kept": 0,
            "title": "A", "state": "gone", "status": 404, "reason": None}  # fmt: skip
    control.changes = {
        "from_generation": 2, "to_generation": 3, "provisional": True, "next_after": "https://x.org/[a]",
        "totals": {**dict.fromkeys(words, 1200), "chunks_kept": 7}, "pages": [page],
    }  # fmt: skip
    result = run("changes", "docs", "2", "--change", "removed")
    assert control.requests("GET") == [("/api/ingestion/kb/docs/changes?from=2&change=removed&limit=50", None)]
    assert "generation 2 to 3, not published yet" in result.stdout and "1,200 removed, 7 kept" in result.stdout
    assert "https://x.org/[a]" in result.stdout and "404" in result.stdout
    assert "There are more" in result.stderr
    assert json.loads(run("changes", "docs", "--json").stdout) == control.changes


def letter(offset: int, **changes: Any) -> dict[str, Any]:
    return {
        "place": {"partition": 0, "offset": offset}, "origin": {"partition": 0, "offset": 9}, "kb_id": "docs",
        "job_id": "j", "chunk_id": f"c{offset}", "stage": "embed", "reason": "400 [bad]", "state": "waiting",
        "dead_lettered_at": "2026-01-01T00:00:00.000Z", "retried_at": None,
    } | changes  # fmt: skip


def test_dead_letters(run: Run, control: FakeControl) -> None:
    assert run("dead-letters").stdout == "There are none.\n"
    control.letters = [letter(0), letter(1, kb_id=None, chunk_id=None)]
    said = run("dead-letters", "docs", "--state", "waiting").stdout
    assert [line.split()[0] for line in said.splitlines()] == ["place", "0/0", "0/1"]
    assert "400 [bad]" in said
    assert control.requests("GET")[-2][0] == "/api/ingestion/dead-letters?limit=1000&kb=docs&state=waiting"
    assert len(json.loads(run("dead-letters", "--json").stdout)) == 2
    assert json.loads(run("dead-letters", "show", "0/1").stdout)["value"] == {"text": "x"}
    assert run("dead-letters", "show", "nowhere").exit_code == 2


def test_watching_ends_with_the_job(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of(), status_of(status="completed")]
    result = run("status", "docs", "--watch")
    assert "running" in result.stderr
    assert "completed" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [("status", "none"), ("pause", "none"), ("search", "none", "x"), ("jobs", "none"), ("kb", "show", "none")],
)
def test_an_unknown_kb_is_5_and_says_what_to_do(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 5
    assert result.stdout == ""
    assert "there is no knowledge base 'none'. `headrace kb list` shows what there is" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("search", "doc", "x"), 5, "Did you mean 'docs'?"),
        (("serch", "docs", "x"), 2, "No such command 'serch'. Did you mean 'search'?"),
        (("ingest", "docs.example.org"), 2, "write it like https://docs.example.org\n"),
        (("ingest", "ftp://docs.example.org/"), 2, "write it like https://example.org/docs/\n"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(
    run: Run, control: FakeControl, arguments: tuple[str, ...], code: int, says: str
) -> None:
    control.statuses["docs"] = [status_of()]
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert says in result.stderr


def test_no_control_is_3_and_says_what_to_do(run: Run) -> None:
    result = run("--url", "http://127.0.0.1:1", "status")
    assert result.exit_code == 3
    assert "can't be reached at http://127.0.0.1:1" in result.stderr
    assert "headrace up" in result.stderr


@pytest.mark.parametrize(
    "url",
    ["nonsense://x", "http://127.0.0.1:80x0", "http://127.0.0.1:99999", "http://[::1", "http://", "http://a..b",
     "http://a b", "http://user:pa55word@127.0.0.1:8000"],
)  # fmt: skip
def test_what_is_no_address_is_wrong_usage(run: Run, url: str) -> None:
    result = run("--url", url, "status")
    assert result.exit_code == 2
    assert "address of control" in result.stderr and "pa55word" not in result.stderr


@pytest.mark.parametrize(("status", "code"), [(400, 2), (422, 2), (409, 4), (404, 5), (503, 1), (500, 1)])
def test_exit_codes(run: Run, control: FakeControl, status: int, code: int) -> None:
    control.answers["GET", "/api/ingestion/kb"] = problem(status, "Bad", "it went wrong", "x")
    result = run("kb", "list")
    assert result.exit_code == code
    assert result.stderr == "Error: it went wrong.\n"


def test_a_bad_setting_is_2(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_HTTP_PORT", "many")
    result = run("settings")
    assert result.exit_code == 2
    assert "HEADRACE_HTTP_PORT does not fit" in result.stderr


def test_jobs_as_a_table_and_as_json(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of(status="completed"), status_of()]
    table = run("jobs", "docs").stdout
    assert "20 / 50" in table
    assert "1 min 30 s" in table
    assert [job["status"] for job in json.loads(run("jobs", "docs", "--json").stdout)] == ["completed", "running"]


def test_events_need_a_kb(run: Run) -> None:
    result = run("jobs", "--events")
    assert result.exit_code == 2
    assert "headrace jobs KB --events" in result.stderr


def test_search_shows_title_path_url_score_and_the_beginning(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of(status="completed")]
    control.hits = [
        {"chunk_id": "1", "url": "https://x/a", "title": "Files [1]", "heading_path": ["Files [1]", "Closing"],
         "text": "word " * 200, "score": 0.87654}
    ]  # fmt: skip
    shown = run("search", "docs", "close", "a file").stdout
    assert "1. Files [1] › Closing  0.877" in shown
    assert "https://x/a" in shown
    assert shown.rstrip().endswith("…")
    assert control.seen[-1][2] == {"query": "close a file", "k": 5, "mode": "hybrid", "generation": None}


def test_search_as_json_has_whole_texts(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of(status="completed")]
    control.hits = [{"text": "word " * 200}]
    answer = json.loads(
        run("search", "docs", "x", "--json", "-k", "3", "--mode", "keyword", "--generation", "2").stdout
    )
    assert answer["hits"] == control.hits
    assert control.seen[-1][2] == {"query": "x", "k": 3, "mode": "keyword", "generation": 2}


def test_a_search_without_hits_says_so(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of()]
    assert run("search", "docs", "x").stdout == "Nothing fits.\n"


def test_kb_list_show_and_delete(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of()]
    assert "https://example.org/docs/" in run("kb", "list").stdout
    assert json.loads(run("kb", "show", "docs").stdout)["kb_id"] == "docs"
    assert run("kb", "delete", "docs", input="n\n").exit_code == 1
    assert not control.requests("DELETE")
    assert run("kb", "delete", "docs", "--yes", "--reason", "moved away").exit_code == 0
    assert [path for path, _ in control.requests("DELETE")] == ["/api/ingestion/kb/docs?reason=moved+away"]


def test_kb_define_from_stdin(run: Run, control: FakeControl) -> None:
    definition = {"source": {"urls": ["https://example.org/"]}}
    assert run("kb", "define", "docs", "-", input=json.dumps(definition)).exit_code == 0
    assert control.requests("PUT") == [("/api/ingestion/kb/docs", definition)]


@pytest.mark.parametrize(("text", "says"), [("{", "is no JSON"), ("[]", "must hold a JSON object")])
def test_kb_define_refuses_what_is_no_definition(run: Run, text: str, says: str) -> None:
    result = run("kb", "define", "docs", "-", input=text)
    assert result.exit_code == 2
    assert says in result.stderr


HIT: dict[str, Any] = {
    "chunk_id": "1", "url": "https://x/a", "title": "Files", "heading_path": ["Files", "Closing"], "score": 0.9,
    "text": "## Closing\nIt begins elsewhere. It [goes] on.\n\nClosing files is done  by a context manager. More.",
    "highlights": [
        [{"text": "## ", "match": False}, {"text": "Closing", "match": True}, {"text": "\nIt begins", "match": False}],
        [{"text": "Closing", "match": True}, {"text": " files is done  by a context manager.", "match": False}],
    ],
    "duplicates": [{"url": f"https://x/{n}"} for n in "bcdde"],
    "before": [{"text": "What stands before."}], "after": [{"text": "What stands after."}],
}  # fmt: skip


def test_passages_are_shown_on_one_line_and_duplicates_named(run: Run, control: FakeControl) -> None:
    control.statuses["docs"], control.hits = [status_of()], [HIT]
    assert run("search", "docs", "closing").stdout.splitlines()[1:] == [
        "   https://x/a",
        "   also at https://x/b, https://x/c, https://x/d and 1 more",
        "   Closing It begins … Closing files is done by a context manager. …",
    ]


def test_matches_are_bold(control: FakeControl) -> None:
    shown = passages(HIT)
    assert [shown.plain[span.start : span.end] for span in shown.spans if "bold" in str(span.style)] == ["Closing"] * 2
    assert passages(HIT | {"highlights": []}).plain.startswith("It begins elsewhere. It [goes] on.")


def test_context_shows_whole_texts_in_their_order(run: Run, control: FakeControl) -> None:
    control.statuses["docs"], control.hits = [status_of()], [HIT]
    shown = run("search", "docs", "closing", "--context", "1").stdout
    before, text, after = (shown.index(part) for part in ("stands before.", "It [goes] on.", "stands after."))
    assert before < text < after


def test_what_narrows_a_search_is_sent(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of()]
    narrowed = (
        "--path",
        "/a/**",
        "--path",
        "*.html",
        "--heading",
        "Set up",
        "--alpha",
        "0.3",
        "--no-fold",
        "--context",
        "2",
    )
    assert run("search", "docs", "x", *narrowed).exit_code == 0
    sent = control.seen[-1][2]
    assert sent["filters"] == {"path": ["/a/**", "*.html"], "heading": "Set up"}
    assert (sent["alpha"], sent["fold"], sent["neighbours"]) == (0.3, False, 2)
    assert run("search", "docs", "x", "--alpha", "2").exit_code == 2


def test_the_help_teaches(run: Run) -> None:
    words = " ".join(run("search", "--help").stdout.split())
    for part in (
        "--path GLOB",
        "* stays within a segment",
        "by meaning alone",
        "--heading configuration",
        "--context N",
    ):
        assert part in words, part


def test_an_excerpt_is_the_beginning_without_headings() -> None:
    assert excerpt("## Head\nIt begins here.\nMore.") == "It begins here. More."
    assert excerpt("word " * 200).endswith("word …")
    assert excerpt("") == ""


HOST: dict[str, Any] = {
    "host": "docs.example.org:8443", "requests": 1_204, "succeeded": 1_190, "not_modified": 0, "redirected": 4,
    "refused": 3, "client_errors": 5, "server_errors": 0, "unusable": 2, "first_at": "2026-01-01T00:00:00.000Z",
    "last_at": "2026-01-01T00:01:30.000Z", "bytes": 48_000_000, "mean_ms": 120.4, "p95_ms": 310.0, "waited_ms": 95_000,
    "robots": "found", "crawl_delay_s": 1.5, "concurrency": 3, "closed_until": None,
}  # fmt: skip
MADE: dict[str, Any] = {
    "at": "2026-01-01T00:00:00.000Z", "method": "GET", "url": "https://docs.example.org:8443/robots.txt",
    "purpose": "robots", "status": 200, "error": None, "bytes": 312, "duration_ms": 48, "waited_ms": 0, "attempt": 1,
}  # fmt: skip


def test_what_embedding_cost_by_day_and_job(run: Run, control: FakeControl) -> None:
    spent = {"calls": 12, "texts_embedded": 1_500, "tokens_embedded": 600_000, "usd": 0.012, "unsettled_tokens": 0,
             "unsettled_usd": 0.0}  # fmt: skip
    lost = spent | {"unsettled_tokens": 9_000, "unsettled_usd": 0.00018}
    answer = lost | {
        "kb_id": "docs",
        "days": [lost | {"day": "2026-11-26"}],
        "jobs": [spent | {"job_id": "job-2", "generation": 2}, lost | {"job_id": "job-1", "generation": None}],
        "searches": spent | {"calls": 321, "usd": 0.5},
    }
    control.answers["GET", "/api/ingestion/kb/docs/cost"] = 200, answer
    table = run("cost", "docs").stdout
    for part in (
        "2026-11-26",
        "job-2 (generation 2)",
        "job-1 ",
        "600,000",
        "$0.0120",
        "9,000 tokens, $0.0002",
        "searches ",
        "321",
        "$0.50",
        "in all",
    ):
        assert part in table, part
    assert json.loads(run("cost", "docs", "--json").stdout) == answer


def test_what_embedding_cost_in_all(run: Run, control: FakeControl) -> None:
    spent = {"calls": 12, "texts_embedded": 1_500, "tokens_embedded": 600_000, "usd": 0.012, "unsettled_tokens": 0,
             "unsettled_usd": 0.0}  # fmt: skip
    kbs = [spent | {"kb_id": "docs"}, spent | {"kb_id": "wiki", "usd": None}]
    answer = spent | {"usd": None, "calls": 24, "days": [spent | {"day": "2026-11-26", "usd": None}], "kbs": kbs}
    control.answers["GET", "/api/ingestion/cost"] = 200, answer
    table = run("cost").stdout
    for part in ("day / KB", "2026-11-26", "docs ", "$0.0120", "wiki ", "unknown", "in all", "24"):
        assert part in table, part
    assert json.loads(run("cost", "--json").stdout) == answer


def test_a_status_tells_what_its_knowledge_base_cost(run: Run, control: FakeControl) -> None:
    whole = {"tokens_embedded": 900, "usd": 1.5, "days": [{"day": "2026-11-26", "usd": 0.25}]}
    cost = {"tokens_embedded": 100, "usd": 0.25, "kb": whole}
    control.statuses["docs"] = [status_of("docs", "completed", cost=cost)]
    assert "$0.2500, $1.50 in all, $0.2500 of it on 2026-11-26" in run("status", "docs").stdout
    assert "$0.2500 " in run("jobs", "docs").stdout
    control.statuses["docs"] = [status_of("docs", "completed", cost=cost | {"kb": whole | {"tokens_embedded": 100}})]
    assert "in all" not in run("status", "docs").stdout, "the job is all there was"


def test_hosts_as_a_table_and_as_json(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of()]
    assert run("hosts", "docs").stdout == "Nothing was asked of any host.\n"
    control.hosts = [HOST, HOST | {"host": "b.example", "robots": None, "crawl_delay_s": None, "mean_ms": None}]
    table = run("hosts", "docs").stdout
    for part in (
        "docs.example.org:8443",
        "1,204",
        "1,190 ok, 4 moved, 3 refused, 5 4xx, 2 failed",
        "48.0",
        "120 ms",
        "1 min 35 s",
        "found, 1.5 s",
        "not asked",
    ):
        assert part in table, part
    assert json.loads(run("hosts", "docs", "--json").stdout) == control.hosts
    control.hosts = [HOST | {"closed_until": f"{year}-06-01T12:00:00.000Z"} for year in (2001, 2999)]
    assert "2999-06-01" in run("hosts", "docs").stdout
    assert "2001" not in run("hosts", "docs").stdout


def test_requests_of_a_host_are_read_to_the_end(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of()]
    control.made = [MADE, MADE | {"purpose": "page", "status": None, "error": "timeout", "attempt": 2}, MADE]
    assert json.loads(run("hosts", "docs", "--requests", "docs.example.org:8443", "--json").stdout) == control.made
    assert "timeout" in run("hosts", "docs", "--requests", "docs.example.org:8443").stdout
    assert "/jobs/job-docs/hosts/docs.example.org%3A8443/requests?limit=1000" in control.requests("GET")[-1][0]


def test_rows_of_a_query(run: Run, control: FakeControl) -> None:
    answer = {"columns": [{"name": "state", "type": "VARCHAR"}, {"name": "n", "type": "BIGINT"}],
              "rows": [["fetched [b]", 2], [None, 1]], "truncated": True}  # fmt: skip
    control.answers["POST", "/api/ingestion/sql"] = (200, answer)
    result = run("sql", "SELECT 1")
    assert control.seen[-1] == ("POST", "/api/ingestion/sql", {"query": "SELECT 1"})
    assert [line.split() for line in result.stdout.splitlines()] == [["state", "n"], ["fetched", "[b]", "2"], ["1"]]
    assert "narrow the query" in result.stderr
    assert json.loads(run("sql", "SELECT 1", "--json").stdout) == answer
    control.answers["POST", "/api/ingestion/sql"] = problem(400, "Bad request", "Parser Error: syntax", "invalid-sql")
    assert (result := run("sql", "SELEC")).exit_code == 2 and "Parser Error" in result.stderr


def test_a_file_of_rows(run: Run, control: FakeControl, tmp_path: Path) -> None:
    control.answers["POST", "/api/ingestion/sql"] = (200, {"any": "bytes"})
    result = run("sql", "FROM pages", "--parquet", str(tmp_path / "x.parquet"))
    assert result.exit_code == 0, result.stderr
    assert control.seen[-1][2] == {"query": "FROM pages", "format": "parquet"}
    assert json.loads((tmp_path / "x.parquet").read_text()) == {"any": "bytes"}
    assert run("sql", "FROM pages", "--json", "--parquet", "x").exit_code == 2


def test_a_file_in_the_place_of_another_has_no_more_readers(run: Run, control: FakeControl, tmp_path: Path) -> None:
    control.answers["POST", "/api/ingestion/sql"] = (200, {"any": "bytes"})
    path = tmp_path / "x.parquet"
    path.touch(mode=0o600)
    assert run("sql", "FROM pages", "--parquet", str(path)).exit_code == 0
    assert path.stat().st_size and path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_can_not_be_begun_is_told_before_anything_is_asked(
    run: Run, control: FakeControl, tmp_path: Path
) -> None:
    result = run("sql", "FROM pages", "--parquet", str(tmp_path / "none" / "x.parquet"))
    assert result.exit_code == 2 and "x.parquet can't be written: No such file or directory. Name" in result.stderr
    assert control.seen == []


def test_a_file_that_does_not_fit_is_told(run: Run, control: FakeControl) -> None:
    control.answers["POST", "/api/ingestion/sql"] = (200, {"any": "bytes"})
    result = run("sql", "FROM pages", "--parquet", "/dev/full")
    assert result.exit_code == 2 and "/dev/full can't be written: No space left on device" in result.stderr


@pytest.mark.parametrize("ends", ["refused", "cut off"])
def test_what_does_not_come_whole_leaves_the_file_before(
    run: Run, control: FakeControl, tmp_path: Path, ends: str
) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"before")
    control.answers["POST", "/api/ingestion/sql"] = problem(400, "Bad request", "Parser Error", "invalid-sql")
    if ends == "cut off":
        control.answers["POST", "/api/ingestion/sql"] = (200, {"any": "bytes"})
        control.cut_off = True
    result = run("sql", "FROM pages", "--parquet", str(path))
    assert result.exit_code == (2 if ends == "refused" else 3)
    assert [each.read_bytes() for each in tmp_path.iterdir() if each.is_file()] == [b"before"]


@pytest.mark.parametrize(("status", "says"), [(404, "404 Not Found"), (301, "301 Moved"), (500, "500 Internal")])
@pytest.mark.parametrize("answer", [{"error": "no such index"}, ["nothing"]])
def test_another_server_at_the_address_is_told(
    run: Run, control: FakeControl, status: int, says: str, answer: Any
) -> None:
    control.answers["GET", "/api/ingestion/kb"] = (status, answer)
    result = run("status")
    assert result.exit_code == 3
    assert f"{control.url} answers {says}" in result.stderr and "not as Headrace's control does" in result.stderr
