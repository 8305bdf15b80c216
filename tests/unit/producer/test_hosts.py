"""Politeness, on a clock that only moves when somebody sleeps."""

import asyncio

from producer.hosts import MAX_RETRY_AFTER_S, Hosts

A, B = "https://a.example/x", "https://b.example/"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


async def starts(hosts: Hosts, clock: Clock, count: int, url: str = A) -> list[float]:
    times: list[float] = []

    async def one() -> None:
        async with hosts.slot(url):
            times.append(clock() - 100.0)

    await asyncio.gather(*(one() for _ in range(count)))
    return times


async def test_no_more_than_the_limit_at_once_and_hosts_do_not_share() -> None:
    hosts, running, peak = Hosts(concurrency=3), 0, 0

    async def one(url: str) -> None:
        nonlocal running, peak
        async with hosts.slot(url):
            running += 1
            peak = max(peak, running)
            await asyncio.sleep(0)
            running -= 1

    await asyncio.gather(*(one(A) for _ in range(20)))
    assert peak == 3
    await asyncio.gather(*(one(url) for url in [A, B] * 10))
    assert peak == 6


async def test_starts_are_a_delay_apart() -> None:
    clock = Clock()
    hosts = Hosts(concurrency=8, delay_s=2.0, clock=clock, sleep=clock.sleep)
    assert await starts(hosts, clock, 4) == [0.0, 2.0, 4.0, 6.0]


async def test_the_larger_of_configured_and_crawl_delay_counts() -> None:
    clock = Clock()
    hosts = Hosts(delay_s=2.0, clock=clock, sleep=clock.sleep)
    hosts.set_crawl_delay(A, 5.0)
    assert await starts(hosts, clock, 3) == [0.0, 5.0, 10.0]
    hosts.set_crawl_delay(A, 1.0)
    assert (await starts(hosts, clock, 2))[1] - 15.0 == 2.0


async def test_retry_after_shuts_the_gate_for_that_host_alone() -> None:
    clock = Clock()
    hosts = Hosts(clock=clock, sleep=clock.sleep)
    hosts.report(A, 429, 30.0)
    assert (hosts.opens_in_s(A), hosts.opens_in_s(B)) == (30.0, 0.0)
    assert await starts(hosts, clock, 2) == [30.0, 30.0]


async def test_without_retry_after_the_pause_doubles_until_a_good_answer() -> None:
    clock = Clock()
    hosts = Hosts(clock=clock, sleep=clock.sleep)
    pauses = []
    for _ in range(4):
        hosts.report(A, 503)
        pauses.append(hosts.opens_in_s(A))
        clock.now += pauses[-1]
    hosts.report(A, 200)
    hosts.report(A, 503)
    assert [*pauses, hosts.opens_in_s(A)] == [1.0, 2.0, 4.0, 8.0, 1.0]


async def test_an_absurd_retry_after_is_capped() -> None:
    clock = Clock()
    hosts = Hosts(clock=clock, sleep=clock.sleep)
    hosts.report(A, 503, 1e9)
    assert hosts.opens_in_s(A) == MAX_RETRY_AFTER_S


async def test_a_place_comes_back_after_an_error() -> None:
    hosts = Hosts(concurrency=1)
    for _ in range(2):
        try:
            async with hosts.slot(A):
                raise RuntimeError
        except RuntimeError:
            pass
    async with asyncio.timeout(1), hosts.slot(A):
        pass


async def test_refusals_of_requests_that_were_under_way_together_count_once() -> None:
    clock = Clock()
    hosts = Hosts(clock=clock, sleep=clock.sleep)
    for _ in range(8):
        hosts.report(A, 503)
    assert hosts.opens_in_s(A) == 1.0
    clock.now += 1.0
    hosts.report(A, 503)
    assert hosts.opens_in_s(A) == 2.0
