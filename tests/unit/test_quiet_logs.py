"""Client libraries repeat themselves while a server is away; what is held back must never be the program's end."""

import logging

import pytest

from headrace.service import Quiet


@pytest.mark.parametrize("message", ["can't connect", {"message": "Failed to send", "error": ["not", "hashable"]}])
def test_a_message_of_any_kind_goes_through_once(message: object) -> None:
    quiet = Quiet("weaviate")
    record = logging.makeLogRecord({"name": "weaviate-client", "msg": message})
    assert (quiet.filter(record), quiet.filter(record)) == (True, False)


def test_our_own_are_never_held_back() -> None:
    record = logging.makeLogRecord({"name": "consumer.stalls", "msg": "waits"})
    assert all(Quiet("weaviate").filter(record) for _ in range(3))
