"""Errors as RFC 9457 problem details. Everything HTTP answers with an error is one of these.

Problem
├── BadRequest      400  the request can't be read
├── Unauthorized    401  no token that is taken
├── Forbidden       403  the token's role or scope is too narrow, or a browser was sent here by another site
├── NotFound        404
├── Conflict        409  it makes no sense now; the detail says why
├── Gone            410  it was there, and was vacuumed
├── PreconditionFailed  412  what it was to change is not as the caller knows it
├── Unsupported     415  the body is not application/json
├── Invalid         422  it is read, and something in it can't be used
├── TooMany         429  more requests than the caller may make
└── Unavailable     503  a service this needs is away; trying again helps
"""

from typing import ClassVar

import msgspec

CONTENT_TYPE = "application/problem+json"


class ProblemDetails(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457, section 3.1."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None


class Problem(Exception):
    """`detail` is for people: what is wrong and what to do. It holds no secret. `code` ends the type URN."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, code: str | None = None, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.detail, self.retry_after_s = detail, retry_after_s
        self.code = code or self.title.lower().replace(" ", "-")

    def details(self, instance: str | None = None) -> ProblemDetails:
        return ProblemDetails(
            type=f"urn:headrace:problem:{self.code}",
            title=self.title,
            status=self.status,
            detail=self.detail,
            instance=instance,
        )


class BadRequest(Problem):
    status, title = 400, "Bad request"


class Unauthorized(Problem):
    status, title = 401, "Unauthorized"


class Forbidden(Problem):
    status, title = 403, "Forbidden"


class NotFound(Problem):
    status, title = 404, "Not found"


class Conflict(Problem):
    status, title = 409, "Conflict"


class Gone(Problem):
    status, title = 410, "Gone"


class PreconditionFailed(Problem):
    status, title = 412, "Precondition failed"


class Unsupported(Problem):
    status, title = 415, "Unsupported media type"


class Invalid(Problem):
    status, title = 422, "Invalid request"


class TooMany(Problem):
    status, title = 429, "Too many requests"


class Unavailable(Problem):
    status, title = 503, "Unavailable"
