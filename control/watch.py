"""What watchers see: the newest state of each knowledge base, as server-sent events (WHATWG HTML, 9.2).

There is no queue. The hub keeps the newest frame of each subject under a growing number; a watcher remembers the number
up to which it was told, and is sent what is newer. So a watcher that reads slowly, or comes back after an hour, gets
each subject once, as it is now, and costs as much memory as one that is quick.

An event's id is the hub's own name, what the watcher sees by, and that number. Who comes with the id of another hub
(control was restarted) or of another view (a token's scope was changed), or without one, is sent `reset` and then all
there is.
"""

import asyncio
import itertools
import secrets
import time
from collections.abc import AsyncGenerator, Container
from dataclasses import dataclass
from typing import Literal

import msgspec

EVERY_S = 0.25
"""Between two frames to a watcher; what changes meanwhile is sent once. Each has a moment of its own in that time, so
that 500 are not all written to at once while requests wait."""
SPREAD = 0.618
"""Of the golden ratio: the moments of any number of watchers that follow each other lie evenly."""
HEARTBEAT_S = 15.0
"""A comment after so long a silence: proxies close connections that say nothing for a minute."""
RECONNECT_MS = 2_000
"""What a browser waits before it comes back."""

Kind = Literal["kb", "deleted", "status"]

_ENCODER = msgspec.json.Encoder()


class Gone(msgspec.Struct, frozen=True):
    """A knowledge base that was deleted."""

    kb_id: str


@dataclass(frozen=True, slots=True)
class _Frame:
    number: int
    kb_id: str
    kind: Kind
    data: bytes


class Hub:
    """`tell` what changed, `watch` it, `close` at a stop; all from one event loop."""

    def __init__(self) -> None:
        self._name, self._number = secrets.token_hex(4), 0
        self._frames: dict[tuple[str, str], _Frame] = {}
        """By subject, the one that changed last at the end."""
        self._changed = asyncio.Event()
        self._closed = False
        self._seats = itertools.count()
        self.watchers = 0

    def tell(self, kind: Kind, kb_id: str, state: msgspec.Struct) -> None:
        """The newest state of a knowledge base, or of its newest job."""
        subject = kb_id, "status" if kind == "status" else "kb"
        data = _ENCODER.encode(state)
        known, kb = self._frames.get(subject), self._frames.get((kb_id, "kb"))
        if kind == "status" and kb is not None and kb.kind == "deleted":
            return
        if known is not None and (known.kind, known.data) == (kind, data):
            return
        self._frames.pop(subject, None)
        self._number += 1
        self._frames[subject] = _Frame(self._number, kb_id, kind, data)
        if kind == "deleted":
            self._frames.pop((kb_id, "status"), None)
        self._wake()

    def close(self) -> None:
        """Ends all watching."""
        self._closed = True
        self._wake()

    async def watch(
        self, last_id: str | None, kbs: Container[str] | None = None, *, view: str = ""
    ) -> AsyncGenerator[bytes, None]:
        """Bytes to send, some at a time, until `close`; of these knowledge bases, or of all.

        `view`: letters and digits, others where `kbs` are others: nobody resumes what was narrower or wider.
        """
        name = self._name + view
        self.watchers += 1
        moment = next(self._seats) * SPREAD * EVERY_S
        try:
            told, resumed = self._resumed(last_id, name)
            yield f"retry: {RECONNECT_MS}\n\n".encode()
            if not resumed:
                yield _event("reset", f"{name}-0", b"{}")
            spoke = time.monotonic()
            while not self._closed:
                changed, number = self._changed, self._number
                frames = self._since(told, kbs, all_of_them=not told)
                told = number
                if frames:
                    yield b"".join(_event(each.kind, f"{name}-{each.number}", each.data) for each in frames)
                    spoke = time.monotonic()
                elif time.monotonic() - spoke >= HEARTBEAT_S:
                    yield b":\n\n"
                    spoke = time.monotonic()
                try:
                    async with asyncio.timeout(max(EVERY_S, spoke + HEARTBEAT_S - time.monotonic())):
                        await changed.wait()
                        await asyncio.sleep((moment - time.monotonic()) % EVERY_S)
                except TimeoutError:
                    continue
        finally:
            self.watchers -= 1

    def _since(self, told: int, kbs: Container[str] | None, *, all_of_them: bool) -> list[_Frame]:
        """What is newer, the oldest first. Who is told all needs no word of what is gone."""
        found = []
        for frame in reversed(self._frames.values()):
            if frame.number <= told:
                break
            if (kbs is None or frame.kb_id in kbs) and not (all_of_them and frame.kind == "deleted"):
                found.append(frame)
        return found[::-1]

    def _resumed(self, last_id: str | None, name: str) -> tuple[int, bool]:
        given, _, number = (last_id or "").partition("-")
        if given != name or not number.isascii() or not number.isdigit() or len(number) > 18:
            return 0, False
        return min(int(number), self._number), True

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _event(kind: str, event_id: str, data: bytes) -> bytes:
    return b"event: %s\nid: %s\ndata: %s\n\n" % (kind.encode(), event_id.encode(), data)
