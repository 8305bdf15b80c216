"""A broker that does not know a new topic yet, as one of several may for a moment."""

from collections.abc import Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ConfigResource

from headrace.kafka import admin
from headrace.kafka.admin import differences
from schemas.topics import TOPICS

SHAPE = SimpleNamespace(partitions={0: SimpleNamespace(replicas=[1])})


class Lagging:
    """Answers as if asked of another broker each time; the first ones don't know `commands`."""

    def __init__(self, ignorant_answers: int) -> None:
        self._ignorant = {"list_topics": ignorant_answers, "describe_configs": ignorant_answers}

    def list_topics(self, timeout: float) -> Any:
        return SimpleNamespace(topics={name: SHAPE for name in TOPICS if self._knows("list_topics", name)})

    def describe_configs(self, resources: Sequence[ConfigResource], request_timeout: float) -> dict[Any, Future[Any]]:
        return {resource: self._config(resource.name) for resource in resources}

    def _config(self, name: str) -> Future[Any]:
        answer: Future[Any] = Future()
        if self._knows("describe_configs", name):
            config = {**TOPICS[name].config, "min.insync.replicas": "1"}
            answer.set_result({setting: SimpleNamespace(value=value) for setting, value in config.items()})
        else:
            answer.set_exception(KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)))
        return answer

    def _knows(self, request: str, name: str) -> bool:
        if name != "commands" or self._ignorant[request] == 0:
            return True
        self._ignorant[request] -= 1
        return False


def test_is_asked_again() -> None:
    broker: Any = Lagging(ignorant_answers=2)
    assert differences(broker, prefix="", partitions=1, replication=1, min_insync=1) == []


def test_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "SHOWN_WITHIN_S", 0.1)
    broker: Any = Lagging(ignorant_answers=1_000)
    with pytest.raises(KafkaException, match="it doesn't show commands"):
        differences(broker, prefix="", partitions=1, replication=1, min_insync=1)
