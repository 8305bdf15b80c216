"""The topics as an AsyncAPI document, from their types.

Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0

Addresses have the default prefix. A payload is JSON Schema 2020-12; fields may join it, and readers ignore those that
they don't know.
"""

import inspect
import json
from typing import Any

import msgspec

from schemas.codec import EVENT_TYPES
from schemas.events import Event
from schemas.topics import TOPICS, topic_name

PREFIX = "headrace."
_HEADERS = {
    "ce_specversion": "1.0", "ce_type": "the type and version of the value", "ce_source": "who wrote it",
    "ce_id": "the record's own id", "ce_time": "when, RFC 3339", "content-type": "application/json",
    "traceparent": "W3C Trace Context, where traces are on",
}  # fmt: skip
_LETTER = "dead_letter"


def document() -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components(EVENT_TYPES, ref_template="#/components/schemas/{name}")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Headrace",
            "version": "1",
            "description": "Everything that one service tells another, and everything that happened.",
        },
        "defaultContentType": "application/json",
        "servers": {"kafka": {"host": "127.0.0.1:9092", "protocol": "kafka"}},
        "channels": {name: _channel(name) for name in TOPICS},
        "components": {
            "messages": {event.TYPE: _message(event) for event in EVENT_TYPES} | {_LETTER: _letter()},
            "schemas": schemas,
            "messageTraits": {"cloudevent": {"headers": _headers()}},
        },
    }


def text() -> str:
    return json.dumps(document(), indent=1) + "\n"


def _channel(name: str) -> dict[str, Any]:
    topic = TOPICS[name]
    types = [event.TYPE for event in EVENT_TYPES if event.TOPIC == name] or [_LETTER]
    config = {key: [value] if key == "cleanup.policy" else int(value) for key, value in topic.config.items()}
    return {
        "address": topic_name(name, PREFIX),
        "description": topic.holds,
        "messages": {each: {"$ref": f"#/components/messages/{each}"} for each in types},
        "bindings": {"kafka": {"topic": topic_name(name, PREFIX), "topicConfiguration": config}},
    }


def _message(event: type[Event]) -> dict[str, Any]:
    return {
        "name": event.ce_type(),
        "summary": (inspect.getdoc(event) or "").partition("\n\n")[0],
        "payload": {"$ref": f"#/components/schemas/{event.__name__}"},
        "traits": [{"$ref": "#/components/messageTraits/cloudevent"}],
        "bindings": {"kafka": {"key": {"type": "string"}}},
    }


def _letter() -> dict[str, Any]:
    return {
        "name": _LETTER,
        "summary": "A record of `chunks` as it was, byte for byte; headers `__connect.errors.*` say why it is here.",
        "payload": {},
        "bindings": {"kafka": {"key": {"type": "string"}}},
    }


def _headers() -> dict[str, Any]:
    properties = {name: {"type": "string", "description": says} for name, says in _HEADERS.items()}
    return {"type": "object", "properties": properties, "required": ["ce_type"]}
