"""One process that is kept running: what a crash is, when it is started again, and when that is given up."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 30.0
STEADY_S = 120.0
"""Who ran so long before is steady: its next crash counts as the first."""
CRASH_LIMIT = 6
"""Crashes in a row before it stays down: 1 + 2 + 4 + 8 + 16 s of trying."""


class Restartable(Protocol):
    @property
    def pid(self) -> int | None:
        """None while it does not run."""

    def start(self) -> None:
        """Called while it does not run."""


@dataclass
class Watched:
    """`check` now and then."""

    name: str
    process: Restartable
    log_file: Path
    say: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    crashes: int = 0
    restarts: int = 0
    given_up: bool = False
    _started_at: float = field(init=False)
    _due_at: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._started_at = self.clock()

    def check(self) -> None:
        """Notices a crash, says so, and starts it again once its delay is over."""
        if self.given_up or self.process.pid is not None:
            return
        if self._due_at is None:
            self._crashed()
        elif self.clock() >= self._due_at:
            self._restart()

    def _crashed(self) -> None:
        now = self.clock()
        self.crashes = 1 if now - self._started_at >= STEADY_S else self.crashes + 1
        if self.crashes >= CRASH_LIMIT:
            self.given_up = True
            self.say(
                f"{self.name} ended {self.crashes} times in a row and stays down. Its log: {self.log_file}. "
                "Mend the cause, then `headrace down` and `headrace up`."
            )
            return
        delay_s = min(FIRST_DELAY_S * 2 ** (self.crashes - 1), LONGEST_DELAY_S)
        self._due_at = now + delay_s
        self.say(f"{self.name} ended unexpectedly; it is started again in {delay_s:.0f} s. Its log: {self.log_file}")

    def _restart(self) -> None:
        self._due_at = None
        self.restarts += 1
        self._started_at = self.clock()
        self.process.start()
        self.say(f"{self.name} is started again (process {self.process.pid})")
