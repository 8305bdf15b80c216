"""Knowledge bases, and what they were told to do."""

from control.answers.base import Answer
from schemas.commands import Desired
from schemas.kb import Definition


class KbAnswer(Answer, frozen=True, kw_only=True):
    """`etag` names the definition, in quotes: what the header ETag says, and If-Match takes."""

    kb_id: str
    definition: Definition
    etag: str
    last_generation: int
    published_generation: int | None
    active_job_id: str | None
    updated_at: str


class KbList(Answer, frozen=True, kw_only=True):
    kbs: list[KbAnswer]


class Deleted(Answer, frozen=True, kw_only=True):
    kb_id: str
    deleted: bool


class Accepted(Answer, frozen=True, kw_only=True):
    """A command that stands in the log. `revision` goes into `?after=` of the status."""

    kb_id: str
    job_id: str
    generation: int
    desired: Desired
    revision: int
    note: str | None = None
