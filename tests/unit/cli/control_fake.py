"""A control that answers from memory: enough of the API to show what the command line makes of answers."""

import copy
import json
import threading
from collections.abc import Callable
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]
Answer = tuple[int, Any]


def status_of(kb: str = "docs", status: str = "running", **changes: Any) -> Json:
    """A status as control gives it, with `metrics`, `crawl` and others changed by field."""
    made: Json = {
        "kb_id": kb, "job_id": f"job-{kb}", "generation": 1, "base": None, "reembeds": None,
        "published_generation": None,
        "status": status, "phase": "done" if status == "completed" else "crawling", "progress": 40.0, "reason": None,
        "desired": "running", "revision": 1, "reflected": {"producer": 1, "consumer": 1},
        "metrics": {"documents_total": 10, "documents_processed": 4, "chunks_total": 50, "chunks_processed": 20,
                    "chunks_failed": 0, "batches_processed": 3},
        "crawl": {"state": "crawling", "pages_crawled": 10, "pages_queued": 5, "pages_failed": 0, "pages_skipped": 0,
                  "pages_unchanged": 0},
        "offsets": {"partition": 1, "committed": 100, "end": 142, "lag": 42},
        "cost": {"tokens_embedded": 0, "calls": 0, "usd": 0.0},
        "rate_chunks_per_s": 12.5, "eta_s": 75.0, "stalls": [], "review": {}, "lost": {},
        "started_at": "2026-01-01T00:00:00.000Z",
        "finished_at": "2026-01-01T00:01:30.000Z" if status == "completed" else None,
    }  # fmt: skip
    for name, value in changes.items():
        made[name] = {**made[name], **value} if isinstance(value, dict) else value
    return made


def page_of(url: str, state: str = "fetched", **changes: Any) -> Json:
    """A page as control gives it."""
    made: Json = {
        "url": url, "state": state, "status": 200, "reason": None, "attempt": 1, "discovered_from": None,
        "title": "", "language": None, "canonical_url": None, "description": None, "published_on": None, "depth": 0,
        "chunks": 1, "bytes": 1_000, "duration_ms": 12, "fetched_at": "2026-01-01T00:00:00.000Z",
    }  # fmt: skip
    return made | changes


def problem(status: int, title: str, detail: str, code: str) -> Answer:
    return status, {"type": f"urn:headrace:problem:{code}", "title": title, "status": status, "detail": detail}


class FakeControl:
    """`statuses`: what `/kb/{kb}/status` says, or answers, one after the other, the last for good. `seen`: every
    request. `cut_off`: answers end before their end."""

    def __init__(self) -> None:
        self.statuses: dict[str, list[Json | Answer]] = {}
        self.seen: list[tuple[str, str, Any]] = []
        self.answers: dict[tuple[str, str], Answer] = {}
        self.hits: list[Json] = []
        self.published: int | None = None
        self.pages: list[Json] = []
        self.page_summary: Json = {"states": [], "reasons": []}
        self.changes: Json = {}
        self.preconditions: list[tuple[str, dict[str, str]]] = []
        self.hosts: list[Json] = []
        self.made: list[Json] = []
        self.letters: list[Json] = []
        self.retried: Json = {"retried": 1, "passed_over": 0, "job_ids": ["job-docs"], "not_retried": []}
        self.generations: Json = {"vacuum": None, "generations": []}
        self.cut_off = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                given = {name: value for name, value in self.headers.items() if name.startswith("If-")}
                outer.preconditions.append((self.command, given))
                status, answer = outer.answer(self.command, self.path, body)
                payload = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload) + outer.cut_off))
                self.end_headers()
                self.wfile.write(payload)

            do_GET = do_POST = do_PUT = do_DELETE = _serve

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def requests(self, method: str) -> list[tuple[str, Any]]:
        return [(path, body) for seen, path, body in self.seen if seen == method]

    def answer(self, method: str, target: str, body: Any) -> Answer:
        parts = urlsplit(target)
        self.seen.append((method, target, body))
        if (method, parts.path) in self.answers:
            return self.answers[method, parts.path]
        words = parts.path.removeprefix("/api/ingestion").strip("/").split("/")
        if words[0] == "readyz":
            return 200, {"ready": True}
        if words == ["kb"]:
            return 200, {"kbs": [self._kb(kb) for kb in self.statuses]}
        if words[0] == "dead-letters":
            return self._of_letters(words, parse_qs(parts.query))
        if words[0] == "jobs":
            return self._of_job(words, parse_qs(parts.query))
        return self._of_kb(method, words, parse_qs(parts.query), body)

    def _of_kb(self, method: str, words: list[str], query: dict[str, list[str]], body: Any) -> Answer:
        kb, action = words[1], words[2] if len(words) > 2 else ""
        if action == "jobs" and len(words) > 3:
            return self._of_job(words[2:], query)
        if method == "PUT":
            self.statuses.setdefault(kb, [])
            return 200, self._kb(kb)
        if action == "start":
            self.statuses.setdefault(kb, [status_of(kb, "completed")])
            return 202, self._accepted(kb, "running")
        if kb not in self.statuses:
            return problem(404, "Not found", f"there is no knowledge base '{kb}'", "unknown-kb")
        routes: dict[str, Callable[[], Answer]] = {
            "": lambda: (200, self._kb(kb)),
            "status": lambda: self._status(kb),
            "jobs": lambda: (200, {"jobs": self.statuses[kb]}),
            "search": lambda: (200, {"generation": 1, "provisional": False, "mode": "hybrid", "hits": self.hits}),
        }
        routes["changes"] = lambda: (200, self.changes)
        routes["generations"] = lambda: (200, self.generations)
        routes["vacuum"] = lambda: (202, {"kb_id": kb, "vacuumed_below": 2})
        return routes[action]() if action in routes else (202, self._accepted(kb, f"{action}d"))

    def _status(self, kb: str) -> Answer:
        known = self.statuses[kb]
        if not known:
            return problem(404, "Not found", f"{kb} has had no job yet", "no-job")
        said = known.pop(0) if len(known) > 1 else copy.deepcopy(known[0])
        return said if isinstance(said, tuple) else (200, said)

    @cached_property
    def definition(self) -> Json:
        from tests.unit.cli.definition import DEFINITION  # by msgspec, which clients of control need not have

        return DEFINITION

    def _of_job(self, words: list[str], query: dict[str, list[str]]) -> Answer:
        """Pages come two at a time, to show that the command line reads on."""
        if len(words) == 2:
            status, answer = self._status(words[1].removeprefix("job-"))
            return status, {"status": answer, "definition": self.definition}
        if words[2] == "hosts":
            return self._of_hosts(words, query)
        if words[3:] == ["summary"]:
            return 200, self.page_summary
        after = query.get("after", [""])[0]
        most = min(2, int(query.get("limit", ["2"])[0]))
        rest = [page for page in self.pages if page["url"] > after and query.get("url", [page["url"]]) == [page["url"]]]
        return 200, {"pages": rest[:most], "next_after": rest[most - 1]["url"] if len(rest) > most else None}

    def _of_hosts(self, words: list[str], query: dict[str, list[str]]) -> Answer:
        """Requests come one at a time."""
        if len(words) == 3:
            return 200, {"hosts": self.hosts}
        at = int(query["after"][0].partition("/")[2]) + 1 if "after" in query else 0
        return 200, {"requests": self.made[at : at + 1], "next_after": f"0/{at}" if at + 1 < len(self.made) else None}

    def _of_letters(self, words: list[str], query: dict[str, list[str]]) -> Answer:
        """The list comes one at a time."""
        if words[1:] == ["retry"]:
            return 202, self.retried
        if len(words) == 3:
            return 200, {"place": {"partition": int(words[1]), "offset": int(words[2])}, "value": {"text": "x"}}
        at = int(query["after"][0].partition("/")[2]) + 1 if "after" in query else 0
        more = f"0/{at}" if at + 1 < len(self.letters) else None
        return 200, {"dead_letters": self.letters[at : at + 1], "next_after": more}

    def _kb(self, kb: str) -> Json:
        return {
            "kb_id": kb, "definition": self.definition, "etag": '"tag"', "last_generation": 1,
            "published_generation": self.published,
            "active_job_id": None, "updated_at": "2026-01-01T00:00:00.000Z",
        }  # fmt: skip

    def _accepted(self, kb: str, desired: str) -> Json:
        return {"kb_id": kb, "job_id": f"job-{kb}", "generation": 1, "desired": desired, "revision": 2}
