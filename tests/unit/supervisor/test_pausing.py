"""The graceful part of a stop: which jobs are paused, and how long that is waited for."""

from collections.abc import Iterator

import pytest

from headrace.client import ControlClient, ControlUnreachable
from headrace.supervisor.pausing import Paused, pause_running, paused_kbs
from tests.unit.cli.control_fake import FakeControl, problem, status_of


@pytest.fixture
def control() -> Iterator[FakeControl]:
    with FakeControl() as running:
        yield running


def never() -> bool:
    return False


def test_running_jobs_are_paused_and_waited_for(control: FakeControl) -> None:
    control.statuses |= {
        "a": [status_of("a"), status_of("a", "pausing"), status_of("a", "paused")],
        "b": [status_of("b", "completed")],
        "c": [status_of("c", "paused")],
    }
    assert pause_running(ControlClient(control.url), never) == Paused(held=("a",), pending=())
    assert control.requests("POST") == [("/api/ingestion/kb/a/pause", {"reason": "shutdown"})]


def test_a_job_that_ended_meanwhile_is_not_waited_for(control: FakeControl) -> None:
    control.statuses["a"] = [status_of("a"), status_of("a", "completed")]
    control.answers["POST", "/api/ingestion/kb/a/pause"] = problem(409, "Conflict", "it is completed", "job-over")
    assert pause_running(ControlClient(control.url), never).pending == ()


def test_the_wait_is_bounded(control: FakeControl) -> None:
    control.statuses["a"] = [status_of("a", "pausing")]
    assert pause_running(ControlClient(control.url), never, deadline_s=0.3) == Paused(held=(), pending=("a",))


def test_a_hurry_ends_the_wait(control: FakeControl) -> None:
    control.statuses["a"] = [status_of("a", "pausing")]
    assert pause_running(ControlClient(control.url), lambda: True, deadline_s=60) == Paused(held=(), pending=("a",))


def test_without_control_nothing_is_paused() -> None:
    with pytest.raises(ControlUnreachable):
        pause_running(ControlClient("http://127.0.0.1:1"), never)
    assert paused_kbs(ControlClient("http://127.0.0.1:1")) == []


def test_paused_kbs_are_named(control: FakeControl) -> None:
    control.statuses |= {"a": [status_of("a", "paused")], "b": [status_of("b")], "c": [status_of("c", "pausing")]}
    assert paused_kbs(ControlClient(control.url)) == ["a", "c"]
