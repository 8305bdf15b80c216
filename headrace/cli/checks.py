"""What `headrace doctor` looks at. Each check gives one finding and never raises for what it looks for."""

import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from headrace.cli.addresses import is_loopback
from headrace.client import ControlClient, ControlError
from headrace.embedded import EmbeddedError, artifacts, ports
from headrace.embedded.java import find_java
from headrace.embedded.process import OWNER_VARIABLE
from headrace.embedded.weaviate_build import binary_path
from headrace.kafka.admin import Difference, absence, differences, reached
from headrace.settings import Settings
from headrace.supervisor import read_state, running_stack
from headrace.supervisor.reachable import any_listens, url_listens
from schemas.topics import TOPICS

Level = Literal["ok", "warn", "fail"]

LOW_DISK_GB, LEAST_DISK_GB = 5.0, 1.0
"""Kafka's log, Weaviate's objects and the one-time build of Weaviate (3 GB while it runs)."""
_KAFKA_S = 3.0


@dataclass(frozen=True)
class Finding:
    """`mend` says how, where there is something to mend."""

    name: str
    level: Level
    says: str
    mend: str = ""


def findings(settings: Settings, client: ControlClient) -> Iterator[Finding]:
    """All checks, from what everything needs to what runs now."""
    yield python()
    if settings.kafka_bootstrap_servers is None:
        yield java()
        yield kafka_jars(settings)
    yield weaviate_binary(settings) if settings.weaviate_url is None else weaviate_elsewhere(settings.weaviate_url)
    yield embeddings(settings)
    yield user_agent(settings, client)
    yield from disks(settings)
    yield from listening(settings)
    yield stack(settings)
    yield control(client, settings)
    yield topics(settings)


def python() -> Finding:
    """An older Python than 3.11 does not get here: the package refuses to install."""
    return Finding("Python", "ok", f"{platform.python_version()}, {sys.executable}")


def java() -> Finding:
    try:
        found = find_java()
    except EmbeddedError as exc:
        return Finding("Java", "fail", "no usable runtime", str(exc))
    return Finding("Java", "ok", f"{found.version}, {found.executable}")


def kafka_jars(settings: Settings) -> Finding:
    directory = artifacts.directory_of(artifacts.KAFKA, settings.cache_dir)
    wanted = artifacts.pinned(artifacts.KAFKA)
    missing = [item for item in wanted if not (directory / item.file_name).exists()]
    if missing:
        megabytes = sum(item.size_bytes for item in missing) / 1e6
        return Finding(
            "Kafka", "warn", f"{len(missing)} of {len(wanted)} files are not here yet ({megabytes:.0f} MB)",
            "the next `headrace up` downloads them",
        )  # fmt: skip
    return Finding("Kafka", "ok", f"{len(wanted)} files in {directory}")


def weaviate_binary(settings: Settings) -> Finding:
    binary = binary_path(settings.cache_dir)
    if not binary.exists():
        return Finding("Weaviate", "warn", "not built yet", "the next `headrace up` builds it, once (about 4 minutes)")
    return Finding("Weaviate", "ok", str(binary))


def weaviate_elsewhere(url: str) -> Finding:
    if not url_listens(url):
        return Finding("Weaviate", "fail", f"does not answer at {url}", "start it, or check WEAVIATE_URL")
    return Finding("Weaviate", "ok", f"answers at {url}")


def embeddings(settings: Settings) -> Finding:
    if settings.openai_api_key is not None:
        where = settings.openai_base_url or "OpenAI"
        return Finding(
            "Embeddings", "ok", f"OPENAI_API_KEY is set: {where} embeds unless a knowledge base says `local`"
        )
    if settings.azure_openai_endpoint is not None:
        if settings.azure_openai_api_key is None:
            return Finding(
                "Embeddings", "fail", "AZURE_OPENAI_ENDPOINT is set without a key", "set AZURE_OPENAI_API_KEY"
            )
        where = settings.azure_openai_endpoint
        return Finding("Embeddings", "ok", f"{where} embeds unless a knowledge base says otherwise")
    directory = artifacts.directory_of(artifacts.MINILM, settings.cache_dir)
    here = all((directory / item.file_name).exists() for item in artifacts.pinned(artifacts.MINILM))
    if not here:
        return Finding(
            "Embeddings", "warn", "no OPENAI_API_KEY, and the local model is not here yet",
            "the next `headrace up` downloads it; or set OPENAI_API_KEY",
        )  # fmt: skip
    return Finding("Embeddings", "ok", "no OPENAI_API_KEY: the local model embeds (all-MiniLM-L6-v2)")


def user_agent(settings: Settings, client: ControlClient) -> Finding:
    """A contact is missed where sites of others are crawled, or where nobody can say that none are."""
    if settings.has_contact:
        return Finding("User-Agent", "ok", settings.user_agent)
    try:
        urls = [url for kb in client.kbs() for url in kb["definition"]["source"]["urls"]]
    except ControlError:
        urls = None
    if urls is not None and all(map(is_loopback, urls)):
        return Finding("User-Agent", "ok", f"{settings.user_agent}; only sites on this machine are crawled")
    return Finding(
        "User-Agent", "warn", f"{settings.user_agent}: site owners can't reach you",
        f'set HEADRACE_USER_AGENT, e.g. "{settings.example_user_agent}"',
    )  # fmt: skip


def disks(settings: Settings) -> Iterator[Finding]:
    for name, path in (("Data disk", settings.data_dir), ("Cache disk", settings.cache_dir)):
        free_gb = shutil.disk_usage(_existing(path)).free / 1e9
        says = f"{free_gb:.1f} GB free at {path}"
        if free_gb < LEAST_DISK_GB:
            variable = "HEADRACE_DATA_DIR" if name.startswith("Data") else "HEADRACE_CACHE_DIR"
            yield Finding(name, "fail", says, f"free some space, or move it with {variable}")
        elif free_gb < LOW_DISK_GB:
            yield Finding(
                name, "warn", says, f"less than {LOW_DISK_GB:.0f} GB: the build of Weaviate and the log need room"
            )
        else:
            yield Finding(name, "ok", says)


def listening(settings: Settings) -> Iterator[Finding]:
    """The ports that `up` needs: free, or held by our own stack."""
    wanted = [("control", settings.http_port, "HEADRACE_HTTP_PORT")]
    if settings.kafka_bootstrap_servers is None:
        wanted.append(("Kafka", settings.kafka_port, "HEADRACE_KAFKA_PORT"))
    if settings.weaviate_url is None:
        wanted.append(("Weaviate", settings.weaviate_port, "HEADRACE_WEAVIATE_PORT"))
        wanted.append(("Weaviate gRPC", settings.weaviate_grpc_port, "HEADRACE_WEAVIATE_GRPC_PORT"))
    for server, port, variable in wanted:
        yield _port(f"Port {port}", server, port, variable, settings)


def stack(settings: Settings) -> Finding:
    pid = running_stack(settings.data_dir)
    state = read_state(settings.data_dir)
    if pid is None or state is None:
        return Finding("Stack", "ok", "not running on this data directory; `headrace up` starts it")
    down = [name for name, process in state.pids.items() if not process]
    if down:
        mend = f"see {settings.data_dir / 'logs'}; then `headrace down` and `headrace up`"
        return Finding("Stack", "fail", f"process {pid}; not running: {', '.join(down)}", mend)
    return Finding("Stack", "ok", f"{state.phase}, process {pid}: {', '.join(state.pids)}")


def control(client: ControlClient, settings: Settings) -> Finding:
    if client.ready():
        return Finding("Control", "ok", f"ready at {client.url}")
    if running_stack(settings.data_dir) is None:
        return Finding(
            "Control", "warn", f"nobody answers at {client.url}", "start it with `headrace up`, or say --url"
        )
    return Finding("Control", "fail", f"not ready at {client.url}", f"see {settings.data_dir / 'logs' / 'control.log'}")


def topics(settings: Settings) -> Finding:
    servers = settings.bootstrap_servers
    if not any_listens(servers):  # librdkafka would fill the screen with refused connections
        return _kafka_away(settings, f"nobody listens at {servers}")
    try:
        admin = reached(servers, _KAFKA_S)
        there = admin.list_topics(timeout=_KAFKA_S).topics
        missing = [settings.topic(name) for name in TOPICS if settings.topic(name) not in there]
        if missing:
            return Finding("Topics", "warn", f"missing: {', '.join(missing)}", "the next `headrace up` creates them")
        return _differing(admin, settings)
    except KafkaException as exc:
        return _kafka_away(settings, absence(servers, exc))


def _kafka_away(settings: Settings, why: str) -> Finding:
    level: Level = "fail" if settings.kafka_bootstrap_servers or running_stack(settings.data_dir) else "warn"
    mend = "check KAFKA_BOOTSTRAP_SERVERS" if settings.kafka_bootstrap_servers else "start it with `headrace up`"
    return Finding("Topics", level, why, mend)


def _differing(admin: AdminClient, settings: Settings) -> Finding:
    found = differences(
        admin,
        prefix=settings.topic_prefix,
        partitions=settings.partitions,
        replication=settings.replication,
        min_insync=settings.min_insync,
    )
    if not found:
        return Finding("Topics", "ok", f"all {len(TOPICS)} as defined, at {settings.bootstrap_servers}")
    return Finding("Topics", "warn", "; ".join(map(str, found)), mend(found[0]))


def mend(difference: Difference) -> str:
    if difference.setting == "partitions":
        return f"set HEADRACE_PARTITIONS={difference.found}: the partitions of a topic that holds records stay as many"
    if difference.setting == "replication":
        return f"set HEADRACE_REPLICATION={difference.found}, or change it with `headrace kafka reassign-partitions`"
    return (
        f"e.g. headrace kafka configs --alter --entity-type topics --entity-name {difference.topic} "
        f"--add-config {difference.setting}={difference.wanted}"
    )


def _port(name: str, server: str, port: int, variable: str, settings: Settings) -> Finding:
    if ports.is_free(port):
        return Finding(name, "ok", f"free for {server}")
    holder = ports.holder_of(port)
    if holder is None:
        return Finding(
            name, "fail", f"{server}'s port is taken by another user's process", f"set {variable} to another"
        )
    if ports.environment_of(holder.pid).get(OWNER_VARIABLE) == str(settings.data_dir.resolve()):
        return Finding(name, "ok", f"our {server}, process {holder.pid}")
    return Finding(
        name, "fail", f"{server}'s port is taken by process {holder.pid} ({holder.command})",
        f"stop that process, or set {variable} to another port",
    )  # fmt: skip


def _existing(path: Path) -> Path:
    """The path or its nearest parent that is there."""
    return next(each for each in (path, *path.parents) if each.exists())
