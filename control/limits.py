"""How often who may ask: a token bucket (RFC 2697's committed rate) for each caller."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

MAX_CALLERS = 10_000
"""Buckets kept, the latest used; one that is dropped begins full again."""


class Limits:
    """`rate`: calls a second in the long run. `burst`: at once, after a silence."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        """What is left, and when that was so."""

    def take(self, caller: Hashable, calls: float = 1.0) -> float | None:
        """None where the call may go on, else the seconds to wait; then nothing is taken."""
        now = self._clock()
        left, since = self._buckets.pop(caller, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._rate)
        wait_s = (calls - left) / self._rate
        self._buckets[caller] = (left - calls if wait_s <= 0 else left, now)
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
        return None if wait_s <= 0 else wait_s
