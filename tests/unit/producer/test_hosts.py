"""Politeness, on a clock that only moves when somebody sleeps."""

import asyncio

import pytest

from producer import hosts as limits
from producer.hosts import MAX_RETRY_AFTER_S, PATIENCE_S, HostGivenUp, Hosts, HostShare

A, B = "https://a.example/x", "https://b.example/"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


class Gate:
    """One job at hosts without jitter, whose limit may be raised at once."""

    def __init__(self, concurrency: int = 8, delay_s: float = 0.0, *, jitter: float = 0.0, at_once: int = 64) -> None:
        self.clock = Clock()
        self.hosts = Hosts(at_once, clock=self.clock, sleep=self.clock.sleep, jitter=lambda: jitter)
        self.share = self.hosts.share(concurrency, delay_s)

    def widen(self, url: str = A) -> None:
        self.hosts.of(url.split("/")[2]).pace.limit = 64

    async def ask(self, status: int | None = 200, retry_after_s: float | None = None, url: str = A) -> float:
        """When it was asked, from the beginning; None fails it."""
        async with self.share.slot(url) as turn:
            asked = self.clock() - 100.0
            if status is None:
                turn.failed()
            else:
                turn.answered(status, retry_after_s)
        return asked

    async def asks(self, count: int) -> list[float]:
        return sorted(await asyncio.gather(*(self.ask() for _ in range(count))))

    def opens_in_s(self, url: str = A) -> float:
        return self.share.standing(url.split("/")[2]).closed_for_s


async def peak(*asked: tuple[HostShare, str]) -> int:
    """How many of the requests were under way together."""
    running = most = 0

    async def one(share: HostShare, url: str) -> None:
        nonlocal running, most
        async with share.slot(url):
            running += 1
            most = max(most, running)
            for _ in range(3):
                await asyncio.sleep(0)
            running -= 1

    await asyncio.gather(*(one(share, url) for share, url in asked))
    return most


async def test_no_more_than_the_limit_at_once_and_hosts_do_not_share() -> None:
    gate = Gate(3)
    assert await peak(*[(gate.share, A)] * 20) == 2, "a host that is not known yet begins with two"
    gate.widen(A)
    gate.widen(B)
    assert await peak(*[(gate.share, A)] * 20) == 3
    assert await peak(*[(gate.share, A), (gate.share, B)] * 10) == 6


async def test_the_process_has_a_limit_over_all_hosts() -> None:
    gate = Gate(8, at_once=5)
    assert await peak(*[(gate.share, f"https://h{n}.example/") for n in range(40)]) == 5


async def test_two_jobs_share_a_host_by_the_stricter_limits_and_one_that_ends_gives_its_back() -> None:
    gate = Gate(8)
    gate.widen()
    strict = gate.hosts.share(2, 0.0)
    assert await peak(*[(gate.share, A)] * 20) == 8
    assert await peak(*[(gate.share, A), (strict, A)] * 10) == 2
    assert await peak(*[(gate.share, B), (strict, A)] * 10) == 4
    strict.leave()
    assert await peak(*[(gate.share, A)] * 20) == 8


async def test_a_job_that_ends_frees_places_for_who_waits() -> None:
    gate = Gate(8)
    gate.widen()
    strict = gate.hosts.share(1, 0.0)
    async with strict.slot(A):
        waiting = asyncio.create_task(gate.ask())
        await asyncio.sleep(0)
        strict.leave()
        async with asyncio.timeout(30):
            await waiting


async def test_the_stricter_delay_counts() -> None:
    gate = Gate(8, 1.0)
    gate.widen()
    slow = gate.hosts.share(8, 3.0)
    slow.set_crawl_delay(A, 2.0)
    assert await gate.asks(3) == [0.0, 3.0, 6.0]
    slow.leave()
    assert await gate.asks(3) == [9.0, 10.0, 11.0]


async def test_starts_are_a_delay_apart() -> None:
    assert await Gate(8, 2.0).asks(4) == [0.0, 2.0, 4.0, 6.0]


async def test_the_larger_of_configured_and_crawl_delay_counts() -> None:
    gate = Gate(8, 2.0)
    gate.share.set_crawl_delay(A, 5.0)
    assert await gate.asks(3) == [0.0, 5.0, 10.0]
    gate.share.set_crawl_delay(A, 1.0)
    assert await gate.asks(2) == [15.0, 17.0]


async def test_retry_after_shuts_the_gate_for_that_host_alone() -> None:
    gate = Gate()
    await gate.ask(429, 30.0)
    assert (gate.opens_in_s(A), gate.opens_in_s(B)) == (30.0, 0.0)
    assert await gate.ask(url=B) == 0.0
    assert await gate.asks(2) == [30.0, 30.0]


async def test_without_retry_after_the_pause_doubles_until_a_good_answer() -> None:
    gate = Gate()
    asked = [await gate.ask(status) for status in (503, 503, 503, 503, 200, 503, 200)]
    assert asked == [0.0, 1.0, 3.0, 7.0, 15.0, 15.0, 16.0]


async def test_pauses_are_never_shorter_than_asked_for_and_not_all_alike() -> None:
    gate = Gate(jitter=1.0)
    await gate.ask(503, 100.0)
    assert gate.opens_in_s() == 125.0


async def test_an_absurd_retry_after_is_capped() -> None:
    gate = Gate()
    await gate.ask(503, 1e9)
    assert gate.opens_in_s() == MAX_RETRY_AFTER_S


@pytest.mark.parametrize("trouble", [500, 502, 504, 507, 509, 521, 530, None])
async def test_server_errors_and_silence_slow_down_when_they_come_in_a_row(trouble: int | None) -> None:
    gate = Gate()
    asked = [await gate.ask(status) for status in (trouble, trouble, 200, trouble, trouble, trouble, trouble, 200)]
    assert asked == [0.0] * 6 + [1.0, 3.0]


@pytest.mark.parametrize("status", [501, 505])
async def test_errors_that_tell_of_the_request_do_not_slow_the_host_down(status: int) -> None:
    gate = Gate()
    assert [await gate.ask(status) for _ in range(6)] == [0.0] * 6


async def test_a_host_that_stays_unwell_is_given_up_save_for_a_try_after_each_pause() -> None:
    gate = Gate()
    with pytest.raises(HostGivenUp, match=r"no good answer for 1[5-9] minutes"):
        for _ in range(100):
            await gate.ask(503)
    given_up_at = gate.clock()
    assert PATIENCE_S < given_up_at - 100.0 <= PATIENCE_S + limits.MAX_BACK_OFF_S
    for _ in range(1_000):
        with pytest.raises(HostGivenUp):
            await gate.ask()
    assert gate.clock() == given_up_at, "nobody waits any more"
    gate.clock.now += gate.opens_in_s()
    await gate.ask(200)
    await gate.ask(503)
    assert gate.opens_in_s() == 1.0, "a good answer: all is forgiven"


async def test_a_place_comes_back_after_an_error_and_a_cancellation() -> None:
    gate = Gate(1)
    with pytest.raises(RuntimeError):
        async with gate.share.slot(A):
            raise RuntimeError
    async with gate.share.slot(A):
        waiting = asyncio.create_task(gate.ask())
        given_a_place = asyncio.create_task(gate.ask())
        await asyncio.sleep(0)
        waiting.cancel()
    given_a_place.cancel()
    await asyncio.gather(waiting, given_a_place, return_exceptions=True)
    async with asyncio.timeout(30), gate.share.slot(A):
        pass


async def test_refusals_of_requests_that_were_under_way_together_count_once() -> None:
    gate = Gate()
    gate.widen()

    async def refused() -> None:
        async with gate.share.slot(A) as turn:
            await asyncio.sleep(0)
            turn.answered(503)

    await asyncio.gather(*(refused() for _ in range(8)))
    assert gate.opens_in_s() == 1.0
    await refused()
    assert gate.opens_in_s() == 2.0


async def test_a_host_that_refuses_gets_fewer_requests_at_once() -> None:
    gate = Gate()
    gate.hosts.of("a.example").pace.limit = 8
    await gate.ask(429)
    assert gate.share.standing("a.example").limit == 4
    assert await peak(*[(gate.share, A)] * 20) == 4


async def test_hosts_that_nobody_uses_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_KNOWN", 10)
    gate = Gate()
    await gate.ask(503, 500.0)
    gate.share.leave()
    for n in range(30):
        passing = gate.hosts.share(1, 0.0)
        async with passing.slot(f"https://h{n}.example/"):
            pass
        passing.leave()
    assert len(gate.hosts._hosts) <= 10
    assert gate.opens_in_s() == 500.0
