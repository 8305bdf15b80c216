"""The endpoints of dead letters: list, show, retry."""

import base64
import datetime
from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web

from control import answers, requests
from control.access import Caller, caller_of
from control.engine import Engine
from control.letters import Letter, Wanted, letters
from control.problems import Invalid, NotFound
from control.retry import NotRetried, unknown_letter
from headrace.kafka.records import RawRecord
from schemas.dead_letters import PREFIX
from schemas.events import Place

LIMIT = 1_000


async def dead_letters(engine: Engine, request: web.Request) -> answers.DeadLetterList:
    state = requests.choice(request, "state", ("waiting", "retried", "healed", "void"))
    limit = requests.number(request, "limit", low=1, high=LIMIT) or 100
    given = request.query.get("after")
    after = None if given is None else requests.place(given, "after")
    jobs = _jobs(engine, caller_of(request), request.query.get("kb"), request.query.get("job"))
    wanted = Wanted(jobs=jobs, state=state, reason=request.query.get("reason"))  # type: ignore[arg-type]
    found = await engine.projection.read(lambda cursor: letters(cursor, wanted, after=after, limit=limit))
    last = found[-1].place if len(found) == limit else None
    return answers.DeadLetterList(
        dead_letters=[_letter(engine, each) for each in found],
        next_after=f"{last.partition}/{last.offset}" if last else None,
    )


async def dead_letter(engine: Engine, request: web.Request) -> answers.DeadLetterRecord:
    where = requests.place(f"{request.match_info['partition']}/{request.match_info['offset']}", "the path's end")
    await _check_seen(engine, caller_of(request), where)
    return _record(await engine.retrier.original(where))


async def retry_dead_letters(engine: Engine, request: web.Request) -> answers.RetryAnswer:
    asked = await requests.of_type(request, requests.Retry)
    narrowed = any(each is not None for each in (asked.kb_id, asked.job_id, asked.reason, asked.places))
    if narrowed == asked.all:
        raise Invalid(
            "say which dead letters: kb_id, job_id, reason or places, or else all: true", code="invalid-selection"
        )
    jobs = _jobs(engine, caller_of(request), asked.kb_id, asked.job_id)
    wanted = Wanted(jobs=jobs, reason=asked.reason, places=asked.places, untold=asked.places is None)
    done = await engine.retrier.retry(wanted, by=caller_of(request).actor)
    return answers.RetryAnswer(
        retried=len(done.facts),
        passed_over=len(done.passed_over),
        job_ids=sorted(done.jobs),
        not_retried=_passed_over(done.passed_over[:LIMIT]),
    )


async def _check_seen(engine: Engine, caller: Caller, where: Place) -> None:
    """Raises NotFound where the letter is of no job within the caller's scope."""
    if not caller.kbs:
        return
    wanted = Wanted(jobs=_jobs(engine, caller, None, None), places=[where])
    if not await engine.projection.read(lambda cursor: letters(cursor, wanted)):
        raise unknown_letter(where)


def _jobs(engine: Engine, caller: Caller, kb_id: str | None, job_id: str | None) -> list[str] | None:
    """The jobs that are asked for, None for all. Raises NotFound for a name that nothing bears, or a job out of scope,
    and Forbidden for a knowledge base out of scope.
    """
    books = engine.books
    if kb_id is not None:
        caller.require_kb(kb_id)
    if job_id is not None:
        command = books.commands.get(job_id)
        if command is None or kb_id not in (None, command.kb_id) or not caller.sees(command.kb_id):
            raise NotFound(f"there is no job {job_id!r}", code="unknown-job")
        return [job_id]
    if kb_id is None:
        seen = [kb.kb_id for kb in books.kbs.all() if caller.sees(kb.kb_id)]
        return [command.job_id for each in seen for command in books.jobs(each)] if caller.kbs else None
    if books.kbs.get(kb_id) is None:
        engine.desk.known(kb_id)
    return [command.job_id for command in books.jobs(kb_id)]


def _letter(engine: Engine, letter: Letter) -> answers.DeadLetterAnswer:
    command = engine.books.commands.get(letter.job_id or "")
    return answers.DeadLetterAnswer(
        place=_place(letter.place),
        origin=_place(letter.origin),
        kb_id=command.kb_id if command else None,
        job_id=letter.job_id,
        chunk_id=letter.chunk_id,
        stage=letter.stage,
        reason=letter.reason,
        state=letter.state,
        dead_lettered_at=letter.dead_lettered_at,
        retried_at=letter.retried_at,
    )


def _record(raw: RawRecord) -> answers.DeadLetterRecord:
    said = {name: (value or b"").decode(errors="replace") for name, value in raw.headers}
    value, encoded = _value(raw.value)
    return answers.DeadLetterRecord(
        place=_place(Place(raw.partition, raw.offset)),
        key=None if raw.key is None else raw.key.decode(errors="replace"),
        reason={name: value for name, value in said.items() if name.startswith(PREFIX)},
        headers={name: value for name, value in said.items() if not name.startswith(PREFIX)},
        value=value,
        value_base64=encoded,
        at=datetime.datetime.fromtimestamp(raw.timestamp_ms / 1_000, datetime.UTC).isoformat(timespec="milliseconds"),
    )


def _value(value: bytes | None) -> tuple[Any, str | None]:
    """As JSON where it is some, else in base64."""
    if value is None:
        return None, None
    try:
        msgspec.json.decode(value)
        return msgspec.Raw(value), None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, base64.b64encode(value).decode()


def _passed_over(each: Sequence[NotRetried]) -> list[answers.NotRetriedAnswer]:
    return [answers.NotRetriedAnswer(place=_place(one.place), code=one.code, reason=one.reason) for one in each]


def _place(place: Place) -> answers.PlaceAnswer:
    return answers.PlaceAnswer(partition=place.partition, offset=place.offset)
