"""What an API lets through: the requests and tokens a minute that its headers state, and as many calls at once as help.

Pure: times are monotonic seconds, given by the caller.
"""

import math
import re
import statistics
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

MINUTE_S: Final = 60.0
RESERVE: Final = 0.02
"""Share of a minute's allowance left unspent: what others use of it, and what is counted otherwise, shows late."""
LEARNT: Final = 0.2
"""Share of what answers show that the estimate of the next takes over."""
SURE: Final = 0.1
"""Answers that tell within such a share how the server counts are believed, and not asked again."""
MOST_COUNTED: Final = 3.0
"""Times what we count: more is not the server's way of counting, but somebody else's use of the account."""
APART_S: Final = 0.004
"""Between two calls to a server that states no limit: else all that start at once are refused at once."""
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 15.0
"""After a 429 that doesn't say how long to wait, doubling from one to the next; and of what one asks for: the answer
may change before, and one call tells."""
SEEN_S: Final = 10.0
"""Time over which the rate that a silent server accepts is measured."""
BACK_OFF: Final = 0.9
"""Of that rate, after a 429 that no header explains."""
CAREFUL: Final = 800
"""Answers after such a 429 during which the rate grows slowly: so fewer than one call in a hundred is refused."""
NEAR: Final = 0.85
"""Of the rate that was refused last: below it, growth is fast."""
SLOW_GROWTH: Final = 1.0002
FAST_GROWTH: Final = 1.01
SELDOM_S: Final = 3.0
"""Answers that come further apart count as several: else a low rate hardly ever grows."""
QUIET_S: Final = 180.0
"""So long after the last such 429 the rate grows by the clock, up to near where it was before the first of them: a
server that refused for want of its own strength, a while ago, has shown no limit."""
DOUBLED_S: Final = 15.0
"""In which it doubles then."""
REGAINED: Final = 0.8
"""Of the rate before; the rest is found as a limit is."""


@dataclass(frozen=True)
class Rates:
    """What an answer's headers say: per minute, what is left of it, and seconds until it is whole again."""

    requests: float | None = None
    tokens: float | None = None
    requests_left: float | None = None
    tokens_left: float | None = None
    requests_whole_s: float | None = None
    tokens_whole_s: float | None = None
    retry_after_s: float | None = None


def rates_of(headers: Mapping[str, str]) -> Rates:
    """`x-ratelimit-*` as OpenAI and its likes send them, and how long to wait; what can't be read is left out."""
    return Rates(
        requests=_number(headers.get("x-ratelimit-limit-requests")),
        tokens=_number(headers.get("x-ratelimit-limit-tokens")),
        requests_left=_number(headers.get("x-ratelimit-remaining-requests")),
        tokens_left=_number(headers.get("x-ratelimit-remaining-tokens")),
        requests_whole_s=_duration_s(headers.get("x-ratelimit-reset-requests")),
        tokens_whole_s=_duration_s(headers.get("x-ratelimit-reset-tokens")),
        retry_after_s=_retry_after_s(headers),
    )


_UNITS_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_PART = r"(\d+(?:\.\d+)?)(ms|s|m|h|d)"


def _duration_s(text: str | None) -> float | None:
    """Of `6m0s`, `120ms`, `1.5s`, or a bare number of seconds."""
    if text is None:
        return None
    if re.fullmatch(rf"(?:{_PART})+", text):
        return sum(float(number) * _UNITS_S[unit] for number, unit in re.findall(_PART, text))
    return _number(text)


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text else None
    except ValueError:
        return None
    return number if number is not None and math.isfinite(number) and number >= 0 else None


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds; an HTTP date (RFC 9110, 10.2.3) counts from now."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after") or ""
    seconds = _number(text)
    if seconds is not None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


@dataclass(frozen=True)
class _Look:
    """What was left as the server looked, at some time from `started` to `answered`; what was taken by then, in our
    count, is from `least` to `most`."""

    started: float
    answered: float
    left: float
    least: float
    most: float


class Bucket:
    """One stated limit. What was taken flows in again evenly; or, where the server counts by windows, at once.

    An answer tells the level at some time since its call was started: what is under way then is subtracted from it.
    What the server counts for what we count as 1 is learnt from answers: some estimate tokens by letters.
    """

    def __init__(self) -> None:
        self.per_minute: float | None = None
        self._level, self._at, self._counts = 0.0, 0.0, 1.0
        self._taken, self._under_way = 0.0, 0.0
        self._newest = -math.inf
        self._base: _Look | None = None
        self._window_ends: float | None = None
        self._windows = 0

    def level(self, now: float) -> float:
        if self.per_minute is None:
            return math.inf
        if self._window_ends is None:
            return min(self.per_minute, self._level + (now - self._at) * self.per_minute / MINUTE_S)
        return self._level if now < self._window_ends else max(self._level, self.per_minute)

    def wait_s(self, now: float, amount: float) -> float:
        if self.per_minute is None:
            return 0.0
        wanted = min(amount * self._counts + RESERVE * self.per_minute, self.per_minute)
        lacking = wanted - self.level(now)
        if lacking <= 0:
            return 0.0
        return lacking * MINUTE_S / self.per_minute if self._window_ends is None else self._window_ends - now

    def take(self, now: float, amount: float) -> None:
        """For a call that starts; `ended` follows, and `told` where headers came."""
        if self.per_minute is not None:
            self._level, self._at = self.level(now) - amount * self._counts, now
            if self._window_ends is not None and now >= self._window_ends:
                self._window_ends = now + MINUTE_S
        self._taken += amount
        self._under_way += amount

    def ended(self, amount: float, *, counted: bool | None) -> None:
        """Whether the server counted the call; None where nobody knows."""
        self._under_way -= amount
        if not counted:
            self._taken -= amount
        if counted is None:
            self._base = None

    def told(
        self, now: float, started: float, per_minute: float | None, left: float | None, whole_s: float | None,
        *, refused: bool,
    ) -> None:  # fmt: skip
        """What the answer at `now` says, once its own call has ended."""
        if not per_minute or left is None or started < self._newest:
            return
        self._newest = started
        if per_minute != self.per_minute:
            self.per_minute, self._base = per_minute, None
        self._window_ends = now + whole_s if whole_s is not None and self._by_windows(left, whole_s) else None
        if self._window_ends is None:
            self._learn(_Look(started, now, left, self._taken - self._under_way, self._taken))
        # What flowed in since is left out: nobody knows when, between start and answer, the server looked. A refusal
        # comes at once, so what is still under way was counted before; and the call that follows it goes alone.
        not_counted = 0.0 if refused else self._under_way * self._counts
        self._level, self._at = min(per_minute, left - not_counted), now

    def _learn(self, look: _Look) -> None:
        """Between two looks, the server counted so much at least and at most for what was taken in between.

        The further apart they are, the less it matters when it looked. An estimate that fits is not touched.
        """
        assert self.per_minute
        base, self._base = self._base, self._base or look
        if base is None or look.least <= base.most:
            return
        flow, used = self.per_minute / MINUTE_S, base.left - look.left
        least = used + min(flow * max(0.0, look.started - base.answered), self.per_minute - base.left)
        most = used + flow * (look.answered - base.started)
        if most <= 0:
            self._base = look
            return
        least, most = least / (look.most - base.least), most / (look.least - base.most)
        shown = (least + most) / 2 if self._counts < least else min(self._counts, most)
        self._counts += LEARNT * (min(MOST_COUNTED, max(1 / MOST_COUNTED, shown)) - self._counts)
        if most < (1 + SURE) * least:
            self._base = look

    def _by_windows(self, left: float, whole_s: float) -> bool:
        """What flows in evenly is whole again in proportion to what is missing; a window ends when it ends.

        Both may say the same by chance, so several answers decide.
        """
        assert self.per_minute
        evenly_s = (self.per_minute - left) * MINUTE_S / self.per_minute
        apart_s = abs(whole_s - evenly_s)
        if evenly_s > 0.8 * MINUTE_S:
            return self._windows > 0  # a window that has just begun and is used up looks the same
        if whole_s > MINUTE_S or apart_s < 0.5 + 0.02 * evenly_s:
            self._windows = max(-3, self._windows - 1)
        elif apart_s > 2 + 0.2 * evenly_s:
            self._windows = min(3, self._windows + 1)
        return self._windows > 0


class Concurrency:
    """As many calls at once as a server answers without slowing down: additive increase, multiplicative decrease.

    Judged on latency, as TCP Vegas does, in rounds of as many answers as there are places, each by its median, among
    rounds of calls of like size: a large call takes longer. Doubles until a round is slower than the best ones.
    """

    LEAST_IN_ROUND: Final = 4
    REMEMBERED_ROUNDS: Final = 50
    NEAR_BEST: Final = 1.5
    RISEN: Final = 2.0
    """Times the best round: up to the one there is room for more, beyond the other there are too many."""
    SLACK_S: Final = 0.1
    """On top of both: below it, latency tells of this machine's own load."""

    def __init__(self, first: int, most: int) -> None:
        self.limit, self._most, self._doubling = min(first, most), most, True
        self._best: dict[int, deque[float]] = {}
        self._before: tuple[int, float] | None = None
        self._begin(-math.inf)

    def answered(self, started: float, ended: float, tokens: float, *, full: bool) -> None:
        """`full`: no place was free, so more could have been used."""
        if started < self._changed_at:
            return  # it tells of the limit before
        self._latencies.append(ended - started)
        self._tokens += tokens
        self._full |= full
        if len(self._latencies) >= max(self.limit, self.LEAST_IN_ROUND):
            self._judge(statistics.median(self._latencies), self._tokens / len(self._latencies), ended)

    def overloaded(self, started: float, ended: float) -> None:
        """A refusal, or no answer in time. Several of one moment count once."""
        if started >= self._changed_at:
            self._doubling, self._before = False, None
            self._set(self.limit // 2, ended)

    def _judge(self, median_s: float, tokens: float, now: float) -> None:
        rounds = self._best.setdefault(int(math.log2(max(1.0, tokens))), deque(maxlen=self.REMEMBERED_ROUNDS))
        if self._before is not None:
            self._probed(rounds, median_s, now)
            return
        rounds.append(median_s)
        best = min(rounds)
        if len(rounds) == self.REMEMBERED_ROUNDS and rounds[0] == best and self.limit > 1:
            self._before = (self.limit, median_s)
            self._set(self.limit // 2, now)
        elif median_s > self.RISEN * best + self.SLACK_S:
            self._doubling = False
            self._set(int(self.limit * 0.75), now)
        elif self._full and median_s <= self.NEAR_BEST * best + self.SLACK_S:
            self._set(self.limit + (self.limit if self._doubling else max(1, self.limit // 8)), now)
        else:
            self._doubling &= not self._full
            self._begin(self._changed_at)

    def _probed(self, rounds: deque[float], median_s: float, now: float) -> None:
        """The best round is about to be forgotten: one with half the places tells whether the server is at its best."""
        assert self._before is not None
        (limit, before_s), self._before = self._before, None
        rounds.clear()
        rounds.append(median_s)
        self._set(limit if before_s <= self.RISEN * median_s + self.SLACK_S else self.limit, now)

    def _set(self, limit: int, now: float) -> None:
        self.limit = max(1, min(self._most, limit))
        self._begin(now)

    def _begin(self, changed_at: float) -> None:
        self._changed_at = changed_at
        self._latencies: list[float] = []
        self._tokens, self._full = 0.0, False


class Pace:
    """Tokens a second to a server that refuses without saying what it takes; off until it does.

    `_too_fast`: the rate that was refused last. `_once`: the one that was taken for long before it was.
    """

    def __init__(self) -> None:
        self.per_s: float | None = None
        self._next_at, self._refused_at, self._answers = 0.0, -math.inf, 0.0
        self._too_fast, self._once = math.inf, 0.0
        self._answered_at = -math.inf
        self._accepted: deque[tuple[float, float]] = deque()

    def wait_s(self, now: float) -> float:
        return max(0.0, self._next_at - now) if self.per_s is not None else 0.0

    def take(self, now: float, tokens: float) -> None:
        if self.per_s is not None:
            self._next_at = max(now, self._next_at) + tokens / self.per_s

    def answered(self, now: float, tokens: float) -> None:
        self._accepted.append((now, tokens))
        self._forget(now)
        if self.per_s is not None:
            near, answers = self.per_s > NEAR * self._too_fast, max(1.0, (now - self._answered_at) / SELDOM_S)
            self._answers += near * answers
            self.per_s *= (SLOW_GROWTH if near and self._answers <= CAREFUL else FAST_GROWTH) ** min(20.0, answers)
            self._regain(now)
        self._answered_at = now

    def _regain(self, now: float) -> None:
        """By the time between two answers: they may be a minute apart."""
        assert self.per_s is not None
        if self.per_s < REGAINED * self._once:
            quiet_s = max(0.0, now - max(self._answered_at, self._refused_at + QUIET_S))
            self.per_s = min(REGAINED * self._once, self.per_s * 2 ** min(1.0, quiet_s / DOUBLED_S))

    def refused(self, started: float, now: float, tokens: float) -> None:
        """Several refusals of one moment count once. A call of so many tokens passes within a minute, or never."""
        if started < self._refused_at:
            return
        self._forget(now)
        self._too_fast = math.inf if self.per_s is None else self.per_s
        seen = self._seen(now)
        slowest = min(seen, self._too_fast)
        if now - self._refused_at > QUIET_S:
            self._once = max(self._once / 2, slowest if math.isfinite(slowest) and self._lasted(now) else 0.0)
        if math.isfinite(slowest):
            self.per_s = max(BACK_OFF * slowest, tokens / MINUTE_S)
        self._refused_at, self._answers = now, 0.0

    def _lasted(self, now: float) -> bool:
        """What was accepted is more than a burst that a full allowance lets through."""
        return bool(self._accepted) and now - self._accepted[0][0] > SEEN_S / 2

    def _seen(self, now: float) -> float:
        """Tokens a second that were accepted since the last refusal; infinite where none were."""
        accepted = sum(tokens for at, tokens in self._accepted if at > self._refused_at)
        if not accepted:
            return math.inf
        return accepted / max(1.0, now - max(self._accepted[0][0], now - SEEN_S, self._refused_at))

    def _forget(self, now: float) -> None:
        while self._accepted and self._accepted[0][0] < now - SEEN_S:
            self._accepted.popleft()


@dataclass(frozen=True)
class Ticket:
    """A call that was let through."""

    started: float
    amount: float


class Limiter:
    """Of one account and model at one server: `wait_s`, `start`, then `answered`, `refused`, `failed` or `dropped`.

    `first` calls at once to begin with, `most` ever.
    """

    def __init__(self, first: int = 4, most: int = 64) -> None:
        self.requests, self.tokens, self.pace = Bucket(), Bucket(), Pace()
        self.concurrency = Concurrency(first, most)
        self.in_flight, self._any_answer = 0, False
        self._paused_until, self._refusals, self._refused_at = 0.0, 0, -math.inf
        self._started_at = -math.inf

    def wait_s(self, now: float, tokens: float) -> float:
        """Until a call of so many tokens may start; infinite where an answer must come first.

        The very first call goes alone, since its answer may state limits.
        """
        if self.in_flight >= (self.concurrency.limit if self._any_answer else 1):
            return math.inf
        return max(
            self._paused_until - now,
            self._started_at + APART_S - now if self._silent else 0.0,
            self.requests.wait_s(now, 1),
            self.tokens.wait_s(now, tokens),
            self.pace.wait_s(now),
        )

    def start(self, now: float, tokens: float) -> Ticket:
        self.in_flight += 1
        self._started_at = now
        self.pace.take(now, tokens)
        self.requests.take(now, 1)
        self.tokens.take(now, tokens)
        return Ticket(now, tokens)

    def answered(self, ticket: Ticket, now: float, rates: Rates) -> None:
        full = self.in_flight >= self.concurrency.limit
        self._ended(ticket, counted=True)
        self._told(ticket, now, rates, refused=False)
        self._refusals = 0
        self.pace.answered(now, ticket.amount)
        self.concurrency.answered(ticket.started, now, ticket.amount, full=full)

    def refused(self, ticket: Ticket, now: float, rates: Rates) -> None:
        """429: nothing starts for as long as was asked for; then one call alone, until one is answered."""
        self._ended(ticket, counted=False)
        self._told(ticket, now, rates, refused=True)
        if ticket.started >= self._refused_at:
            self._refused_at, self._refusals = now, self._refusals + 1
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(10, self._refusals - 1))
        asked_s = rates.retry_after_s
        asked_s = pause_s if asked_s is None else min(LONGEST_PAUSE_S, asked_s)
        self._paused_until, self._any_answer = max(self._paused_until, now + asked_s), False
        if self.requests.level(now) < 1 or self.tokens.level(now) < ticket.amount:
            return  # explained: the limit is known now
        self.pace.refused(ticket.started, now, ticket.amount)
        self.concurrency.overloaded(ticket.started, now)

    def failed(self, ticket: Ticket, now: float) -> None:
        """No answer in time, or an error of the server's: it may be overloaded."""
        self._any_answer = True
        self._ended(ticket, counted=None)
        self.concurrency.overloaded(ticket.started, now)

    def dropped(self, ticket: Ticket) -> None:
        """It was not made after all, or what became of it tells nothing of the limits."""
        self._ended(ticket, counted=None)

    @property
    def _silent(self) -> bool:
        return self.requests.per_minute is None and self.tokens.per_minute is None

    def pause_s(self, now: float) -> float:
        """For which nothing starts, as a refusal asked for."""
        return max(0.0, self._paused_until - now)

    def scarce_requests(self, now: float) -> bool:
        """Calls should be as large as they can: less than half of a minute's requests is left."""
        limit = self.requests.per_minute
        return limit is not None and self.requests.level(now) < limit / 2

    def much_for_a_minute(self, tokens: float) -> bool:
        """A call that the allowance of a whole minute may not let through, however the server counts."""
        limit = self.tokens.per_minute
        return limit is not None and tokens > limit / 2

    def second_of_tokens(self) -> float:
        """What flows in within a second: larger calls keep other jobs waiting. Infinite where no limit is known."""
        limit = self.tokens.per_minute
        return math.inf if limit is None else limit / MINUTE_S

    def _ended(self, ticket: Ticket, *, counted: bool | None) -> None:
        self.in_flight -= 1
        self.requests.ended(1, counted=counted)
        self.tokens.ended(ticket.amount, counted=counted)

    def _told(self, ticket: Ticket, now: float, rates: Rates, *, refused: bool) -> None:
        self._any_answer, at = True, ticket.started
        self.requests.told(now, at, rates.requests, rates.requests_left, rates.requests_whole_s, refused=refused)
        self.tokens.told(now, at, rates.tokens, rates.tokens_left, rates.tokens_whole_s, refused=refused)
