"""Settings from the environment; `SETTINGS` is their one list, shown by `headrace settings`."""

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import headrace
from headrace.kafka.servers import MECHANISMS, PROTOCOLS, Security, Servers
from headrace.prices import AS_OF, Overrides, parse_prices
from headrace.secret import Secret, fit_for_header
from schemas.kb import ENDPOINT

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PRODUCT_TOKEN = "Headrace"
"""What a robots.txt names this crawler by (RFC 9309, 2.2.1); the User-Agent has it within."""
MAX_COUNT = 1_000_000
"""Of anything that is counted in a setting: more is a slip."""
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_CONTACT = re.compile(r"https?://[^\s/]+|[^\s@]+@[^\s@]+\.[^\s@]+")


class InvalidSetting(ValueError):
    """An environment variable holds what it can't; the message names it."""


def _setting(env: str, default: Any, parse: Callable[[str], Any], says: str) -> Any:
    return field(default=default, metadata={"env": env, "parse": parse, "says": says})


def _flag(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off", ""):
        return False
    raise ValueError("write true or false")


def _user_agent(text: str) -> str:
    if not text.isascii() or not text.isprintable():
        raise ValueError("a header holds printable ASCII")
    if PRODUCT_TOKEN.lower() not in text.lower():
        raise ValueError(f"it must name {PRODUCT_TOKEN}, by which robots.txt files address this crawler")
    return text


def _one_of(words: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.upper() not in words:
            raise ValueError(f"write one of {', '.join(words)}")
        return text.upper()

    return parse


def _whole(text: str, low: int, high: int) -> int:
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise ValueError(f"write a whole number from {low} to {high:,}")
    return int(text)


def _count(text: str) -> int:
    return _whole(text, 1, MAX_COUNT)


def _count_or_none(text: str) -> int:
    return _whole(text, 0, MAX_COUNT)


def _port(text: str) -> int:
    return _whole(text, 1, 65_535)


def _seconds(text: str) -> float:
    seconds = float(text) if re.fullmatch(r"[0-9]*\.?[0-9]+", text) else 0.0
    if not 0 < seconds <= MAX_COUNT:
        raise ValueError("write a number of seconds above 0")
    return seconds


def _level(text: str) -> str:
    if text.upper() not in LEVELS:
        raise ValueError(f"write {', '.join(LEVELS)}")
    return text.upper()


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _server(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("write a URL that begins with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("no credentials in a URL: keys have variables of their own")
    return text


def _named(text: str, form: str) -> list[tuple[str, str]]:
    """Messages never hold what stands behind a name: it may be a key."""
    pairs = [word.partition("=") for word in text.split()]
    names = [name for name, _, _ in pairs]
    for name, _, value in pairs:
        if not ENDPOINT.fullmatch(name) or not value:
            raise ValueError(f"write {form}, separated by spaces; a name has up to 32 of a-z, 0-9 and -")
        if names.count(name) > 1:
            raise ValueError(f"{name} is named twice")
    return [(name, value) for name, _, value in pairs]


def _servers(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, _server(url)) for name, url in _named(text, "name=URL"))


def _digest(text: str) -> tuple[tuple[str, str], ...]:
    token_id, _, sha256 = text.partition("=")
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError("write id=sha256, or leave it to `headrace up`")
    return ((token_id, sha256),)


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(word) for word in text.split())
    except ValueError as exc:
        raise ValueError(f"{exc}; write addresses or ranges such as 10.0.0.5 172.16.0.0/12") from exc


def _keys(text: str) -> tuple[tuple[str, Secret], ...]:
    return tuple((name, Secret.in_header(key)) for name, key in _named(text, "name=key"))


@dataclass(frozen=True)
class Settings:
    """One field per variable. Read with `Settings.from_env()`."""

    kafka_bootstrap_servers: str | None = _setting(
        "KAFKA_BOOTSTRAP_SERVERS", None, str, "Kafka that is there already; the embedded one stays off"
    )
    kafka_security_protocol: str = _setting(
        "KAFKA_SECURITY_PROTOCOL",
        "PLAINTEXT",
        _one_of(PROTOCOLS),
        f"how that Kafka is spoken to: {', '.join(PROTOCOLS)}",
    )
    kafka_sasl_mechanism: str = _setting(
        "KAFKA_SASL_MECHANISM", "PLAIN", _one_of(MECHANISMS), f"how it is signed in to: {', '.join(MECHANISMS)}"
    )
    kafka_sasl_username: str | None = _setting("KAFKA_SASL_USERNAME", None, str, "as whom")
    kafka_sasl_password: Secret | None = _setting("KAFKA_SASL_PASSWORD", None, Secret, "and with which password")
    kafka_ssl_cafile: Path | None = _setting(
        "KAFKA_SSL_CAFILE", None, _path, "PEM file of who signed its certificates; the system's authorities without it"
    )
    kafka_ssl_certfile: Path | None = _setting(
        "KAFKA_SSL_CERTFILE", None, _path, "PEM file of our own certificate, where brokers ask for one"
    )
    kafka_ssl_keyfile: Path | None = _setting("KAFKA_SSL_KEYFILE", None, _path, "and of its key")
    kafka_ssl_key_password: Secret | None = _setting("KAFKA_SSL_KEY_PASSWORD", None, Secret, "and that key's password")
    weaviate_url: str | None = _setting(
        "WEAVIATE_URL",
        None,
        _server,
        "Weaviate that is there already, e.g. http://127.0.0.1:8080; the embedded one stays off",
    )
    weaviate_grpc_port: int = _setting(
        "HEADRACE_WEAVIATE_GRPC_PORT", 50051, _port, "gRPC port of Weaviate, embedded or at WEAVIATE_URL's host"
    )
    weaviate_api_key: Secret | None = _setting("WEAVIATE_API_KEY", None, Secret.in_header, "key of that Weaviate")
    openai_api_key: Secret | None = _setting(
        "OPENAI_API_KEY", None, Secret.in_header, "with it, OpenAI embeds unless a knowledge base says otherwise"
    )
    openai_base_url: str | None = _setting("OPENAI_BASE_URL", None, _server, "a server that speaks OpenAI's API")
    openai_organization: str | None = _setting(
        "OPENAI_ORG_ID", None, fit_for_header, "organisation that OpenAI's calls count for"
    )
    openai_project: str | None = _setting(
        "OPENAI_PROJECT_ID", None, fit_for_header, "project that OpenAI's calls count for"
    )
    azure_openai_endpoint: str | None = _setting(
        "AZURE_OPENAI_ENDPOINT", None, _server, "Azure resource of OpenAI's models; embedding.model names a deployment"
    )
    azure_openai_api_key: Secret | None = _setting(
        "AZURE_OPENAI_API_KEY", None, Secret.in_header, "key of that resource"
    )
    openai_api_version: str = _setting("OPENAI_API_VERSION", "2024-10-21", str, "version of Azure's API")
    embedding_endpoints: tuple[tuple[str, str], ...] = _setting(
        "HEADRACE_EMBEDDING_ENDPOINTS", (), _servers,
        "servers that speak OpenAI's API, for embedding.endpoint: name=base URL, separated by spaces",
    )  # fmt: skip
    embedding_keys: tuple[tuple[str, Secret], ...] = _setting(
        "HEADRACE_EMBEDDING_KEYS", (), _keys, "their keys, where they ask for one: name=key, separated by spaces"
    )
    data_dir: Path = _setting(
        "HEADRACE_DATA_DIR", Path("~/.local/share/headrace").expanduser(), _path,
        "logs, the projection, the embedded servers' data, and what a crawl spills to disk",
    )  # fmt: skip
    cache_dir: Path = _setting(
        "HEADRACE_CACHE_DIR", Path("~/.cache/headrace").expanduser(), _path, "downloaded and built servers and models"
    )
    kafka_port: int = _setting("HEADRACE_KAFKA_PORT", 9092, _port, "port of the embedded Kafka")
    weaviate_port: int = _setting("HEADRACE_WEAVIATE_PORT", 8080, _port, "HTTP port of the embedded Weaviate")
    topic_prefix: str = _setting("HEADRACE_TOPIC_PREFIX", "headrace.", str, "before the name of every topic and group")
    partitions: int = _setting("HEADRACE_PARTITIONS", 6, _count, "partitions of each topic, when topics are created")
    replication: int = _setting("HEADRACE_REPLICATION", 1, _count, "replicas of each topic, when topics are created")
    min_insync_replicas: int | None = _setting(
        "HEADRACE_MIN_INSYNC_REPLICAS", None, _count,
        "how many of them must have a record before it counts as written; without it 2 of 3, 3 of 4 or 5, 1 of fewer",
    )  # fmt: skip
    http_host: str = _setting("HEADRACE_HTTP_HOST", "127.0.0.1", str, "address that control listens on")
    http_port: int = _setting("HEADRACE_HTTP_PORT", 8000, _port, "port that control listens on")
    http_trusted_network: bool = _setting(
        "HEADRACE_HTTP_TRUSTED_NETWORK", False, _flag,
        "listen beyond loopback without API tokens: only where something else keeps strangers out",
    )  # fmt: skip
    http_rate: int = _setting(
        "HEADRACE_HTTP_RATE",
        100,
        _count_or_none,
        "requests a second that each API token may make, twice as many at once; 0: any",
    )
    http_proxies: tuple[Network, ...] = _setting(
        "HEADRACE_HTTP_PROXIES", (), _networks,
        "addresses or ranges of proxies before control, separated by spaces: their X-Forwarded-For is believed",
    )  # fmt: skip
    tokens_file: Path | None = _setting(
        "HEADRACE_TOKENS_FILE", None, _path,
        "API tokens that control asks for, edited by `headrace token`; tokens.json in the data directory without it",
    )  # fmt: skip
    webhooks_file: Path | None = _setting(
        "HEADRACE_WEBHOOKS_FILE", None, _path,
        "who is told of changes of jobs, edited by `headrace webhook`; webhooks.json in the data directory without it",
    )  # fmt: skip
    token: Secret | None = _setting(
        "HEADRACE_TOKEN", None, Secret.in_header, "API token that the command line shows to control"
    )
    stack_token: tuple[tuple[str, str], ...] = _setting(
        "HEADRACE_STACK_TOKEN", (), _digest, "set by `headrace up` for control: by what it knows who stops it"
    )
    consumer_health_port: int | None = _setting(
        "HEADRACE_CONSUMER_HEALTH_PORT",
        None,
        _port,
        "port of the consumer's /healthz and /metrics; off without it",
    )
    producer_health_port: int | None = _setting(
        "HEADRACE_PRODUCER_HEALTH_PORT",
        None,
        _port,
        "port of the producer's /healthz and /metrics; off without it",
    )
    health_host: str = _setting(
        "HEADRACE_HEALTH_HOST", "127.0.0.1", str,
        "address of both; no token is asked for there: beyond loopback only where none but your own come",
    )  # fmt: skip
    user_agent: str = _setting(
        "HEADRACE_USER_AGENT", f"Headrace/{headrace.__version__} (no contact given)", _user_agent,
        "User-Agent of the crawler; give a contact, such as Headrace/0.1 (+https://example.org/bot; me@example.org)",
    )  # fmt: skip
    requests_in_flight: int = _setting(
        "HEADRACE_REQUESTS_IN_FLIGHT", 64, _count, "most requests to web sites at once, of all jobs of a producer"
    )
    content_processes: int = _setting(
        "HEADRACE_CONTENT_PROCESSES",
        max(1, min(8, os.cpu_count() or 1)),
        _count,
        "processes that extract and chunk pages",
    )
    embed_batch: int = _setting("HEADRACE_EMBED_BATCH", 256, _count, "most records in one batch of the consumer")
    embed_window: int = _setting("HEADRACE_EMBED_WINDOW", 8, _count, "batches embedded side by side")
    prices: Overrides = _setting(
        "HEADRACE_PRICES", (), parse_prices,
        "dollars per million tokens of other models, servers or contracts, such as bge-m3=0.01,text-embedding-3-small="
        f"0.018; over OpenAI's list prices as of {AS_OF}",
    )  # fmt: skip
    session_s: float = _setting(
        "HEADRACE_SESSION_S", 10.0, _seconds,
        "how long a producer or consumer may be silent before others take over what it owns",
    )  # fmt: skip
    pause_on_stop: bool = _setting(
        "HEADRACE_PAUSE_ON_STOP",
        False,
        _flag,
        "control pauses running jobs when it is asked to stop (one-machine stacks)",
    )
    log_level: str = _setting("HEADRACE_LOG_LEVEL", "INFO", _level, "DEBUG, INFO, WARNING or ERROR")
    log_format: str = _setting(
        "HEADRACE_LOG_FORMAT", "TEXT", _one_of(("TEXT", "JSON")), "TEXT, or JSON: one object a line, with job ids"
    )

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> "Settings":
        """Raises InvalidSetting. A variable that is set but empty counts as not set; space around a value, such as
        the line break at the end of a key's file, is none of it."""
        settings, wrong = cls.as_far_as_they_fit(env)
        for variable, says in wrong.items():
            raise InvalidSetting(f"{variable} does not fit: {says}")
        if misfit := settings.misfit():
            raise InvalidSetting(misfit)
        return settings

    @classmethod
    def as_far_as_they_fit(cls, env: Mapping[str, str] = os.environ) -> tuple["Settings", dict[str, str]]:
        """And by variable what is wrong with those that don't, which are as if they weren't set."""
        values: dict[str, Any] = {}
        wrong: dict[str, str] = {}
        for each in fields(cls):
            text = env.get(each.metadata["env"], "").strip()
            if text:
                try:
                    values[each.name] = each.metadata["parse"](text)
                except ValueError as exc:
                    wrong[each.metadata["env"]] = str(exc)
        return cls(**values), wrong

    def misfit(self) -> str | None:
        """Why they can't go together."""
        security = self.bootstrap_servers.security
        if security.protocol != "PLAINTEXT" and self.kafka_bootstrap_servers is None:
            return "KAFKA_SECURITY_PROTOCOL goes with KAFKA_BOOTSTRAP_SERVERS: the embedded Kafka is plain"
        if self.replication > 1 and self.kafka_bootstrap_servers is None:
            return "HEADRACE_REPLICATION goes with KAFKA_BOOTSTRAP_SERVERS: the embedded Kafka is one broker"
        if self.min_insync > self.replication:
            return (
                f"HEADRACE_MIN_INSYNC_REPLICAS={self.min_insync} can't be reached by "
                f"HEADRACE_REPLICATION={self.replication}: nothing could be written"
            )
        return security.misfit()

    @property
    def openai_available(self) -> bool:
        """Whether a definition that names no provider is embedded by OpenAI's models."""
        return self.openai_api_key is not None or self.azure_openai_endpoint is not None

    @property
    def has_contact(self) -> bool:
        """Whether the User-Agent says where the operator can be reached: a URL or a mail address."""
        return _CONTACT.search(self.user_agent) is not None

    @property
    def example_user_agent(self) -> str:
        """One with a contact, to be filled in."""
        return f"{PRODUCT_TOKEN}/{headrace.__version__} (+https://example.org/bot; you@example.org)"

    @property
    def bootstrap_servers(self) -> Servers:
        security = Security(
            protocol=self.kafka_security_protocol,
            mechanism=self.kafka_sasl_mechanism,
            username=self.kafka_sasl_username,
            password=self.kafka_sasl_password,
            ca_file=self.kafka_ssl_cafile,
            cert_file=self.kafka_ssl_certfile,
            key_file=self.kafka_ssl_keyfile,
            key_password=self.kafka_ssl_key_password,
        )
        return Servers(self.kafka_bootstrap_servers or f"127.0.0.1:{self.kafka_port}", security)

    @property
    def min_insync(self) -> int:
        """With 3 replicas 2: any one broker may be lost without a record lost, and away without a write refused."""
        return self.min_insync_replicas or (1 if self.replication <= 2 else self.replication // 2 + 1)

    @property
    def weaviate(self) -> str:
        return self.weaviate_url or f"http://127.0.0.1:{self.weaviate_port}"

    @property
    def tokens(self) -> Path:
        return self.tokens_file or self.data_dir / "tokens.json"

    @property
    def webhooks(self) -> Path:
        return self.webhooks_file or self.data_dir / "webhooks.json"

    @property
    def spill_dir(self) -> Path:
        """For files without a name, which hold what memory is not to."""
        return self.data_dir / "spill"

    def topic(self, name: str) -> str:
        return self.topic_prefix + name

    @property
    def consumer_group(self) -> str:
        return self.topic_prefix + "consumer"

    @property
    def producer_group(self) -> str:
        return self.topic_prefix + "producer"
