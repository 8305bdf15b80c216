"""Progress and time to go, as pure functions."""

from control.answers import CrawlAnswer
from control.questions import Tally
from control.status import OVER, Status

NEARLY = 99.0
"""What is done but not proven shows no more than this."""


def expected_chunks(crawl: CrawlAnswer, tally: Tally) -> float:
    """All chunks, where the queued pages are as rich as those that were crawled."""
    if tally.documents == 0 or crawl.state in ("finished", "failed"):
        return float(tally.chunks)
    return tally.chunks * (1 + crawl.pages_queued / tally.documents)


def progress_percent(status: Status, crawl: CrawlAnswer, tally: Tally) -> float:
    """100 only when the job is completed: until then the proof is still to come."""
    if status in ("completed", "completed_with_errors"):
        return 100.0
    expected = expected_chunks(crawl, tally)
    return min(NEARLY, round(100 * tally.processed / expected, 1)) if expected else 0.0


def remaining_s(status: Status, crawl: CrawlAnswer, tally: Tally, rate: float | None) -> float | None:
    """At the present rate; None where nothing moves."""
    if status in OVER or status != "running" or not rate:
        return None
    return round(max(0.0, expected_chunks(crawl, tally) - tally.processed) / rate, 1)
