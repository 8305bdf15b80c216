"""The AsyncAPI document describes every topic and every type, and its own parts are there."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from schemas import asyncapi
from schemas.codec import EVENT_TYPES
from schemas.events import Event
from schemas.topics import TOPICS

DOCUMENT: dict[str, Any] = asyncapi.document()
EXAMPLES = Path(asyncapi.__file__).parent / "examples"


def test_every_topic_is_a_channel_with_its_settings_and_types() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0" and set(DOCUMENT["info"]) >= {"title", "version"}
    for name, topic in TOPICS.items():
        channel = DOCUMENT["channels"][name]
        assert channel["address"] == f"headrace.{name}" and channel["messages"]
        config = channel["bindings"]["kafka"]["topicConfiguration"]
        assert config["cleanup.policy"] == [topic.config["cleanup.policy"]] and set(config) == set(topic.config)
    on_topics = [message for channel in DOCUMENT["channels"].values() for message in channel["messages"]]
    assert sorted(on_topics) == sorted([*(event.TYPE for event in EVENT_TYPES), "dead_letter"])


def test_every_reference_leads_somewhere() -> None:
    references = re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(DOCUMENT))
    assert len(references) > 50
    for reference in set(references):
        part: Any = DOCUMENT
        for step in reference.split("/"):
            part = part[step]


@pytest.mark.parametrize("event", EVENT_TYPES, ids=lambda event: event.TYPE)
def test_the_example_of_a_type_fits_its_payload(event: type[Event]) -> None:
    message = DOCUMENT["components"]["messages"][event.TYPE]
    schema = {**DOCUMENT, **message["payload"]}
    example = json.loads((EXAMPLES / f"{event.TYPE}.v{event.VERSION}.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(example)
    with pytest.raises(Exception, match="required"):
        Draft202012Validator(schema).validate({})
