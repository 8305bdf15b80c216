"""The limiter against a server that is a few lines of arithmetic: nothing here waits."""

import heapq
import math
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from headrace.embedding.limits import Limiter, Rates, Ticket, rates_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("6m0s", 360), ("120ms", 0.12), ("1.5s", 1.5), ("1h2m3s", 3723), ("17", 17), ("0s", 0), ("soon", None), ("", None),
     ("-1s", None), ("nan", None), ("5 s", None)],
)  # fmt: skip
def test_durations_are_read_as_they_are_printed(text: str, seconds: float | None) -> None:
    assert rates_of({"x-ratelimit-reset-tokens": text}).tokens_whole_s == seconds


def test_limits_are_read_and_what_is_no_number_is_left_out() -> None:
    rates = rates_of({"x-ratelimit-limit-requests": "3000", "x-ratelimit-remaining-requests": "2999",
                      "x-ratelimit-limit-tokens": "many"})  # fmt: skip
    assert (rates.requests, rates.requests_left, rates.tokens) == (3000, 2999, None)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "7", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "in a while"}, None),
        ({"retry-after": format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True)}, 0),
        ({}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert rates_of(headers).retry_after_s == seconds


def test_a_date_to_wait_for_counts_from_now() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    waits_s = rates_of({"retry-after": later}).retry_after_s
    assert waits_s is not None and 3_500 < waits_s <= 3_600


@dataclass
class Server:
    """Grants so much a minute: flowing in evenly, or anew each minute; `places`: calls it works at side by side.

    `charge`: what it counts for a token of ours. `silent`: without a word on its limits. `overloaded`: from when to
    when it refuses half of all calls, whatever the limits.
    """

    requests: float = math.inf
    tokens: float = math.inf
    windows: bool = False
    silent: bool = False
    charge: float = 1.0
    latency_s: float = 0.3
    places: float = math.inf
    overloaded: tuple[float, float] = (math.inf, math.inf)
    _drawn: random.Random = field(default_factory=lambda: random.Random(3))
    _at: float = 0.0
    _busy: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._left = [self.requests, self.tokens]

    def call(self, now: float, tokens: float) -> tuple[bool, float, Rates]:
        """Whether it is taken, when it is answered, and what the headers say."""
        if self.overloaded[0] <= now < self.overloaded[1] and self._drawn.random() < 0.5:
            return False, now + 0.02, Rates()
        self._refill(now)
        lacking = [1 - self._left[0], tokens * self.charge - self._left[1]]
        taken = max(lacking) <= 0
        if taken:
            self._left = [self._left[0] - 1, self._left[1] - tokens * self.charge]
        return taken, self._ends(now) if taken else now + 0.02, Rates() if self.silent else self._rates(now, lacking)

    def _refill(self, now: float) -> None:
        if not self.windows:
            grown = [(now - self._at) * each / 60 if each < math.inf else 0 for each in (self.requests, self.tokens)]
            limits = (self.requests, self.tokens)
            self._left = [min(limit, left + more) for limit, left, more in zip(limits, self._left, grown, strict=True)]
        elif now // 60 != self._at // 60:
            self._left = [self.requests, self.tokens]
        self._at = now

    def _rates(self, now: float, lacking: list[float]) -> Rates:
        limits = (self.requests, self.tokens)
        whole = [60 - now % 60 if self.windows else (limit - left) * 60 / limit if limit < math.inf else 0
                 for limit, left in zip(limits, self._left, strict=True)]  # fmt: skip
        waits = [60 - now % 60 if self.windows else short * 60 / limit if limit < math.inf else 0
                 for limit, short in zip(limits, lacking, strict=True)]  # fmt: skip
        stated = [limit if limit < math.inf else None for limit in limits]
        return Rates(stated[0], stated[1], self._left[0], self._left[1], whole[0], whole[1], max(waits))

    def _ends(self, now: float) -> float:
        while self._busy and self._busy[0] <= now:
            heapq.heappop(self._busy)
        begins = heapq.heappop(self._busy) if len(self._busy) >= self.places else now
        heapq.heappush(self._busy, begins + self.latency_s)
        return begins + self.latency_s


@dataclass
class Run:
    calls: int = 0
    refused: int = 0
    answered: list[tuple[float, float]] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)

    def per_minute(self, since_s: float, until_s: float) -> float:
        """Tokens answered."""
        return sum(tokens for at, tokens in self.answered if since_s <= at < until_s) * 60 / (until_s - since_s)


def play(
    server: Server, seconds: float, *, tokens: float = 40_000, largest: float = 285_000, slowness_s: float = 0.0
) -> Run:
    """A client that always has more to embed; a call is on its way to the server for up to `slowness_s`."""
    limiter, run, now = Limiter(), Run(), 0.0
    drawn = random.Random(1)
    on_the_way: list[tuple[float, int, Ticket]] = []
    under_way: list[tuple[float, int, bool, Ticket, Rates]] = []
    while now < seconds:
        size = largest if limiter.scarce_requests(now) else min(tokens, limiter.second_of_tokens())
        wait_s = limiter.wait_s(now, size)
        if wait_s <= 1e-9:
            run.calls += 1
            ticket = limiter.start(now, size)
            heapq.heappush(on_the_way, (now + drawn.uniform(0, slowness_s), run.calls, ticket))
        else:
            now = min([now + wait_s, *(each[0][0] for each in (on_the_way, under_way) if each)])
        while on_the_way and on_the_way[0][0] <= now:
            arrives, number, ticket = heapq.heappop(on_the_way)
            taken, ends, rates = server.call(arrives, ticket.amount)
            heapq.heappush(under_way, (ends, number, taken, ticket, rates))
        while under_way and under_way[0][0] <= now:
            _, _, taken, ticket, rates = heapq.heappop(under_way)
            if taken:
                limiter.answered(ticket, now, rates)
                run.answered.append((now, ticket.amount))
            else:
                limiter.refused(ticket, now, rates)
                run.refused += 1
            run.limits.append(limiter.concurrency.limit)
    return run


@pytest.mark.parametrize("limit", [6_000, 60_000, 1_000_000])
@pytest.mark.parametrize("slowness_s", [0.3, 1])
def test_no_call_is_refused_where_calls_are_long_on_their_way(limit: int, slowness_s: float) -> None:
    """When the server looked is not known, so its answer tells neither what flowed in nor how it counts."""
    run = play(Server(tokens=limit), 600, tokens=limit / 10, slowness_s=slowness_s)
    assert run.per_minute(120, 600) > 0.9 * limit
    assert run.refused == 0


@pytest.mark.parametrize("charge", [1.0, 0.7, 1.4])
def test_a_stated_limit_of_tokens_is_used_up_and_not_passed(charge: float) -> None:
    """Whether or not the server counts as we do."""
    run = play(Server(tokens=1_000_000, requests=3_000, charge=charge), 600)
    assert run.per_minute(120, 600) * charge > 0.95 * 1_000_000
    assert run.refused < 0.01 * run.calls


def test_a_stated_limit_of_requests_is_used_up_with_calls_as_large_as_can_be() -> None:
    run = play(Server(requests=120), 600)
    assert run.per_minute(120, 600) > 0.95 * 120 * 285_000
    assert run.refused < 0.01 * run.calls


@pytest.mark.parametrize("requests", [3, 20])
def test_a_very_small_limit_is_not_run_into_at_once(requests: int) -> None:
    run = play(Server(requests=requests), 600)
    assert run.refused == 0
    assert run.calls > 0.95 * requests * 10


def test_a_server_that_counts_by_the_minute_is_waited_for() -> None:
    run = play(Server(windows=True, tokens=1_000_000, requests=3_000), 600)
    assert run.per_minute(120, 600) > 0.95 * 1_000_000
    assert run.refused < 0.01 * run.calls
    run = play(Server(windows=True, requests=120), 600)
    assert run.calls > 0.95 * 120 * 10
    assert run.refused < 0.01 * run.calls


@pytest.mark.parametrize(("limits", "seconds"), [({"tokens": 1_000_000}, 3_600), ({"requests": 1_200}, 900)])
def test_a_limit_that_no_header_states_is_found(limits: dict[str, int], seconds: float) -> None:
    """A few calls are refused until it is known: after some hundred, they are less than one in a hundred."""
    run = play(Server(silent=True, **limits), seconds)
    most = limits.get("tokens", 1_200 * 40_000)
    assert 0.95 * most < run.per_minute(300, seconds) < 1.05 * most
    assert run.refused < 0.01 * run.calls


@pytest.mark.parametrize(
    "server",
    [
        Server(silent=True, places=8, overloaded=(300, 360)),
        Server(tokens=1_000_000, overloaded=(300, 360)),
        Server(silent=True, places=8, overloaded=(300, 3_900)),
    ],
    ids=["that states no limit", "that states one", "for an hour"],
)
def test_a_server_that_was_overloaded_is_soon_used_as_before(server: Server) -> None:
    """What it refused then was no limit of its own."""
    over = server.overloaded[1]
    run = play(server, over + 1_800)
    assert run.per_minute(over + 900, over + 1_800) > 0.9 * run.per_minute(120, 300)
    assert run.refused < 0.01 * run.calls


def test_no_call_waits_for_longer_than_a_minute_for_a_server_that_refused_for_days() -> None:
    limiter, now = Limiter(), 0.0
    limiter.answered(limiter.start(now, 1_000), now, Rates())
    for _ in range(1_000):
        limiter.refused(limiter.start(now, 1_000), now, Rates())
        now += max(15, limiter.wait_s(now, 1_000))
    limiter.answered(limiter.start(now, 1_000), now, Rates())
    assert limiter.pace.wait_s(now) <= 60


def test_calls_at_once_rise_while_the_server_keeps_up() -> None:
    run = play(Server(), 60)
    assert run.limits[0] == 4 and run.limits[-1] == 64
    assert run.per_minute(30, 60) > 0.95 * 64 / 0.3 * 60 * 40_000


@pytest.mark.parametrize("places", [1, 4, 20])
def test_calls_at_once_stay_near_what_the_server_does_side_by_side(places: int) -> None:
    """More would wait in the server's queue; fewer would leave it idle."""
    run = play(Server(places=places), 300)
    assert run.per_minute(60, 300) > 0.9 * places / 0.3 * 60 * 40_000
    assert max(run.limits[len(run.limits) // 2 :]) <= 3 * places + 1


def test_no_answer_in_time_halves_them_once_a_moment() -> None:
    limiter = Limiter(first=16)
    limiter.answered(limiter.start(0, 1), 0.1, Rates())
    tickets = [limiter.start(1, 1) for _ in range(8)]
    for ticket in tickets:
        limiter.failed(ticket, 21)
    assert (limiter.concurrency.limit, limiter.in_flight) == (8, 0)


def test_the_first_call_goes_alone_and_its_answer_counts() -> None:
    limiter = Limiter()
    ticket = limiter.start(0, 1_000)
    assert limiter.wait_s(0, 1) == math.inf
    limiter.answered(ticket, 0.3, Rates(tokens=10_000, tokens_left=500, tokens_whole_s=57, requests=3, requests_left=2))
    assert limiter.wait_s(0.3, 600) == pytest.approx(1.8), "600 and a reserve of 200; 500 are there"


def test_nothing_starts_before_the_time_that_a_refusal_names() -> None:
    limiter = Limiter()
    limiter.refused(limiter.start(0, 10), 0.1, Rates(retry_after_s=7))
    assert limiter.wait_s(0.1, 10) == pytest.approx(7) and limiter.pause_s(3.1) == pytest.approx(4)
    assert limiter.wait_s(7.2, 10) == 0


def test_after_a_refusal_one_call_goes_alone_until_an_answer() -> None:
    limiter = Limiter()
    early, late = limiter.start(0, 10), limiter.start(0, 10)
    limiter.refused(early, 0.1, Rates(retry_after_s=1))
    limiter.refused(late, 0.1, Rates(retry_after_s=1))
    probe = limiter.start(1.2, 10)
    assert limiter.wait_s(1.2, 10) == math.inf
    limiter.answered(probe, 1.5, Rates())
    assert limiter.wait_s(2.5, 10) == 0


def test_an_hour_is_not_waited_for_in_one_piece() -> None:
    limiter = Limiter()
    limiter.refused(limiter.start(0, 10), 0, Rates(retry_after_s=3_600))
    assert limiter.pause_s(0) == 15


def test_refusals_without_a_time_are_waited_for_longer_and_longer_until_an_answer() -> None:
    limiter, now, waits = Limiter(), 0.0, []
    for _ in range(7):
        limiter.refused(limiter.start(now, 10), now, Rates())
        waits.append(limiter.pause_s(now))
        now += waits[-1]
    assert waits == [0.5, 1, 2, 4, 8, 15, 15]
    limiter.answered(limiter.start(now, 10), now, Rates())
    limiter.refused(limiter.start(now, 10), now, Rates())
    assert limiter.pause_s(now) == 0.5


def test_what_others_use_of_an_account_is_left_to_them() -> None:
    """The answer says less than we took: the rest is not spent."""
    limiter = Limiter()
    limiter.answered(limiter.start(0, 100), 0.0, Rates(tokens=60_000, tokens_left=59_900, tokens_whole_s=0.1))
    assert limiter.wait_s(0, 40_000) == 0
    ticket = limiter.start(1, 100)
    limiter.answered(ticket, 1.0, Rates(tokens=60_000, tokens_left=10_000, tokens_whole_s=50))
    assert 31.2 <= limiter.wait_s(1, 40_000) < 60


def test_an_answer_that_comes_late_does_not_give_back_what_was_taken_since() -> None:
    limiter = Limiter()
    limiter.answered(limiter.start(0, 0), 0.0, Rates(tokens=60_000, tokens_left=60_000, tokens_whole_s=0))
    early, late = limiter.start(0, 20_000), limiter.start(0, 20_000)
    limiter.answered(early, 0.0, Rates(tokens=60_000, tokens_left=40_000, tokens_whole_s=20))
    assert limiter.tokens.level(0) == 20_000
    limiter.answered(late, 0.0, Rates(tokens=60_000, tokens_left=20_000, tokens_whole_s=40))
    assert limiter.tokens.level(0) == 20_000
