"""A small HTTP client of control, for the command line and the supervisor. Blocking, one connection a call.

ControlError
├── InvalidAddress        the address is none
├── ControlUnreachable    nobody answers at the address
└── ControlProblem        control answers with an error (RFC 9457 problem details)
"""

import http
import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from headrace.secret import Secret
from headrace.whole_file import whole_file

Json = dict[str, Any]

API = "/api/ingestion"
EXAMPLE = "http://127.0.0.1:8000"
TIMEOUT_S = 30.0
RETRY_S = 600.0
"""Copying a hundred thousand dead letters takes a minute or two."""
ESTIMATE_S = 180.0
"""A sample of a site is read within a minute; the rest is for a busy machine."""
SQL_S = 120.0
"""A query is ended after half a minute; a file of its rows takes its time."""
ROWS_AT_ONCE = 1_000
WAIT_S = 10.0
"""How long one `?after=` request may wait on the other side."""

PIECE_BYTES = 256 * 1024

_PROBLEM = "urn:headrace:problem:"
"""Begins the type of every problem that control tells."""

ALWAYS: Mapping[str, str] = {}
ABSENT: Mapping[str, str] = {"If-None-Match": "*"}
"""Only where there is no such knowledge base."""

_BY_A_PROXY = (502, 504)
"""Control itself never answers so."""

ACTIVE = frozenset({"queued", "running", "pausing", "paused", "resuming", "cancelling", "stalled", "needs_review"})
"""States of a job that is not over."""
OVER = ("completed", "completed_with_errors", "failed", "cancelled")
STATUSES = (*sorted(ACTIVE), *OVER)


def unchanged(kb: Json) -> Mapping[str, str]:
    """Only where a knowledge base is there and defined as in `kb`, what `ControlClient.kb` gave.

    No precondition where that has no etag: an older control knows none.
    """
    return {"If-Match": str(kb["etag"])} if "etag" in kb else ALWAYS


class ControlError(Exception):
    """The message is for people and says what to do."""


class InvalidAddress(ControlError):
    """What was given is no address of a control."""


class ControlUnreachable(ControlError):
    """Nobody answers, or what answers is no control."""


class ControlProblem(ControlError):
    """`status` is HTTP's; `code` ends the problem's type, such as `unknown-kb`."""

    def __init__(self, status: int, title: str, detail: str, code: str = "") -> None:
        super().__init__(detail or title)
        self.status, self.title, self.detail, self.code = status, title, detail, code


class ControlClient:
    """One method per call of the API that the command line uses; each raises ControlError."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S, *, token: Secret | None = None) -> None:
        """`token`: an API token, where control asks for one. Raises InvalidAddress."""
        parts = _parsed(url if "://" in url else f"http://{url}")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._parts, self._timeout_s, self._token = parts, timeout_s, token

    def define(self, kb: str, definition: Json, reason: str | None = None, *, only: Mapping[str, str] = ALWAYS) -> Json:
        """`only`: a precondition, as `unchanged` or `ABSENT` give it; what doesn't meet it is a ControlProblem, 412."""
        return self._object("PUT", f"{API}/kb/{quote(kb)}{_because(reason)}", definition, headers=only)

    def kb(self, kb: str) -> Json:
        return self._object("GET", f"{API}/kb/{quote(kb)}")

    def kbs(self) -> list[Json]:
        return _rows(self.call("GET", f"{API}/kb"), "kbs")

    def delete(self, kb: str, reason: str | None = None) -> Json:
        return self._object("DELETE", f"{API}/kb/{quote(kb)}{_because(reason)}")

    def start(
        self,
        kb: str,
        definition: Json | None = None,
        *,
        idempotency_key: str | None = None,
        only: Mapping[str, str] = ALWAYS,
    ) -> Json:
        """`only` as for `define`."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return self._object("POST", f"{API}/kb/{quote(kb)}/start", definition, headers={**headers, **only})

    def estimate(self, kb: str, sample: int) -> Json:
        """What the next job of a knowledge base would come to; nothing is started."""
        body = {"dry_run": True, "sample": sample}
        return dict(self.call("POST", f"{API}/kb/{quote(kb)}/start", body, timeout_s=ESTIMATE_S))

    def reembed(
        self, kb: str, embedding: Json | None, reason: str | None = None, *, idempotency_key: str | None = None
    ) -> Json:
        """By the definition's model, where `embedding` is None."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        given = {name: value for name, value in {"embedding": embedding, "reason": reason}.items() if value is not None}
        return self._object("POST", f"{API}/kb/{quote(kb)}/reembed", given, headers=headers)

    def reembed_estimate(self, kb: str, embedding: Json | None) -> Json:
        """What `reembed` would come to; nothing is started."""
        given = {"embedding": embedding, "dry_run": True} if embedding is not None else {"dry_run": True}
        return dict(self.call("POST", f"{API}/kb/{quote(kb)}/reembed", given, timeout_s=ESTIMATE_S))

    def command(self, kb: str, action: str, reason: str | None = None, **body: Any) -> Json:
        """`action` is pause, resume, cancel, approve (`digest`), rollback (`generation`), vacuum (`keep`, `below`)."""
        given = {name: value for name, value in {"reason": reason, **body}.items() if value is not None}
        return self._object("POST", f"{API}/kb/{quote(kb)}/{action}", given)

    def status(self, kb: str, *, after: int | None = None) -> Json:
        """`after` waits, a while, until the status reflects the command of that revision."""
        query = f"?{urlencode({'after': after})}" if after is not None else ""
        return self._object("GET", f"{API}/kb/{quote(kb)}/status{query}")

    def cost(self, kb: str | None = None) -> Json:
        """Of one knowledge base, or of all."""
        return self._object("GET", f"{API}/kb/{quote(kb)}/cost" if kb else f"{API}/cost")

    def webhooks(self) -> list[Json]:
        return _rows(self.call("GET", f"{API}/webhooks"), "webhooks")

    def test_webhook(self, name: str) -> Json:
        return self._object("POST", f"{API}/webhooks/{quote(name, safe='')}/test")

    def search(self, kb: str, body: Json) -> Json:
        return self._object("POST", f"{API}/kb/{quote(kb)}/search", body)

    def sql(self, query: str) -> Json:
        """One SELECT over control's documented views: columns, rows, truncated."""
        return dict(self.call("POST", f"{API}/sql", {"query": query}, timeout_s=SQL_S))

    def sql_file(self, query: str, path: Path) -> bool:
        """Likewise, as a Parquet file; whether there were more rows than it holds. Raises UnwritableFile too, and if it
        can't be begun before anything is asked."""
        body = json.dumps({"query": query, "format": "parquet"}).encode()
        with whole_file(path) as write:
            _, headers = self._exchange("POST", f"{API}/sql", body, self._headers(body), SQL_S, write)
        return headers.get("Headrace-Truncated") == "true"

    def generations(self, kb: str) -> Json:
        return self._object("GET", f"{API}/kb/{quote(kb)}/generations")

    def changes(self, kb: str, **query: int | str | None) -> Json:
        """`query`: from, to, change, after, limit."""
        given = urlencode({name.rstrip("_"): value for name, value in query.items() if value is not None})
        return self._object("GET", f"{API}/kb/{quote(kb)}/changes?{given}")

    def retry_dead_letters(self, selection: Json) -> Json:
        """Waits for as long as it takes to copy them all."""
        return dict(self.call("POST", f"{API}/dead-letters/retry", selection, timeout_s=RETRY_S))

    def all_rows(self, path: str, name: str) -> list[Json]:
        """The rows of every page of an answer that has `next_after`; `path` holds a query already."""
        rows: list[Json] = []
        after = ""
        while True:
            answer = self.call("GET", path + after)
            rows += answer[name]
            if answer.get("next_after") is None:
                return rows
            after = f"&after={quote(str(answer['next_after']), safe='')}"

    def some_rows(self, path: str, name: str, limit: int, after: str | None) -> tuple[list[Json], str | None]:
        """As `all_rows`, `limit` rows at most from behind `after`; and what to go on behind, None at the end."""
        rows: list[Json] = []
        while (left := limit - len(rows)) > 0:
            behind = "" if after is None else f"&after={quote(after, safe='')}"
            answer = self.call("GET", f"{path}&limit={min(left, ROWS_AT_ONCE)}{behind}")
            rows, after = rows + answer[name], answer.get("next_after")
            if after is None:
                break
        return rows, after

    def job_status(self, job_id: str) -> Json:
        """Of any job, not only of the newest."""
        status = self._object("GET", f"{API}/jobs/{quote(job_id)}")["status"]
        return dict(status)

    def jobs(self, kb: str) -> list[Json]:
        return _rows(self.call("GET", f"{API}/kb/{quote(kb)}/jobs"), "jobs")

    def ready(self) -> bool:
        """Whether control serves; never raises."""
        try:
            self.call("GET", "/readyz", timeout_s=2.0)
        except ControlError:
            return False
        return True

    def statuses(self) -> list[Json]:
        """The status of every KB that has had a job."""
        found: list[Json] = []
        for row in self.kbs():
            try:
                found.append({"kb_id": row["kb_id"], **self.status(row["kb_id"])})
            except ControlProblem as problem:
                if problem.status not in (404, 409):  # deleted meanwhile, or never started
                    raise
        return found

    def wait_for(
        self,
        kb: str,
        done: Callable[[Json], bool],
        *,
        deadline_s: float,
        poll_s: float = 0.2,
        job_id: str | None = None,
    ) -> Json:
        """The first status that is `done`, else the last one at the deadline; of the newest job, or of `job_id`."""
        give_up_at = time.monotonic() + deadline_s
        ask = (lambda: self.status(kb)) if job_id is None else (lambda: self.job_status(job_id))
        status = ask()
        while not done(status) and time.monotonic() < give_up_at:
            time.sleep(poll_s)
            status = ask()
        return status

    def call(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """The decoded JSON of a 2xx answer; None where it has no body."""
        payload = None if body is None else json.dumps(body).encode()
        sent = dict(headers or {}) | self._headers(payload) | {"Accept": "application/json"}
        answer: list[bytes] = []
        status, _ = self._exchange(method, path, payload, sent, timeout_s or self._timeout_s, answer.append)
        if status == http.HTTPStatus.NO_CONTENT:
            return None
        try:
            return json.loads(b"".join(answer))
        except ValueError as exc:
            raise ControlUnreachable(f"what answers at {self.url} is not Headrace's control: no JSON") from exc

    def _object(self, method: str, path: str, body: Json | None = None, *, headers: Mapping[str, str] = {}) -> Json:
        answer = self.call(method, path, body, headers=headers)
        return answer if isinstance(answer, dict) else {}

    def _headers(self, payload: bytes | None) -> dict[str, str]:
        shown = {} if self._token is None else {"Authorization": f"Bearer {self._token.reveal()}"}
        return shown if payload is None else {**shown, "Content-Type": "application/json"}

    def _exchange(
        self,
        method: str,
        path: str,
        payload: bytes | None,
        headers: Mapping[str, str],
        timeout_s: float,
        take: Callable[[bytes], object],
    ) -> tuple[int, http.client.HTTPMessage]:
        """The body of a 2xx answer goes to `take`, piece by piece; another is raised."""
        secure = self._parts.scheme == "https"
        connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = connect(self._parts.netloc, timeout=timeout_s)
        try:
            connection.request(method, self._parts.path.rstrip("/") + path, payload, dict(headers))
            response = connection.getresponse()
            if not 200 <= response.status < 300:
                raise self._refusal(response.status, response.read())
            while piece := response.read(PIECE_BYTES):
                take(piece)
            if response.length:  # which a read of a piece doesn't miss
                raise http.client.IncompleteRead(b"", response.length)
            return response.status, response.headers
        except TimeoutError as exc:
            raise ControlUnreachable(f"control at {self.url} did not answer within {timeout_s:.0f} s") from exc
        except ssl.SSLCertVerificationError as exc:
            raise ControlUnreachable(
                f"the certificate at {self.url} is not trusted ({exc.verify_message}). Where an authority of your own "
                "signed it, SSL_CERT_FILE names the file of that authority's certificate."
            ) from exc
        except (OSError, http.client.HTTPException) as exc:
            raise ControlUnreachable(
                f"control can't be reached at {self.url} ({exc}). Start it with `headrace up`, "
                "or say where it is with --url or HEADRACE_URL."
            ) from exc
        finally:
            connection.close()

    def _refusal(self, status: int, answer: bytes) -> ControlError:
        """Of an answer that is no success."""
        if status in _BY_A_PROXY:
            return ControlUnreachable(f"a proxy answers at {self.url} ({status}), and control behind it does not")
        title = http.client.responses.get(status, "")
        return _problem(status, title, answer) or ControlUnreachable(
            f"{self.url} answers {f'{status} {title}'.strip()}, and not as Headrace's control does: another server is "
            "there, or a proxy that lets nothing through. Say where control is with --url or HEADRACE_URL."
        )


def _because(reason: str | None) -> str:
    return "" if reason is None else f"?{urlencode({'reason': reason})}"


def _parsed(url: str) -> SplitResult:
    """Raises InvalidAddress. Credentials are refused before anything repeats them."""
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise InvalidAddress("the address of control holds credentials; it asks for none")
    try:
        parts = urlsplit(url)
        _ = parts.port
        (parts.hostname or "").encode("idna")
    except ValueError as exc:
        raise InvalidAddress(f"{url!r} is no address of control ({exc}); write it like {EXAMPLE}") from exc
    if parts.scheme not in ("http", "https") or not parts.hostname or any(c.isspace() for c in parts.netloc):
        raise InvalidAddress(f"{url!r} is no address of control; write it like {EXAMPLE}")
    return parts


def _problem(status: int, title: str, answer: bytes) -> ControlProblem | None:
    """None where these are no problem details of control's."""
    try:
        details = json.loads(answer)
    except ValueError:
        return None
    kind = str(details.get("type")) if isinstance(details, dict) else ""
    if not kind.startswith(_PROBLEM):
        return None
    title = str(details.get("title") or title)
    return ControlProblem(status, title, str(details.get("detail") or title), kind.removeprefix(_PROBLEM))


def _rows(answer: Any, name: str) -> list[Json]:
    """A list, whether it comes bare or in an object under `name` or `items`."""
    if isinstance(answer, dict):
        answer = answer.get(name, answer.get("items", []))
    return list(answer)
