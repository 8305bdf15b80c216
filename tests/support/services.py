"""The three services as child processes, each with a log of its own."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


class Service:
    """`python -m producer|consumer|control`; ended by pid, and killed at the end of a test whatever happened."""

    def __init__(self, name: str, environment: Mapping[str, str], directory: Path) -> None:
        self.name, self.environment = name, dict(environment)
        directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Service":
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.name],
                env=_clean(os.environ) | self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL, to the service and what it started."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    async def terminate(self, within_s: float = 30.0) -> int:
        """SIGTERM; the exit code. Fakes on this loop go on answering: a stop waits for calls that it has made."""
        assert self.process is not None
        self.process.terminate()
        return await asyncio.to_thread(self.process.wait, within_s)

    def suspend(self) -> None:
        """SIGSTOP, to the service and what it started: it lives, and does nothing."""
        os.killpg(self.pid, signal.SIGSTOP)

    def wake(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def close(self) -> None:
        if self.alive:
            self.kill()

    def said(self) -> str:
        return self.log.read_text(errors="replace")


def _clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what the developer's shell says about Headrace and its servers."""
    ours = ("HEADRACE_", "KAFKA_", "WEAVIATE_", "OPENAI_")
    return {name: value for name, value in environment.items() if not name.startswith(ours)}
