"""The graceful part of a stop: running jobs are paused through control, and that is waited for."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from headrace.client import ControlClient, ControlError

REASON = "shutdown"
DEADLINE_S = 15.0
GOING = frozenset({"queued", "running", "resuming", "stalled", "pausing", "needs_review"})
"""States of a job that does, or may do, something by itself."""
_POLL_S = 0.2


@dataclass(frozen=True)
class Paused:
    """KBs whose job holds now, and those whose job was still `pausing` at the deadline."""

    held: tuple[str, ...]
    pending: tuple[str, ...]


def pause_running(client: ControlClient, hurried: Callable[[], bool], deadline_s: float = DEADLINE_S) -> Paused:
    """Pauses every job that goes. Raises ControlError where control can't say which those are."""
    waiting = {str(status["kb_id"]) for status in client.statuses() if status.get("status") in GOING}
    for kb in sorted(waiting):
        _pause(client, kb)
    held: set[str] = set()
    give_up_at = time.monotonic() + deadline_s
    while waiting and not hurried() and time.monotonic() < give_up_at:
        settled = {kb for kb in waiting if client.status(kb).get("status") not in GOING}
        held |= settled
        waiting -= settled
        if waiting:
            time.sleep(_POLL_S)
    return Paused(tuple(sorted(held)), tuple(sorted(waiting)))


def paused_kbs(client: ControlClient) -> list[str]:
    """KBs whose newest job is paused, or will be in a moment; empty where control can't be asked."""
    try:
        return [str(status["kb_id"]) for status in client.statuses() if status.get("status") in ("paused", "pausing")]
    except ControlError:
        return []


def _pause(client: ControlClient, kb: str) -> None:
    try:
        client.command(kb, "pause", REASON)
    except ControlError:  # it ended meanwhile, or can't be paused: the wait will tell
        return
