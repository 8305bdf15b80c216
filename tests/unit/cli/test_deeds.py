"""Commands that do: ingest, pause, resume, cancel, approve, rollback, vacuum."""

import json

import pytest

from headrace.cli.addresses import private_range, slug_of
from tests.support.names import NAMES
from tests.unit.cli.conftest import Run
from tests.unit.cli.control_fake import FakeControl, Json, problem, status_of

URL = "https://example.org/docs/"


def test_ingest_starts_with_a_definition_of_what_was_given(run: Run, control: FakeControl) -> None:
    result = run(
        "ingest", URL, "--exclude", "/docs/old/**", "--max-pages", "10", "--delay", "0.5", "--embedding", "local"
    )
    assert result.exit_code == 0
    assert control.requests("POST") == [
        (
            "/api/ingestion/kb/example-org-docs/start",
            {
                "source": {"urls": [URL], "exclude": ["/docs/old/**"], "max_pages": 10},
                "crawl": {"delay_s": 0.5},
                "embedding": {"provider": "local"},
            },
        )
    ]
    assert "example-org-docs is completed: 10 pages, 20 chunks indexed, in 1 min 30 s" in result.stdout
    assert 'headrace search example-org-docs "your question"' in result.stderr


@pytest.mark.parametrize(
    "deed", ["pause", "resume", "cancel", "approve", "rollback --yes", "vacuum --yes", "kb delete --yes", "reembed"]
)
def test_a_reason_that_control_would_refuse_is_not_sent(run: Run, control: FakeControl, deed: str) -> None:
    result = run(*deed.split(), "docs", "--reason", "x" * 501)
    assert result.exit_code == 2 and "501 characters, and 500 are taken: shorten it" in result.stderr
    assert not control.seen


def test_a_budget_stands_in_the_definition(run: Run, control: FakeControl) -> None:
    assert run("ingest", URL, "--max-usd", "0.25", "--max-tokens", "1000").exit_code == 0
    ((_, sent),) = control.requests("POST")
    assert sent["budget"] == {"max_tokens": 1000, "max_usd": 0.25}


@pytest.mark.parametrize("arguments", [("resume", "docs"), ("ingest", "--kb", "docs", "--no-wait")])
def test_a_budget_is_raised_before_the_job_goes_on(run: Run, control: FakeControl, arguments: list[str]) -> None:
    control.statuses["docs"] = [status_of(status="running")]
    assert run(*arguments, "--max-usd", "2").exit_code == 0
    ((path, sent),) = control.requests("PUT")
    assert path == "/api/ingestion/kb/docs" and sent["budget"] == {"max_tokens": None, "max_usd": 2.0}
    assert sent["source"]["urls"] == ["https://example.org/docs/"], "all else stays"
    assert [method for method, _, _ in control.seen if method != "GET"] == ["PUT", "POST"]


def test_ingest_does_not_wait_for_a_person_to_raise_a_budget(run: Run, control: FakeControl) -> None:
    reason = "budget: $0.2 of $0.25 are spent"
    control.statuses["docs"] = [status_of(status="paused", commanded_by="budget", reason=reason)]
    result = run("ingest", URL, "--kb", "docs", "--max-usd", "0.25")
    assert result.exit_code == 7 and f"docs waits for a person: {reason}" in result.stderr


@pytest.mark.parametrize(
    "url", ["https://example.org/docs", "https://example.org/docs?a=1", "http://[2001:db9::1]/docs"]
)
def test_a_url_that_covers_more_than_it_seems_is_pointed_out(run: Run, control: FakeControl, url: str) -> None:
    root = url.partition("docs")[0]
    result = run("ingest", url, "--allow-addresses", "2001:db9::/32")
    assert result.exit_code == 0
    assert f"all under {root} is crawled. Was {root}docs/ meant?" in result.stderr


@pytest.mark.parametrize(
    "arguments", [[URL], ["https://example.org"], [URL + "index.html"], [URL[:-1], "--include", "/docs/"]]
)
def test_a_url_that_covers_what_it_seems_is_not(run: Run, control: FakeControl, arguments: list[str]) -> None:
    result = run("ingest", *arguments)
    assert result.exit_code == 0
    assert "no slash" not in result.stderr


def test_the_help_of_ingest_tells_what_is_covered_and_how_patterns_read(run: Run) -> None:
    words = " ".join(run("ingest", "--help").stdout.split())
    assert "without the slash, the whole host" in words
    assert "** any part of a path" in words


@pytest.mark.parametrize(
    ("agent", "urls", "warns"),
    [
        (None, (URL,), True),
        (None, ("http://localhost:8080/", URL), True),
        (None, ("http://localhost:8080/",), False),
        ("Headrace/1 (+https://example.org/bot)", (URL,), False),
    ],
)
def test_ingest_warns_where_sites_of_others_are_crawled_without_a_contact(
    run: Run, monkeypatch: pytest.MonkeyPatch, agent: str | None, urls: tuple[str, ...], warns: bool
) -> None:
    if agent is not None:
        monkeypatch.setenv("HEADRACE_USER_AGENT", agent)
    result = run("ingest", *urls, "--allow-addresses", "127.0.0.0/8", "--no-wait")
    assert result.exit_code == 0
    assert ("set HEADRACE_USER_AGENT" in result.stderr) == warns


def test_ingest_of_a_known_kb_refreshes_it_as_it_is(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of(status="completed")]
    assert run("ingest", "--kb", "docs").exit_code == 0
    assert control.requests("POST") == [("/api/ingestion/kb/docs/start", None)]


OTHER_URL = "https://example.org/guide/"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((OTHER_URL, "--kb", "docs"), "docs is a knowledge base of https://example.org/docs/: name another by --kb"),
        ((URL, OTHER_URL, "--kb", "docs"), "name another by --kb"),
        ((OTHER_URL,), "name yours by --kb NAME"),
    ],
)
def test_a_name_that_other_urls_have_is_4_and_starts_nothing(
    run: Run, control: FakeControl, arguments: tuple[str, ...], says: str
) -> None:
    control.statuses["docs"] = control.statuses["example-org-guide"] = [status_of(status="completed")]
    result = run("ingest", *arguments)
    assert result.exit_code == 4
    assert says in result.stderr and "add --replace" in result.stderr
    assert not control.requests("POST")


def test_a_definition_is_replaced_when_told_so_and_only_the_one_that_was_seen(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of(status="completed")]
    result = run("ingest", OTHER_URL, "--kb", "docs", "--replace")
    assert result.exit_code == 0
    assert f'docs is defined anew: source.urls ["{URL}"] → ["{OTHER_URL}"].' in result.stderr
    assert ("POST", {"If-Match": '"tag"'}) in control.preconditions


def test_the_same_urls_refresh_and_what_else_differs_is_told(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of(status="completed")]
    result = run("ingest", "HTTPS://Example.org/docs/", "--kb", "docs", "--max-pages", "5")
    assert result.exit_code == 0
    assert "source.max_pages 10000 → 5" in result.stderr and "delay_s" not in result.stderr
    control.statuses["docs"] = [status_of(status="completed")]
    assert "anew" not in run("ingest", URL, "--kb", "docs").stderr


def test_a_url_that_gives_no_name_is_told(run: Run, control: FakeControl) -> None:
    result = run("ingest", "http://_/")
    assert result.exit_code == 2 and "no name can be made of http://_/; give one with --kb" in result.stderr
    assert not control.seen


def test_an_older_control_that_knows_no_etags_is_asked_without(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of(status="completed")]
    old = {name: value for name, value in control._kb("docs").items() if name != "etag"}
    control.answers["GET", "/api/ingestion/kb/docs"] = 200, old
    assert run("ingest", URL, "--kb", "docs").exit_code == 0
    assert control.requests("POST")


@pytest.mark.parametrize("advice", ["", "; send its ETag"])
def test_a_new_name_takes_none_that_came_to_be_meanwhile(run: Run, control: FakeControl, advice: str) -> None:
    refused = problem(412, "Precondition failed", f"there is one already{advice}", "kb-exists")
    control.answers["POST", "/api/ingestion/kb/docs/start"] = refused
    result = run("ingest", URL, "--kb", "docs")
    assert ("POST", {"If-None-Match": "*"}) in control.preconditions
    assert result.exit_code == 4
    assert "there is one already. Somebody was quicker" in result.stderr and "ETag" not in result.stderr


def test_a_budget_is_set_in_the_definition_that_was_read(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of(status="running")]
    assert run("resume", "docs", "--max-usd", "2").exit_code == 0
    assert ("PUT", {"If-Match": '"tag"'}) in control.preconditions


def test_ingest_without_waiting(run: Run, control: FakeControl) -> None:
    result = run("ingest", URL, "--no-wait")
    assert "headrace status example-org-docs --watch" in result.stdout
    assert json.loads(run("ingest", URL, "--no-wait", "--json").stdout)["job_id"] == "job-example-org-docs"
    assert control.requests("GET") == [("/api/ingestion/kb/example-org-docs", None)] * 2, "nothing is watched"


def test_ingest_watches_to_the_end_and_its_json_is_the_last_status(run: Run, control: FakeControl) -> None:
    last = status_of(status="completed")
    control.statuses["docs"] = [status_of(status="queued"), status_of(), last]
    result = run("ingest", URL, "--kb", "docs", "--json")
    assert json.loads(result.stdout) == last
    assert "queued" in result.stderr


@pytest.mark.parametrize(
    ("end", "code"), [("completed", 0), ("completed_with_errors", 0), ("failed", 1), ("cancelled", 1)]
)
def test_the_end_of_the_job_is_the_exit_code(run: Run, control: FakeControl, end: str, code: int) -> None:
    control.statuses["docs"] = [status_of(status=end, reason="because")]
    result = run("ingest", URL, "--kb", "docs")
    assert result.exit_code == code
    assert code == 0 or f"docs is {end}: because" in result.stderr


def test_an_active_job_is_4(run: Run, control: FakeControl) -> None:
    answer = problem(409, "Conflict", "job 1 of docs is active", "job-active")
    control.answers["POST", "/api/ingestion/kb/docs/start"] = answer
    result = run("ingest", URL, "--kb", "docs")
    assert result.exit_code == 4
    assert "headrace cancel KB" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "name a URL"),
        (("example.org/docs",), "not an http or https URL"),
        (("ftp://example.org/",), "not an http or https URL"),
        (("http://exa mple/",), "holds a space or a control character"),
        (("http://example.org/\n",), "holds a space or a control character"),
        (("http://example.org/" + "a" * 20_000,), "a URL may have 2,000"),
        (("https://me:hunter2@example.org/",), "credentials in a URL are not accepted"),
        (("http://127.0.0.1:8080/",), "add --allow-addresses 127.0.0.0/8"),
        (("http://localhost/",), "add --allow-addresses 127.0.0.0/8"),
        (("http://192.168.1.5/",), "add --allow-addresses 192.168.0.0/16"),
        (("http://[::1]/",), "add --allow-addresses ::1/128"),
        (("http://10.1.2.3/", "--allow-addresses", "127.0.0.0/8"), "add --allow-addresses 10.0.0.0/8"),
        ((URL, "--max-pages", "0"), "max-pages"),
        (("--kb", "docs", "--replace"), "--replace goes with the URLs"),
    ],
)
def test_wrong_usage_is_2_and_starts_nothing(
    run: Run, control: FakeControl, arguments: tuple[str, ...], says: str
) -> None:
    result = run("ingest", *arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert not control.seen


def test_a_private_site_is_ingested_when_allowed(run: Run, control: FakeControl) -> None:
    assert run("ingest", "http://127.0.0.1:8080/", "--allow-addresses", "127.0.0.0/8").exit_code == 0
    ((_, definition),) = control.requests("POST")
    assert definition["source"]["allow_addresses"] == ["127.0.0.0/8"]


@pytest.mark.parametrize("action", ["pause", "resume", "cancel"])
def test_a_command_with_its_reason(run: Run, control: FakeControl, action: str) -> None:
    control.statuses["docs"] = [status_of()]
    result = run(action, "docs", "--reason", "lunch")
    assert f"docs: {action} is commanded (revision 2)" in result.stdout
    assert control.requests("POST") == [(f"/api/ingestion/kb/docs/{action}", {"reason": "lunch"})]
    assert json.loads(run(action, "docs", "--json").stdout)["revision"] == 2


@pytest.mark.parametrize(
    ("action", "on_the_way", "reached"),
    [
        ("pause", "pausing", "paused"), ("resume", "resuming", "running"), ("cancel", "cancelling", "cancelled"),
        ("approve", "running", "completed"),
    ],
)  # fmt: skip
def test_waiting_until_it_takes_effect(
    run: Run, control: FakeControl, action: str, on_the_way: str, reached: str
) -> None:
    waiting = [status_of(status="needs_review", review={"digest": "abc"})] if action == "approve" else []
    control.statuses["docs"] = [*waiting, status_of(status=on_the_way), status_of(status=reached)]
    result = run(action, "docs", "--wait")
    assert result.exit_code == 0
    assert f"docs is {reached} (20 of 50 chunks)" in result.stdout


def test_approve_names_the_manifest_that_was_seen(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of(status="needs_review", review={"digest": "abc"})]
    assert run("approve", "docs").exit_code == 0
    assert control.requests("POST") == [("/api/ingestion/kb/docs/approve", {"digest": "abc"})]


@pytest.mark.parametrize("status", [status_of(), status_of(status="completed", review=None)])
def test_what_waits_for_no_review_is_not_approved_unseen(run: Run, control: FakeControl, status: Json) -> None:
    control.statuses["docs"] = [status]
    result = run("approve", "docs")
    assert result.exit_code == 4 and "waits for no review" in result.stderr
    assert control.requests("POST") == []


def test_a_review_ends_the_watching_of_an_ingest(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of(), status_of(status="needs_review", reason="9 of 10 pages would vanish")]
    result = run("ingest", "--kb", "docs")
    assert result.exit_code == 7
    assert "9 of 10 pages would vanish" in result.stderr and "headrace approve docs" in result.stderr


def test_rollback_names_the_generation_that_was_seen(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of(status="cancelling"), status_of(status="cancelled")]
    control.published = 4
    asked = run("rollback", "docs", input="n\n")
    assert asked.exit_code == 1 and "Undo generation 4 of docs" in asked.stderr
    assert control.requests("POST") == []
    assert "docs is cancelled" in run("rollback", "docs", "--yes", "--wait", "--reason", "wrong").stdout
    assert control.requests("POST") == [("/api/ingestion/kb/docs/rollback", {"reason": "wrong", "generation": 4})]


def test_vacuum(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = []
    assert run("vacuum", "docs", "--keep", "2", "--below", "3").exit_code == 2
    assert run("vacuum", "docs", input="n\n").exit_code == 1
    assert control.requests("POST") == []
    assert "below 2 are vacuumed" in run("vacuum", "docs", "--keep", "2", "--reason", "full", "--yes").stdout
    assert control.requests("POST") == [("/api/ingestion/kb/docs/vacuum", {"keep": 2, "reason": "full"})]


@pytest.mark.parametrize(
    ("arguments", "selection"),
    [
        (("2/17", "0/3"), {"places": [{"partition": 2, "offset": 17}, {"partition": 0, "offset": 3}]}),
        (("--kb", "docs", "--reason", "400"), {"kb_id": "docs", "reason": "400"}),
        (("--job", "j"), {"job_id": "j"}),
        (("--all",), {"all": True}),
    ],
)
def test_retry(run: Run, control: FakeControl, arguments: tuple[str, ...], selection: dict[str, object]) -> None:
    assert "1 retried" in run("dead-letters", "retry", *arguments).stdout
    assert control.requests("POST") == [("/api/ingestion/dead-letters/retry", selection)]


def test_a_retry_of_nothing_says_why(run: Run, control: FakeControl) -> None:
    assert run("dead-letters", "retry").exit_code == 2
    assert run("dead-letters", "retry", "docs").exit_code == 2
    assert control.requests("POST") == []
    why = {"place": {"partition": 2, "offset": 17}, "code": "refused", "reason": "start a refresh instead"}
    control.retried = {"retried": 0, "passed_over": 3, "job_ids": [], "not_retried": [why]}
    result = run("dead-letters", "retry", "2/17")
    assert result.exit_code == 1
    assert "2/17: start a refresh instead" in result.stderr and "and 2 more" in result.stderr


@pytest.mark.parametrize(("url", "slug"), NAMES.items())
def test_slugs(url: str, slug: str) -> None:
    assert slug_of(url) == slug


@pytest.mark.parametrize("url", ["https://example.org/", "https://8.8.8.8/", "https://[2606:4700::1111]/"])
def test_public_addresses_need_nothing(url: str) -> None:
    assert private_range(url) is None


def test_reembed_names_what_was_given_and_is_followed(run: Run, control: FakeControl) -> None:
    done = status_of("docs", "completed", reembeds=1, crawl={"pages_crawled": 10, "pages_queued": 0})
    control.statuses["docs"] = [done]
    result = run(
        "reembed", "docs", "--model", "bge-m3", "--dimensions", "1024", "--endpoint", "ours", "--reason", "better"
    )
    assert result.exit_code == 0
    asked = {"embedding": {"model": "bge-m3", "dimensions": 1024, "endpoint": "ours"}, "reason": "better"}
    assert control.requests("POST") == [("/api/ingestion/kb/docs/reembed", asked)]
    assert "docs is completed: 10 pages, 20 chunks indexed" in result.stdout


def test_reembed_by_the_definitions_model(run: Run, control: FakeControl) -> None:
    control.statuses["docs"] = [status_of("docs", "running")]
    result = run("reembed", "docs", "--no-wait", "--json")
    assert json.loads(result.stdout)["job_id"] == "job-docs"
    assert control.requests("POST") == [("/api/ingestion/kb/docs/reembed", {})]


def test_reembed_by_the_model_that_it_has_makes_no_sense(run: Run, control: FakeControl) -> None:
    control.answers["POST", "/api/ingestion/kb/docs/reembed"] = problem(
        409, "Conflict", "generation 1 of docs is embedded by bge-m3 already", "same-embedding"
    )
    result = run("reembed", "docs", "--model", "bge-m3")
    assert result.exit_code == 4
    assert "is embedded by bge-m3 already" in result.stderr


def test_reembed_estimated_starts_nothing(run: Run, control: FakeControl) -> None:
    sums = {"low": 90_000, "expected": 100_000, "high": 110_000}
    answer = {
        "generation": 3, "chunks": 1_900, "texts": 1_500, "reused": 300, "tokens": sums,
        "usd": {name: each * 1.3e-7 for name, each in sums.items()}, "usd_per_mtok": 0.13, "prices_as_of": "2026-05-01",
        "minutes": {"low": 0.1, "expected": 0.2, "high": 1.5}, "model": "text-embedding-3-large",
    }  # fmt: skip
    control.answers["POST", "/api/ingestion/kb/docs/reembed"] = 200, answer
    result = run("reembed", "docs", "--model", "text-embedding-3-large", "--dry-run")
    asked = {"embedding": {"model": "text-embedding-3-large"}, "dry_run": True}
    assert control.requests("POST") == [("/api/ingestion/kb/docs/reembed", asked)]
    for part in ("1,900", "1,200", "90,000 and 110,000", "$0.0130", "1 min 30 s"):
        assert part in result.stdout, part
    for part in ("Nothing was started", "300 more texts", "$0.13 per million tokens, as of 2026"):
        assert part in result.stderr, part
    assert json.loads(run("reembed", "docs", "--dry-run", "--json").stdout) == answer
    unpriced = answer | {"usd": None, "usd_per_mtok": None, "reused": 0}
    control.answers["POST", "/api/ingestion/kb/docs/reembed"] = 200, unpriced
    result = run("reembed", "docs", "--dry-run")
    assert "unknown" in result.stdout and "HEADRACE_PRICES=" in result.stderr


def test_the_help_of_reembed_teaches(run: Run) -> None:
    words = " ".join(run("reembed", "--help").stdout.split())
    assert "No page is fetched" in words and "searches see the old one" in words and "headrace rollback" in words
