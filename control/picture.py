"""The answer to "how is it going": one StatusAnswer from the facts and the counts, as pure functions."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from control import answers, questions
from control.ailments import Ailment
from control.costs import DAYS, KbSpent, Spent
from control.offsets import PartitionOffsets
from control.progress import progress_percent, remaining_s
from control.status import OVER, Facts, phase_of, status_of
from headrace.counted import counted
from headrace.prices import usd
from schemas.commands import JobCommand
from schemas.facts import ReviewNeeded, Stall


@dataclass(frozen=True)
class Costs:
    """`kb` is None for a job that is not the newest of its knowledge base."""

    job: Spent = Spent()
    kb: KbSpent | None = None


def build(
    command: JobCommand,
    facts: Facts,
    told: questions.Told,
    tally: questions.Tally,
    offsets: PartitionOffsets | None,
    spent: Costs,
    rate: float | None,
    published: int | None,
    ailments: Sequence[Ailment],
) -> answers.StatusAnswer:
    status = status_of(facts)
    if status in OVER:  # nothing waits, not even where a stall's end was never told
        told, ailments = dataclasses.replace(told, stalls=()), ()
    review = told.review if status == "needs_review" else None
    crawl = crawl_answer(told)
    return answers.StatusAnswer(
        kb_id=command.kb_id,
        job_id=command.job_id,
        generation=command.generation,
        base=command.base,
        reembeds=command.reembeds,
        published_generation=published,
        status=status,
        phase=phase_of(facts),
        progress=progress_percent(status, crawl, tally),
        reason=reason(command, told, ailments),
        desired=command.desired,
        revision=command.revision,
        reflected=answers.Reflected(
            producer=facts.crawl.revision if facts.crawl else None,
            consumer=facts.index.revision if facts.index else None,
        ),
        metrics=metrics_answer(tally, spent.job),
        crawl=crawl,
        offsets=offsets_answer(command.partition, offsets),
        cost=answers.Cost(**spending(spent.job), budget=command.definition.budget, kb=kb_cost(spent.kb)),
        rate_chunks_per_s=None if rate is None or status in OVER else round(rate, 2),
        eta_s=remaining_s(status, crawl, tally, rate),
        stalls=stall_answers(told, ailments),
        review=review_answer(review) if review else None,
        lost=lost_answer(told),
        started_at=told.started_at,
        finished_at=finished_at(status, told),
        commanded_at=command.issued_at,
        commanded_by=command.issued_by,
    )


def aged(answer: answers.StatusAnswer, ailments: Sequence[Ailment]) -> answers.StatusAnswer:
    """An answer that can't be made anew now, with what hinders it."""
    if answer.status in OVER:
        return answer
    hindered = [_stall("control", each) for each in ailments]
    return msgspec.structs.replace(
        answer,
        status="stalled" if answer.desired == "running" else answer.status,
        reason=f"{hindered[0].dependency}: {hindered[0].reason}" if hindered else answer.reason,
        stalls=hindered + [stall for stall in answer.stalls if stall.service != "control"],
        rate_chunks_per_s=None,
        eta_s=None,
    )


def review_answer(review: ReviewNeeded) -> answers.ReviewAnswer:
    return answers.ReviewAnswer(
        pages_before=review.pages_before,
        pages_vanished=review.pages_vanished,
        pages_failed=review.pages_failed,
        max_vanished_share=review.max_vanished_share,
        reason=review.reason,
        digest=review.digest,
        since=review.reported_at,
    )


def finished_at(status: str, told: questions.Told) -> str | None:
    if status == "cancelled":
        return told.index.reported_at if told.index else None
    return told.finished.finished_at if told.finished else None


def stall_answers(told: questions.Told, ailments: Sequence[Ailment]) -> list[answers.StallAnswer]:
    own = [_stall("control", each) for each in ailments]
    return own + [_stall(s.service, s) for s in told.stalls]


def _stall(service: str, of: Ailment | Stall) -> answers.StallAnswer:
    return answers.StallAnswer(service=service, dependency=of.dependency, reason=of.reason, since=of.since)


def reason(command: JobCommand, told: questions.Told, ailments: Sequence[Ailment]) -> str | None:
    """Why it is as it is: what the end says, else what control or it waits for, else the crawl, else the command."""
    if command.desired == "rolled_back":
        return "rolled back" + (f": {command.reason}" if command.reason else "")
    if told.finished and told.finished.reason:
        return told.finished.reason
    if told.review and told.review.revision == command.revision and not told.finished and not ailments:
        return told.review.reason
    waits_for = stall_answers(told, ailments)
    if waits_for and not told.finished:
        return f"{waits_for[0].dependency}: {waits_for[0].reason}"
    if told.lost and not told.finished:
        pages = counted(told.lost.pages, "page") if told.lost.pages else "their pages are"
        what = (
            "records were lost"
            if told.lost.records
            else f"{counted(told.lost.chunks, 'chunk is', 'chunks are')} missing in Weaviate"
        )
        return f"{what}; {pages} fetched again"
    if told.crawl and told.crawl.reason:
        return told.crawl.reason
    return command.reason


def lost_answer(told: questions.Told) -> answers.LostAnswer | None:
    lost = told.lost
    if lost is None:
        return None
    return answers.LostAnswer(records=lost.records, chunks=lost.chunks, pages=lost.pages, since=lost.since)


def metrics_answer(tally: questions.Tally, spent: Spent) -> answers.Metrics:
    return answers.Metrics(
        documents_total=tally.documents,
        documents_processed=tally.documents_processed,
        chunks_total=tally.chunks,
        chunks_processed=tally.processed,
        chunks_indexed=tally.indexed,
        chunks_duplicate=tally.duplicate,
        chunks_failed=tally.failed,
        chunks_parked=tally.parked,
        chunks_reused=tally.reused,
        batches_processed=tally.batches,
        texts_embedded=spent.texts,
        tokens_embedded=spent.tokens,
    )


def spending(spent: Spent) -> dict[str, Any]:
    """The fields of an `answers.Spending`."""
    return {
        "texts_embedded": spent.texts,
        "tokens_embedded": spent.tokens,
        "calls": spent.requests,
        "usd": usd(spent.pico_usd),
        "unsettled_tokens": spent.unsettled_tokens,
        "unsettled_usd": usd(spent.unsettled_pico_usd),
    }


def day_costs(days: Mapping[str, Spent]) -> list[answers.DayCost]:
    return [answers.DayCost(day=day, **spending(spent)) for day, spent in days.items()]


def kb_cost(kb: KbSpent | None) -> answers.KbCost | None:
    if kb is None:
        return None
    searches = answers.Spending(**spending(kb.searches))
    return answers.KbCost(**spending(kb.whole), days=day_costs(kb.days)[:DAYS], searches=searches)


def crawl_answer(told: questions.Told) -> answers.CrawlAnswer:
    if told.crawl is None:
        return answers.CrawlAnswer(state="waiting")
    counts = told.crawl.counts
    return answers.CrawlAnswer(
        state=told.crawl.state,
        pages_crawled=counts.pages_crawled,
        pages_queued=counts.pages_queued,
        pages_failed=counts.pages_failed,
        pages_skipped=counts.pages_skipped,
        pages_unchanged=counts.pages_unchanged,
        pages_gone=counts.pages_gone,
        bytes_fetched=counts.bytes_fetched,
        left_out={each.kind: each.urls for each in counts.left_out},
        reason=told.crawl.reason,
    )


def offsets_answer(partition: int, offsets: PartitionOffsets | None) -> answers.OffsetsAnswer:
    if offsets is None:
        return answers.OffsetsAnswer(partition=partition, committed=None, end=None, lag=None)
    return answers.OffsetsAnswer(partition=partition, committed=offsets.committed, end=offsets.end, lag=offsets.lag)
