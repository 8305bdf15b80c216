"""Progress, cost and time to go, as pure functions."""

from control.answers import CrawlAnswer
from control.questions import Tally
from control.status import OVER, Status
from schemas.kb import Embedding

USD_PER_MTOK = {"text-embedding-3-small": 0.02, "text-embedding-3-large": 0.13, "text-embedding-ada-002": 0.10}
"""List prices per million input tokens, https://platform.openai.com/docs/pricing; batch prices are half."""

NEARLY = 99.0
"""What is done but not proven shows no more than this."""


def cost_usd(embedding: Embedding, tokens: int) -> float | None:
    if embedding.provider == "local":
        return 0.0
    price = USD_PER_MTOK.get(embedding.model or "")
    return None if price is None else round(tokens * price / 1_000_000, 6)


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
