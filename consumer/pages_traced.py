"""What a batch did for each page that has chunks in it, in the trace that the producer began."""

from collections import Counter

from consumer.item import Batch
from headrace import tracing
from schemas.chunks import Chunk


def tell_pages(batch: Batch, written_ns: tuple[int, int]) -> None:
    """`embed` and `index`, with the times of the batch, and how many chunks of the page it had."""
    pages: Counter[tuple[str, str, str, str | None]] = Counter()
    for item in batch.items:
        parent = tracing.parent_of(item.raw.headers or ())
        if parent and isinstance(item.event, Chunk):
            failed_in = item.stage if item.result == "dead_lettered" else None
            pages[parent, item.event.job_id, item.result or "indexed", failed_in] += 1
    for (parent, job_id, result, failed_in), chunks in pages.items():
        told: tracing.Attributes = {
            "headrace.job_id": job_id,
            "headrace.result": result,
            "headrace.chunks": chunks,
            "messaging.system": "kafka",
            "messaging.batch.message_count": len(batch.items),
        }
        errors = {failed_in: result}
        if batch.prepared_ns is not None:
            tracing.tell("embed", *batch.prepared_ns, told, parent=parent, error=errors.get("embed"))
        tracing.tell("index", *written_ns, told, parent=parent, error=errors.get("index"))
