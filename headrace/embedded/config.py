"""What the embedded stack can be told, and the environment variable behind each value."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

LOOPBACK = "127.0.0.1"


def default_cache_dir() -> Path:
    """Downloads and builds, shared by all checkouts of a user (`HEADRACE_CACHE_DIR`)."""
    return Path.home() / ".cache" / "headrace"


def default_data_dir() -> Path:
    """Kafka's log and Weaviate's objects (`HEADRACE_DATA_DIR`)."""
    return Path.home() / ".local" / "share" / "headrace"


@dataclass(frozen=True, slots=True)
class EmbeddedSettings:
    """Where the embedded servers keep their things and where they listen (always on loopback).

    `kafka_bootstrap_servers` and `weaviate_url` name servers that are there already; the embedded one stays off then.
    """

    data_dir: Path = field(default_factory=default_data_dir)
    cache_dir: Path = field(default_factory=default_cache_dir)
    kafka_port: int = 9092
    weaviate_port: int = 8080
    weaviate_grpc_port: int = 50051
    kafka_bootstrap_servers: str | None = None
    weaviate_url: str | None = None
