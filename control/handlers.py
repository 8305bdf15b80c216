"""One function per endpoint: from a request to an answer. Errors are Problems."""

from typing import Any, get_args

from aiohttp import web
from duckdb import DuckDBPyConnection

from control import answers, costs, pages, picture, questions, requests
from control import changes as compared
from control.access import caller_of
from control.engine import Engine
from control.history import history
from control.idempotency import check_idempotency_key
from control.preconditions import precondition
from control.problems import Invalid, NotFound
from control.rules import Action
from control.search_request import SearchRequest, check
from control.standing import standing
from control.status import OVER
from headrace.vectors import Tenancy
from schemas.commands import JobCommand
from schemas.estimates import Estimate, EstimateRequest, ReembedEstimate
from schemas.pages import PageState
from schemas.previews import Preview, of_definition

WAIT_S = 30
"""Longest wait of `?after=`: below what proxies allow a request."""
PAGE_LIMIT = 1_000


async def put_kb(engine: Engine, request: web.Request) -> answers.KbAnswer:
    definition = await requests.definition(request)
    if definition is None:
        raise Invalid('the body must hold the definition, at least {"source": {"urls": ["https://…"]}}')
    kb_id, reason, given = requests.kb_id(request), requests.reason(request), precondition(request)
    by = caller_of(request).actor
    return engine.kb_answer(await engine.desk.define(kb_id, definition, by=by, reason=reason, given=given))


async def get_kb(engine: Engine, request: web.Request) -> answers.KbAnswer:
    kb_id = requests.kb_id(request)
    return engine.kb_answer(engine.desk.known(kb_id))


async def list_kbs(engine: Engine, request: web.Request) -> answers.KbList:
    known = sorted(engine.books.kbs.all(), key=lambda kb: kb.kb_id)
    caller = caller_of(request)
    return answers.KbList(kbs=[engine.kb_answer(kb) for kb in known if not kb.deleted and caller.sees(kb.kb_id)])


async def delete_kb(engine: Engine, request: web.Request) -> answers.Deleted:
    """State first, then the objects: a search never sees half a deletion. Repeating it finishes what broke off."""
    kb_id = requests.kb_id(request)

    def places() -> list[Tenancy]:
        return [Tenancy(name, kb_id) for name in {state.collection for state in engine.books.kbs.generations(kb_id)}]

    async def weaviate_is_there() -> None:
        for place in places():
            await engine.store.tenant(place)

    async def drop() -> None:
        for place in places():
            await engine.store.drop_tenant(place)

    by, reason, given = caller_of(request).actor, requests.reason(request), precondition(request)
    await engine.desk.delete(kb_id, by=by, reason=reason, given=given, first=weaviate_is_there, drop=drop)
    return answers.Deleted(kb_id=kb_id, deleted=True)


async def start(engine: Engine, request: web.Request) -> answers.Accepted | Estimate:
    kb_id = requests.kb_id(request)
    key, given = check_idempotency_key(request.headers.get("Idempotency-Key")), precondition(request)
    definition, sample = await requests.start(request)
    if definition is not None:
        caller_of(request).require("admin", "a start that brings a definition")
    if sample:
        request[requests.WAITS] = "?dry_run"
        wanted, holds_any = engine.desk.wanted(kb_id, definition, given), bool(engine.books.kbs.generations(kb_id))
        asked = EstimateRequest(definition=wanted, sample=sample, kb_id=kb_id if holds_any else None)
        return await engine.estimates.of(asked)
    by = caller_of(request).actor
    command = await engine.desk.start(kb_id, definition, by=by, reason=None, idempotency_key=key, given=given)
    return answers.Accepted(
        kb_id=kb_id, job_id=command.job_id, generation=command.generation, desired="running", revision=1
    )


async def preview(engine: Engine, request: web.Request) -> Preview:
    """Of the first start URL, by the definition that a start would go by."""
    asked = await requests.definition(request)
    if asked is None:
        raise Invalid('the body must hold a definition, at least {"source": {"urls": ["https://…"]}}')
    return await engine.estimates.preview(of_definition(engine.desk.resolved(asked)))


async def reembed(engine: Engine, request: web.Request) -> answers.Accepted | ReembedEstimate:
    kb_id = requests.kb_id(request)
    key = check_idempotency_key(request.headers.get("Idempotency-Key"))
    asked = await requests.reembed(request)
    if asked.dry_run:
        request[requests.WAITS] = "?dry_run"
        return await engine.estimates.of_reembedding(engine.desk.would_reembed(kb_id, asked.embedding))
    return _accepted(
        await engine.desk.reembed(
            kb_id, asked.embedding, by=caller_of(request).actor, reason=asked.reason, idempotency_key=key
        )
    )


async def pause(engine: Engine, request: web.Request) -> answers.Accepted:
    return await _change(engine, request, "pause")


async def resume(engine: Engine, request: web.Request) -> answers.Accepted:
    return await _change(engine, request, "resume")


async def cancel(engine: Engine, request: web.Request) -> answers.Accepted:
    return await _change(engine, request, "cancel")


async def approve(engine: Engine, request: web.Request) -> answers.Accepted:
    kb_id = requests.kb_id(request)
    asked = await requests.of_type(request, requests.Approval)
    return _accepted(await engine.desk.approve(kb_id, asked.digest, by=caller_of(request).actor, reason=asked.reason))


async def rollback(engine: Engine, request: web.Request) -> answers.Accepted:
    kb_id = requests.kb_id(request)
    asked = await requests.of_type(request, requests.Rollback)
    command = await engine.desk.rollback(kb_id, asked.generation, by=caller_of(request).actor, reason=asked.reason)
    return _accepted(command)


async def vacuum(engine: Engine, request: web.Request) -> answers.VacuumAnswer:
    kb_id = requests.kb_id(request)
    asked = await requests.of_type(request, requests.Vacuum)
    if asked.keep is not None and asked.below is not None:
        raise Invalid("give keep or below, not both", code="invalid-body")
    kb = await engine.desk.vacuum(
        kb_id, keep=asked.keep or 1, below=asked.below, by=caller_of(request).actor, reason=asked.reason
    )
    return answers.VacuumAnswer(kb_id=kb_id, vacuumed_below=kb.vacuumed_below)


async def status(engine: Engine, request: web.Request) -> answers.StatusAnswer:
    kb_id = requests.kb_id(request)
    after = requests.number(request, "after", low=1, high=2**31)
    command = _newest(engine, kb_id)
    if after is None:
        return await engine.snapshots.of(command)
    request[requests.WAITS] = "?after"
    if after > command.revision:
        raise Invalid(f"revision {after} is not issued yet; the newest is {command.revision}", code="unknown-revision")

    def reflected(answer: answers.StatusAnswer) -> bool:
        seen = answer.reflected
        return answer.status in OVER or min(seen.producer or 0, seen.consumer or 0) >= after

    wait_s = requests.number(request, "wait_s", low=0, high=WAIT_S)
    return await engine.snapshots.wait_for(command, reflected, timeout_s=WAIT_S if wait_s is None else wait_s)


async def partitions(engine: Engine, request: web.Request) -> answers.PartitionList:
    return answers.PartitionList(partitions=engine.partitions(caller_of(request).sees))


async def whole_cost(engine: Engine, request: web.Request) -> answers.WholeCost:
    caller = caller_of(request)
    seen = [kb.kb_id for kb in engine.books.kbs.all() if caller.sees(kb.kb_id)] if caller.kbs else None
    spent = await engine.projection.read(lambda cursor: costs.of_all(cursor, seen))
    return answers.WholeCost(
        **picture.spending(spent.whole),
        days=picture.day_costs(spent.days),
        kbs=[answers.KbSpending(kb_id=kb_id, **picture.spending(of_kb)) for kb_id, of_kb in spent.kbs.items()],
    )


async def cost(engine: Engine, request: web.Request) -> answers.CostAnswer:
    kb_id = requests.kb_id(request)
    _known_ever(engine, kb_id)
    spent = await engine.projection.read(lambda cursor: costs.of_kb(cursor, kb_id))
    known = {command.job_id: command.generation for command in engine.books.jobs(kb_id)}
    return answers.CostAnswer(
        kb_id=kb_id,
        **picture.spending(spent.whole),
        days=picture.day_costs(spent.days),
        jobs=[
            answers.JobCost(job_id=job_id, generation=known.get(job_id), **picture.spending(of_job))
            for job_id, of_job in spent.jobs.items()
        ],
        searches=answers.Spending(**picture.spending(spent.searches)),
    )


async def jobs(engine: Engine, request: web.Request) -> answers.JobList:
    kb_id = requests.kb_id(request)
    _known_ever(engine, kb_id)
    limit = requests.number(request, "limit", low=1, high=100) or 20
    return answers.JobList(jobs=[await engine.snapshots.of(command) for command in engine.books.jobs(kb_id)[:limit]])


async def job(engine: Engine, request: web.Request) -> answers.JobAnswer:
    command = _command(engine, request)
    return answers.JobAnswer(status=await engine.snapshots.of(command), definition=command.definition)


async def job_pages(engine: Engine, request: web.Request) -> answers.PageList:
    command = _command(engine, request)
    wanted = _wanted_pages(request)
    limit = requests.number(request, "limit", low=1, high=PAGE_LIMIT) or 100
    after = request.query.get("after")
    rows = await engine.projection.read(
        lambda cursor: pages.rows(cursor, command.job_id, wanted, after=after, limit=limit)
    )
    found = [answers.PageAnswer(**row) for row in rows]
    return answers.PageList(pages=found, next_after=found[-1].url if len(found) == limit else None)


async def page_summary(engine: Engine, request: web.Request) -> answers.PageSummary:
    command, wanted = _command(engine, request), _wanted_pages(request)
    found = await engine.projection.read(lambda cursor: pages.summary(cursor, command.job_id, wanted))
    return answers.PageSummary(
        states=[answers.StateCount(**row) for row in found["states"]],
        reasons=[answers.ReasonCount(**row) for row in found["reasons"]],
    )


async def job_events(engine: Engine, request: web.Request) -> answers.EventList:
    command = _command(engine, request)
    after = requests.number(request, "after", low=-1, high=2**62)
    limit = requests.number(request, "limit", low=1, high=PAGE_LIMIT) or 100
    every = requests.choice(request, "reports", ("all", "changes")) == "all"
    rows = await engine.projection.read(
        lambda cursor: questions.trail(
            cursor, command.job_id, after=after, limit=limit, reports="all" if every else "changes"
        )
    )
    return _event_list(rows, limit)


def _event_list(rows: list[dict[str, Any]], limit: int) -> answers.EventList:
    found = [answers.EventAnswer(**row) for row in rows]
    return answers.EventList(events=found, next_after=found[-1].offset if len(found) == limit else None)


async def job_history(engine: Engine, request: web.Request) -> answers.History:
    command = _command(engine, request)
    points = requests.number(request, "points", low=2, high=PAGE_LIMIT) or 120
    rows = await engine.projection.read(
        lambda cursor: history(cursor, command.job_id, points, anew=command.reembeds is not None)
    )
    return answers.History(moments=[answers.Moment(**row) for row in rows])


async def job_hosts(engine: Engine, request: web.Request) -> answers.HostList:
    command = _command(engine, request)
    rows = await engine.projection.read(lambda cursor: questions.hosts(cursor, command.job_id))
    return answers.HostList(hosts=[answers.HostAnswer(**row) for row in rows])


async def host_requests(engine: Engine, request: web.Request) -> answers.RequestList:
    command, host = _command(engine, request), request.match_info["host"]
    limit = requests.number(request, "limit", low=1, high=PAGE_LIMIT) or 100
    given = request.query.get("after")
    after = (-1, -1) if given is None else requests.pair(given, "after", "offset/number")
    rows = await engine.projection.read(
        lambda cursor: questions.host_requests(cursor, command.job_id, host, after=after, limit=limit)
    )
    if not rows and given is None:
        raise NotFound(f"the job has asked nothing of {host!r}", code="unknown-host")
    places = [f"{row.pop('position')}/{row.pop('number')}" for row in rows]
    found = [answers.RequestAnswer(**row) for row in rows]
    return answers.RequestList(requests=found, next_after=places[-1] if len(found) == limit else None)


async def kb_events(engine: Engine, request: web.Request) -> answers.EventList:
    kb_id = requests.kb_id(request)
    _known_ever(engine, kb_id)
    after = requests.number(request, "after", low=-1, high=2**62)
    limit = requests.number(request, "limit", low=1, high=PAGE_LIMIT) or 100
    rows = await engine.projection.read(lambda cursor: questions.kb_trail(cursor, kb_id, after=after, limit=limit))
    return _event_list(rows, limit)


async def token_events(engine: Engine, request: web.Request) -> answers.EventList:
    engine.check_ready()
    after = requests.number(request, "after", low=-1, high=2**62)
    limit = requests.number(request, "limit", low=1, high=PAGE_LIMIT) or 100
    rows = await engine.projection.read(lambda cursor: questions.token_trail(cursor, after=after, limit=limit))
    return _event_list(rows, limit)


async def search(engine: Engine, request: web.Request) -> answers.SearchAnswer:
    kb_id, asked = requests.kb_id(request), await requests.of_type(request, SearchRequest)
    check(asked)
    return await engine.searcher.search(engine.desk.known(kb_id).kb_id, asked)


async def generations(engine: Engine, request: web.Request) -> answers.GenerationList:
    kb_id = requests.kb_id(request)
    kb = engine.desk.known(kb_id)
    published = engine.books.kbs.published(kb.kb_id)
    told = await engine.projection.read(lambda cursor: questions.vacuumed(cursor, kb.kb_id, kb.vacuumed_below))
    return answers.GenerationList(
        vacuum=answers.VacuumState(below=kb.vacuumed_below, **told) if kb.vacuumed_below else None,
        generations=[
            answers.GenerationAnswer(
                generation=s.generation, job_id=s.job_id, state=s.state, base=s.base, collection=s.collection,
                changed_at=s.changed_at, reason=s.reason, searched=published is not None and s is published,
                searchable=s.state != "undone" and s.generation >= kb.vacuumed_below,
            )
            for s in reversed(engine.books.kbs.generations(kb.kb_id)) if s.generation > kb.deleted_through
        ]
    )  # fmt: skip


async def changes(engine: Engine, request: web.Request) -> answers.ChangesAnswer:
    kb_id = engine.desk.known(requests.kb_id(request)).kb_id
    first, last = (requests.number(request, name, low=1, high=2**31) for name in ("from", "to"))
    change = requests.choice(request, "change", compared.CHANGES)
    limit = requests.number(request, "limit", low=1, high=PAGE_LIMIT) or 100
    url = request.query.get("after")
    in_review = await _in_review(engine, kb_id)
    stands = standing(engine.books, kb_id)
    before, after = compared.ends(stands, first, last, in_review=in_review)
    jobs = compared.compared(stands, engine.books.jobs(kb_id), before, after)

    def ask(cursor: DuckDBPyConnection) -> tuple[dict[str, int], list[dict[str, Any]]]:
        return compared.totals(cursor, jobs), compared.pages(cursor, jobs, change=change, url=url, limit=limit)

    totals, rows = await engine.projection.read(ask)
    return answers.ChangesAnswer(
        from_generation=before.generation,
        to_generation=after.generation,
        provisional="open" in (before.state, after.state),
        totals=answers.ChangeTotals(**totals),
        pages=[answers.ChangedPage(**row) for row in rows],
        next_after=rows[-1]["url"] if len(rows) == limit else None,
    )


def _wanted_pages(request: web.Request) -> pages.Wanted:
    given = {name: request.query.get(name) for name in ("reason", "url", "contains")}
    return pages.Wanted(state=requests.choice(request, "state", get_args(PageState)), **given)


async def _in_review(engine: Engine, kb_id: str) -> int | None:
    """The generation that waits for a person."""
    for command in engine.books.jobs(kb_id)[:1]:
        if (await engine.snapshots.of(command)).status == "needs_review":
            return command.generation
    return None


async def _change(engine: Engine, request: web.Request, action: Action) -> answers.Accepted:
    kb_id = requests.kb_id(request)
    reason = (await requests.of_type(request, requests.Change)).reason
    caller = caller_of(request)
    by = "shutdown" if reason == "shutdown" and caller.is_stack else caller.actor
    command = await engine.desk.change(kb_id, action, by=by, reason=reason)
    return _accepted(command, note=_kept(engine, command) if action == "resume" else None)


def _accepted(command: JobCommand, note: str | None = None) -> answers.Accepted:
    return answers.Accepted(
        kb_id=command.kb_id,
        job_id=command.job_id,
        generation=command.generation,
        desired=command.desired,
        revision=command.revision,
        note=note,
    )


def _kept(engine: Engine, command: JobCommand) -> str | None:
    """Says where the KB's definition asks for what a generation can't change; the next job takes it."""
    known = engine.books.kbs.get(command.kb_id)
    if known is None or not engine.desk.keeps(command, known.definition):
        return None
    return "embedding and chunking of the definition have changed; this job keeps its own, the next job takes the new"


def _known_ever(engine: Engine, kb_id: str) -> None:
    """A deleted KB's jobs are still history."""
    if engine.books.kbs.get(kb_id) is None:
        engine.desk.known(kb_id)


def _newest(engine: Engine, kb_id: str) -> JobCommand:
    _known_ever(engine, kb_id)
    found = engine.books.jobs(kb_id)
    if not found:
        raise NotFound(f"{kb_id} has had no job yet; POST /api/ingestion/kb/{kb_id}/start", code="no-job")
    return found[0]


def _command(engine: Engine, request: web.Request) -> JobCommand:
    """The job of the path; under a KB's path it must be that KB's."""
    job_id = request.match_info["job"]
    found = engine.books.commands.get(job_id)
    if found is None or request.match_info.get("kb", found.kb_id) != found.kb_id:
        raise NotFound(f"there is no job {job_id!r}", code="unknown-job")
    return found
