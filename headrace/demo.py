"""The demo: a site becomes searchable, with a pause on the way, and answers three questions."""

import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from rich.console import Console
from rich.markup import escape

from headrace.cli.search import print_hit
from headrace.cli.stack import on_the_path
from headrace.cli.view import chunk_counts, crawl_counts, pages_read, took, trouble
from headrace.cli.watch import POLL_S, patient_status, showing
from headrace.client import ACTIVE, ControlClient, ControlProblem, Json
from headrace.counted import counted
from headrace.embedded.ports import holder_of
from headrace.sample import HOST, PORT, SampleSite

KB = "python-reference"
QUESTIONS = (
    "what happens when the default value of a parameter is a list?",
    "how do I stop my program at a line and look at its variables?",
    "how do I write a context manager?",
)
SOURCES = 2
"""Shown per question."""
PAUSE_AT = 0.3
SETTLED_S = 0.5
"""The group's committed offset is read four times a second, so the last batch may show this much later."""
STILL_S = 2.0
"""How long both counters are watched while paused."""
PAUSED_DEADLINE_S = 30.0
JOB_DEADLINE_S = 600.0


class DemoFailed(Exception):
    """Something went wrong; the message says what."""


class Demo:
    """`site` around `run`, then `stay`. Progress goes to `err`, answers to `out`."""

    def __init__(self, client: ControlClient, err: Console, out: Console, *, pausing: bool = True) -> None:
        self._client, self._err, self._out, self._pausing = client, err, out, pausing

    @contextmanager
    def site(self) -> Iterator[None]:
        """Serves the sample site meanwhile: where the demo before did, so that a refresh finds the same pages."""
        port = self._port_before()
        with SampleSite(port) as self._site:
            if self._site.port != port:
                self._say_taken(port)
            yield

    def _say_taken(self, port: int) -> None:
        holder = holder_of(port)
        who = f"process {holder.pid} ({escape(holder.command)})" if holder else "a process of another user"
        self._say(f"[yellow]Port {port} is taken by {who}[/]: the sample site is at another, and counts as a new site")

    def _port_before(self) -> int:
        try:
            source = self._client.kb(KB)["definition"]["source"]
        except ControlProblem as problem:
            if problem.status == 404:  # the first demo on this stack
                return PORT
            raise
        before = urlsplit(next(iter(source.get("urls") or []), ""))
        return (before.hostname == HOST and before.port) or PORT

    def run(self) -> None:
        """Raises DemoFailed, or ControlError."""
        self._say(f"A sample site: Python's language reference, {self._site.page_count} pages at {self._site.url}")
        accepted = self._start()
        self._say(f"Ingesting it as [bold]{KB}[/], generation {accepted['generation']}, over HTTP like any other site")
        self._check(self._watch(str(accepted["job_id"])))
        self._ask()
        self._what_next()

    def stay(self) -> None:
        """Until Ctrl-C, which the caller turns into an orderly stop."""
        self._err.print("\n[dim]Everything stays up. Ctrl-C stops it in order.")
        while True:
            signal.pause()

    def _start(self) -> Json:
        definition = {"source": {"urls": [self._site.url], "allow_addresses": ["127.0.0.0/8"]}}
        self._end_earlier()
        return self._client.start(KB, definition, idempotency_key=str(uuid.uuid4()))

    def _end_earlier(self) -> None:
        """A demo that was stopped on its way left a paused job: the new one takes its place."""
        try:
            status = self._client.status(KB)
        except ControlProblem as problem:
            if problem.status in (404, 409):  # the first demo on this machine
                return
            raise
        if status.get("status") in ACTIVE:
            self._say(f"An earlier demo left its job {status.get('status')}: cancelling it")
            try:
                self._client.command(KB, "cancel", "a new demo")
            except ControlProblem as problem:
                if problem.status != 409:  # it was over by then
                    raise
            self._client.wait_for(KB, lambda now: now["status"] not in ACTIVE, deadline_s=PAUSED_DEADLINE_S)

    def _watch(self, job_id: str) -> Json:
        pausing = self._pausing
        give_up_at = time.monotonic() + JOB_DEADLINE_S
        with showing(self._err) as show:
            while True:
                status = patient_status(self._client, KB)
                show(status)
                if status["status"] not in ACTIVE or status["job_id"] != job_id:
                    return status
                if pausing and self._far_enough(status):
                    pausing = False
                    self._pause_and_resume()
                if time.monotonic() > give_up_at:
                    raise DemoFailed(f"not done within {JOB_DEADLINE_S:.0f} s: {status['status']}, see the logs")
                time.sleep(POLL_S)

    def _far_enough(self, status: Json) -> bool:
        done, total = chunk_counts(status)
        return status["status"] == "running" and total > 0 and done >= PAUSE_AT * total

    def _pause_and_resume(self) -> None:
        """Shows that a pause holds both counters still; raises DemoFailed where one moves."""
        self._say("[yellow]Pausing at about a third[/]: POST /pause")
        self._client.command(KB, "pause", "shown in the demo")
        before = self._client.wait_for(
            KB, lambda status: status["status"] not in ("running", "pausing"), deadline_s=PAUSED_DEADLINE_S
        )
        if before["status"] not in ACTIVE:
            self._say("It was done before the pause took effect.")
            return
        if before["status"] != "paused":
            raise DemoFailed(f"the job did not pause within {PAUSED_DEADLINE_S:.0f} s; it is {before['status']}")
        time.sleep(SETTLED_S)
        before = self._client.status(KB)
        time.sleep(STILL_S)
        after = self._client.status(KB)
        counters = [(crawl_counts(status)[0], chunk_counts(status)[0]) for status in (before, after)]
        if counters[0] != counters[1]:
            raise DemoFailed(f"pages and chunks moved while paused: from {counters[0]} to {counters[1]}")
        pages, chunks = counters[1]
        self._say(
            f"[yellow]Paused[/]: {counted(pages, 'page')} and {counted(chunks, 'chunk')}, and still so "
            f"{STILL_S:.0f} s later. Resuming"
        )
        self._client.command(KB, "resume")

    def _check(self, status: Json) -> None:
        pages = pages_read(status)
        chunks, _ = chunk_counts(status)
        for line in trouble(status):
            self._say(f"[yellow]{line}")
        if status["status"] != "completed":
            raise DemoFailed(f"{KB} is {status['status']}: {status.get('reason') or 'see the logs'}")
        unchanged = (status.get("crawl") or {}).get("pages_unchanged") or 0
        note = f" ({unchanged} unchanged since the last time: nothing of them was embedded again)" if unchanged else ""
        self._say(
            f"[green]Done and proven[/]: {counted(pages, 'page')}{note}, {counted(chunks, 'chunk')}, in {took(status)}"
        )

    def _ask(self) -> None:
        for question in QUESTIONS:
            hits = self._client.search(KB, {"query": question, "k": SOURCES})["hits"]
            if not hits:
                raise DemoFailed(f"no answer to: {question}")
            self._out.print(f"\n[bold magenta]? {question}")
            for number, hit in enumerate(hits, 1):
                print_hit(self._out, hit, number)

    def _what_next(self) -> None:
        url = f"{self._client.url}/api/ingestion/kb/{KB}"
        self._out.print("\n[bold]What to try next[/], in another terminal:")
        for line in (
            *on_the_path(),
            f'headrace search {KB} "your question"',
            "headrace ingest https://example.org/docs/",
            f"headrace jobs {KB} --events",
            f"curl -s {url}/status",
            f"curl -s {url}/search -H 'Content-Type: application/json' -d '{{\"query\": \"decorators\"}}'",
            "headrace kafka consumer-groups --describe --group headrace.consumer",
            "headrace kafka console-consumer --topic headrace.events --from-beginning --max-messages 5",
        ):
            self._out.print(f"  {line}", markup=False, soft_wrap=True)

    def _say(self, text: str) -> None:
        self._err.print(f"• {text}", soft_wrap=True)
