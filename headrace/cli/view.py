"""How a status looks, for people."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from headrace.cli.rows import Rows
from headrace.client import Json
from headrace.counted import counted

COLOURS = {
    "completed": "green", "completed_with_errors": "yellow", "running": "cyan", "queued": "cyan", "resuming": "cyan",
    "pausing": "yellow", "paused": "yellow", "stalled": "red", "needs_review": "magenta", "failed": "red",
    "cancelling": "red", "cancelled": "dim",
}  # fmt: skip


BUDGET_OPTIONS = {"max_tokens": "--max-tokens", "max_usd": "--max-usd"}


def status_text(status: Json) -> Text:
    word = str(status.get("status", "?"))
    return Text(word, style=COLOURS.get(word, ""))


def crawl_counts(status: Json) -> tuple[int, int]:
    """(pages of which is known what becomes of them, pages known so far)."""
    done = sum(pages_by_fate(status).values())
    return done, done + int((status.get("crawl") or {}).get("pages_queued") or 0)


def pages_read(status: Json) -> int:
    """Where stored texts are embedded anew, those whose texts are handed on."""
    return pages_by_fate(status)["read"]


def pages_by_fate(status: Json) -> dict[str, int]:
    crawl = status.get("crawl") or {}
    fields = {"read": "crawled", "gone": "gone", "skipped": "skipped", "failed": "failed"}
    return {word: int(crawl.get(f"pages_{field}") or 0) for word, field in fields.items()}


def chunk_counts(status: Json) -> tuple[int, int]:
    """(chunks processed, chunks known so far)."""
    metrics = status.get("metrics") or {}
    return int(metrics.get("chunks_processed") or 0), int(metrics.get("chunks_total") or 0)


def lag(status: Json) -> str:
    value = (status.get("offsets") or {}).get("lag")
    return "–" if value is None else f"{value:,}"


def rate(status: Json) -> str:
    value = status.get("rate_chunks_per_s")
    return f"{value:.0f}/s" if value else "–"


def duration(seconds: Any) -> str:
    if seconds is None:
        return "–"
    whole = int(float(seconds) + 0.5)
    minutes, left = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {left:02} s" if minutes else f"{left} s"


def dollars(usd: Any) -> str:
    """Small sums with the digits that say something."""
    if usd is None:
        return "unknown"
    return f"${usd:,.2f}" if usd >= 1 or not usd else f"${usd:.6f}" if usd < 0.0001 else f"${usd:.4f}"


def cost_words(status: Json) -> str:
    """What the job cost so far, against its budget; nothing where it cost nothing."""
    cost = status.get("cost") or {}
    budget = cost.get("budget") or {}
    usd, tokens = cost.get("usd"), int(cost.get("tokens_embedded") or 0)
    words = []
    if budget.get("max_tokens") is not None:
        words.append(f"{tokens:,} of {counted(budget['max_tokens'], 'token')}")
    if budget.get("max_usd") is not None:
        words.append(f"{dollars(usd)} of {dollars(budget['max_usd'])}")
    elif usd or (usd is None and tokens):
        words.append(dollars(usd) if usd else f"{counted(tokens, 'token')}, dollars unknown")
    return ", ".join(words)


def kb_cost_words(status: Json) -> str:
    """What its knowledge base has cost in all and on the newest day, where that is more than the job's."""
    cost = status.get("cost") or {}
    whole = cost.get("kb") or {}
    if whole.get("usd", 0) == 0 or whole["tokens_embedded"] == cost["tokens_embedded"]:
        return ""
    day = whole["days"][0]
    return f"{dollars(whole['usd'])} in all, {dollars(day['usd'])} of it on {day['day']}"


def moment(text: Any) -> str:
    """An RFC 3339 time in this machine's zone."""
    if not text:
        return "–"
    return datetime.fromisoformat(str(text)).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def took(status: Json) -> str:
    started, finished = status.get("started_at"), status.get("finished_at")
    if not started:
        return "–"
    end = datetime.fromisoformat(str(finished)) if finished else datetime.now(UTC)
    return duration(max(0.0, (end - datetime.fromisoformat(str(started))).total_seconds()))


def _what_was_lost(lost: Json) -> str:
    """From a service that is older than this command there are only records."""
    told = [f"{counted(lost['records'], 'record was', 'records were')} lost from the log"] if lost["records"] else []
    told += (
        [f"{counted(chunks, 'chunk was', 'chunks were')} missing in Weaviate"] if (chunks := lost.get("chunks")) else []
    )
    return ", ".join(told)


def trouble(status: Json) -> list[str]:
    """What a person should know or do, one line each."""
    kb = status.get("kb_id")
    lines = [f"{s['service']} waits for {s['dependency']}: {s['reason']}" for s in status.get("stalls") or ()]
    word, reason = status.get("status"), status.get("reason")
    if word in ("failed", "completed_with_errors", "paused", "pausing", "cancelled") and reason:
        lines.append(f"reason: {reason}")
    if lost := status.get("lost"):
        lines.append(f"{_what_was_lost(lost)}; {counted(lost['pages'], 'page')} fetched again")
    if word == "needs_review":
        lines += [
            f"review: {reason}",
            f"see what would vanish: headrace changes {kb}",
            f"publish it: headrace approve {kb}, or drop it: headrace cancel {kb}",
        ]
    if word == "paused":
        lines.append(f"go on with: headrace resume {kb}{_raised(status)}")
    parked = (status.get("metrics") or {}).get("chunks_parked") or 0
    if word == "running" and parked:
        partition = (status.get("offsets") or {}).get("partition")
        lines.append(
            f"{counted(parked, 'chunk is', 'chunks are')} set aside, and taken up in turn with other jobs on partition "
            f"{partition}"
        )
    failed_pages = (status.get("crawl") or {}).get("pages_failed") or 0
    failed_chunks = (status.get("metrics") or {}).get("chunks_failed") or 0
    if failed_pages:
        lines.append(f"{counted(failed_pages, 'page')} failed; which and why: headrace pages {kb} --state failed")
    if failed_chunks:
        lines.append(
            f"{counted(failed_chunks, 'chunk is', 'chunks are')} in the dead letters; which and why: "
            f"headrace dead-letters {kb}"
        )
    if left_out := (status.get("crawl") or {}).get("left_out"):
        kinds = ", ".join(f"{kind} ({urls:,})" for kind, urls in sorted(left_out.items()))
        lines.append(f"links that lead into traps are not followed: {kinds}")
    return lines


def _raised(status: Json) -> str:
    """What a resume needs where the budget is reached: with the same one the job pauses again before its next call."""
    if status.get("commanded_by") != "budget":
        return ""
    budget = (status.get("cost") or {}).get("budget") or {}
    limits = [(option, budget[name]) for name, option in BUDGET_OPTIONS.items() if budget.get(name) is not None]
    return "".join(f" {option} <more than {limit}>" for option, limit in limits)


def bar(done: int, total: int, width: int = 24) -> str:
    filled = width if total and done >= total else int(width * done / total) if total else 0
    return "━" * filled + "┄" * (width - filled)


def status_lines(status: Json) -> list[Text]:
    """One KB in a few lines."""
    crawled, pages = crawl_counts(status)
    done, chunks = chunk_counts(status)
    head = Text.assemble(
        (str(status.get("kb_id")), "bold"),
        "  ",
        status_text(status),
        f"  {float(status.get('progress') or 0):.0f} %",
        (f"  {status.get('phase')}, generation {status.get('generation')}", "dim"),
    )
    crawl = Text.assemble("  crawl  ", (bar(crawled, pages), "blue"), f"  {crawled:,} of {counted(pages, 'page')}")
    fates = pages_by_fate(status)
    if crawled != fates["read"]:
        crawl.append("  " + ", ".join(f"{count:,} {word}" for word, count in fates.items() if count), style="dim")
    told = {"rate": rate(status), "lag": lag(status), "ETA": duration(status.get("eta_s")), "took": took(status)}
    facts = "".join(f"  {name} {value}" for name, value in told.items() if value != "–")
    index = Text.assemble(
        "  index  ", (bar(done, chunks), "green"), f"  {done:,} of {counted(chunks, 'chunk')}", (facts, "dim")
    )
    if cost := ", ".join(filter(None, (cost_words(status), kb_cost_words(status)))):
        index.append(f"  {cost}", style="dim")
    return [head, crawl, index, *(Text(f"  {line}", style="yellow") for line in trouble(status))]


def _spent(job: Json) -> str:
    cost = job.get("cost") or {}
    return dollars(cost["usd"]) if cost.get("tokens_embedded") else "–"


def job_table(jobs: Iterable[Json], title: str | None = None) -> Rows:
    table = Rows("KB", "gen", "status", "pages", "chunks", "failed", "dollars", "started", "took", "job", title=title)
    for job in jobs:
        done, chunks = chunk_counts(job)
        failed = int((job.get("metrics") or {}).get("chunks_failed") or 0)
        table.add_row(
            str(job.get("kb_id")),
            str(job.get("generation")),
            status_text(job),
            f"{pages_read(job):,}",
            f"{done:,} / {chunks:,}",
            f"{failed:,}",
            _spent(job),
            moment(job.get("started_at")),
            took(job),
            str(job.get("job_id")),
        )
    return table
