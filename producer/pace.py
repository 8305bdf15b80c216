"""How many requests at once one host takes without slowing down: additive increase, multiplicative decrease.

As TCP Vegas does it, on latency: answers are judged in rounds of about as many as there are places, each round by its
median, so that one slow page proves nothing. The best round of the last ones is what the host can do unburdened.
"""

import statistics
from collections import deque
from typing import Final

FIRST_LIMIT: Final = 2
LEAST_IN_ROUND: Final = 4
REMEMBERED_ROUNDS: Final = 50
"""At least 200 answers: a host that has become slower for good is judged by what it does now after that."""
NEAR_BEST: Final = 1.5
RISEN: Final = 2.0
"""Times the best round: up to the one there is room for more, beyond the other there are too many."""
SLACK_MS: Final = 100.0
"""On top of both: below it, latency tells of this machine's own load and not of the host's."""
LATENCY_FACTOR: Final = 0.75
OVERLOAD_FACTOR: Final = 0.5


class Pace:
    """`limit` requests at once. Pure; times are monotonic seconds."""

    def __init__(self) -> None:
        self.limit = FIRST_LIMIT
        self._round: list[float] = []
        self._full = False
        self._medians: deque[float] = deque(maxlen=REMEMBERED_ROUNDS)
        self._shrunk_at = float("-inf")

    def answered(self, started: float, ended: float, *, most: int, full: bool) -> None:
        """One answer. `most`: what the limit may grow to; `full`: no place was free, so more could have been used."""
        if started < self._shrunk_at:
            return  # it tells of the limit before
        self._round.append((ended - started) * 1e3)
        self._full |= full
        if len(self._round) < max(self.limit, LEAST_IN_ROUND):
            return
        median = statistics.median(self._round)
        self._medians.append(median)
        best = min(self._medians)
        if median > RISEN * best + SLACK_MS:
            self._shrink(LATENCY_FACTOR, ended)
        elif self._full and median <= NEAR_BEST * best + SLACK_MS:
            self.limit = min(self.limit + 1, most)
        self._round, self._full = [], False

    def overloaded(self, started: float, ended: float) -> None:
        """A refusal (429, 503) or no answer in time. Several of one moment count once."""
        if started >= self._shrunk_at:
            self._shrink(OVERLOAD_FACTOR, ended)

    def _shrink(self, factor: float, now: float) -> None:
        self.limit = max(1, int(self.limit * factor))
        self._shrunk_at = now
        self._round, self._full = [], False
