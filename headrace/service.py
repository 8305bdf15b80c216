"""How every service runs: settings from the environment, logs, SIGTERM and SIGINT as a polite request to stop."""

import asyncio
import datetime
import logging
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from headrace import tracing
from headrace.kafka.connection import mend_connections
from headrace.settings import InvalidSetting, Settings
from schemas.codec import instant

log = logging.getLogger(__name__)

Main = Callable[[Settings, asyncio.Event], Awaitable[None]]

QUIET_S = 5.0
"""A client library's message is repeated at most this often: aiokafka logs thousands a second while Kafka is away."""
SERVICE = Path(sys.argv[0]).parent.name
"""`producer`, `consumer` or `control`, by how it was started: `python -m SERVICE`."""
_OF_JOB = re.compile(r"job ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b")
_OF_RECORD = re.compile(r"([\w.-]+) (\d+)/(\d+) ")


def worker_name(service: str) -> str:
    """Names this process in events, e.g. `producer/host-4711`."""
    return f"{service}/{socket.gethostname()}-{os.getpid()}"


class Quiet(logging.Filter):
    """Lets one message of a client library through every `QUIET_S` seconds; our own are never held back."""

    def __init__(self, *loggers: str) -> None:
        super().__init__()
        self._loggers = loggers
        self._last: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(self._loggers):
            return True
        # a message may be any object: the Weaviate client logs dicts, which have no hash
        key, now = (record.name, str(record.msg)), time.monotonic()
        if now - self._last.get(key, -QUIET_S) < QUIET_S:
            return False
        self._last[key] = now
        return True


class JsonLines(logging.Formatter):
    """One object a line: `time, level, service, logger, message`, and what the message begins with: `job_id`, or a
    record's `topic, partition, offset`. `exception` is a traceback; `trace_id, span_id` where it belongs to a trace."""

    def format(self, record: logging.LogRecord) -> str:
        message = _sound(record.getMessage())
        line: dict[str, Any] = {
            "time": instant(datetime.datetime.fromtimestamp(record.created, datetime.UTC)),
            "level": record.levelname,
            "service": SERVICE,
            "logger": record.name,
            "message": message,
        }
        if job := _OF_JOB.match(message):
            line["job_id"] = job[1]
        elif place := _OF_RECORD.match(message):
            line |= {"topic": place[1], "partition": int(place[2]), "offset": int(place[3])}
        if record.exc_info:
            line["exception"] = _sound(self.formatException(record.exc_info))
        line |= tracing.ids()
        return msgspec.json.encode(line).decode()


class Lines(logging.Formatter):
    """A message begins a line, and nothing else does: what it tells of others can look like no message of ours."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return _CONTROL.sub(_shown, super().format(record))


_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
"""All that moves a terminal's cursor but the tab."""


def _shown(control: re.Match[str]) -> str:
    return "\n    " if control[0] == "\n" else control[0].encode("unicode_escape").decode()


def _sound(text: str) -> str:
    """Half a surrogate pair, which a page may hold, has no UTF-8."""
    return text.encode(errors="replace").decode()


def configure_logging(level: str, form: str = "TEXT") -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "JSON" else Lines())
    handler.addFilter(Quiet("aiokafka", "librdkafka", "faust", "mode", "httpx", "weaviate", "opentelemetry"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("aiokafka", "faust", "mode", "httpx", "httpx2", "httpcore", "openai", "weaviate", "aiohttp.access"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level)))


def run(main: Main) -> int:
    """Runs `main(settings, stop)` until it returns; `stop` is set on SIGTERM and SIGINT. The process's exit code."""
    try:
        settings = Settings.from_env()
    except InvalidSetting as exc:
        print(f"headrace: {exc}", file=sys.stderr)
        return 2
    configure_logging(settings.log_level, settings.log_format)
    try:
        tracing.configure(SERVICE)
    except InvalidSetting as exc:
        print(f"headrace: {exc}", file=sys.stderr)
        return 2

    async def serve() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await main(settings, stop)

    mend_connections()
    # uvloop for this loop only: as the process's policy it also runs Faust's own thread, which crashes at stop
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(serve())
        except InvalidSetting as exc:
            print(f"headrace: {exc}", file=sys.stderr)
            return 2
        except Exception:
            log.exception("ends because of an error")
            return 1
        finally:
            tracing.stop()
    return 0
