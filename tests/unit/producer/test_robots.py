"""robots.txt: what each answer of a site means (RFC 9309, 2.3.1), caching, waiting. Its text: `test_rules`."""

import asyncio
import threading

import pytest

from producer import robots
from producer.fetch import FetchError, FetchResult
from producer.robots import MAX_AGE_S, MAX_ROBOTS_BYTES, MIN_AGE_S, RobotsCache, age_s
from producer.rules import Rules

PAGE = "https://h.example/private/a"
OPEN = "https://h.example/"
RULES = b"User-agent: *\nDisallow: /private/\nCrawl-delay: 3\nSitemap: https://h.example/s.xml\n"
Answer = FetchResult | FetchError


class Site:
    """Answers in turn; the last answer stays. Its clock moves when somebody sleeps."""

    def __init__(self, *answers: Answer, reach: tuple[str, ...] = ()) -> None:
        self.answers, self.asked, self.attempts = list(answers), list[str](), list[int]()
        self.reach = frozenset(reach)
        self.now = self.began = 0.0
        self.cache = RobotsCache(clock=lambda: self.now, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    async def get(self, url: str, purpose: str, *, attempt: int, max_bytes: int, truncate: bool) -> FetchResult:
        assert (purpose, max_bytes, truncate) == ("robots", MAX_ROBOTS_BYTES, True)
        self.asked.append(url)
        self.attempts.append(attempt)
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, FetchError):
            raise answer
        return answer

    async def allows(self, url: str = PAGE) -> bool:
        return (await self.cache.verdict(url, self)).allowed


def answer(status: int, body: bytes = b"", redirect_to: str | None = None, **more: object) -> FetchResult:
    url = "https://h.example/robots.txt"
    return FetchResult(url, status, body, len(body), 1.0, redirect_to=redirect_to, **more)  # type: ignore[arg-type]


def read(body: bytes = RULES, cache_control: str | None = None) -> FetchResult:
    return answer(200, body, cache_control=cache_control)


UNWELL: list[Answer] = [
    answer(500), answer(502), answer(503), answer(504), answer(429), FetchError("timeout", "slow"),
    FetchError("connect", "refused"),
]  # fmt: skip


async def test_rules_apply_with_their_delay() -> None:
    site = Site(read())
    verdict = await site.cache.verdict(PAGE, site)
    assert (verdict.allowed, verdict.reason, verdict.unreadable) == (False, "disallowed by robots.txt", False)
    assert (await site.cache.verdict(OPEN, site)).crawl_delay_s == 3.0
    assert (await site.cache.file(PAGE, site)).sitemaps() == ["https://h.example/s.xml"]


async def test_a_group_of_our_own_name_beats_the_general_one() -> None:
    own = b"User-agent: *\nDisallow: /\n\nUser-agent: headrace\nAllow: /\n"
    assert await Site(read(own)).allows()


@pytest.mark.parametrize(("rules", "beside"), [(10, False), (25_000, True)])
async def test_rules_by_the_thousand_are_matched_beside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, rules: int, beside: bool
) -> None:
    here, threads, allow = threading.get_ident(), list[int](), Rules.allow

    def noting(self: Rules, url: str) -> bool:
        threads.append(threading.get_ident())
        return allow(self, url)

    monkeypatch.setattr(Rules, "allow", noting)
    body = b"User-agent: *\n" + b"".join(b"Disallow: /p%d/*x\n" % number for number in range(rules))
    site = Site(read(body))
    assert await site.allows()
    assert not await site.allows("https://h.example/p7/x")
    assert [thread != here for thread in threads] == [beside, beside]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 418, 451, 499])
async def test_client_errors_allow_everything(status: int) -> None:
    site = Site(answer(status))
    assert await site.allows()
    assert site.now == 0


@pytest.mark.parametrize("failure", UNWELL, ids=str)
async def test_an_unreachable_file_allows_nothing_for_now(failure: Answer) -> None:
    site = Site(failure)
    verdict = await site.cache.verdict(PAGE, site)
    assert (verdict.allowed, verdict.unreadable) == (False, True)
    assert "robots.txt is unreachable" in verdict.reason
    site.now += 61
    site.answers = [answer(404)]
    assert await site.allows()


@pytest.mark.parametrize("failure", UNWELL, ids=str)
async def test_a_host_is_waited_for_once_and_its_pages_are_refused_at_once_after_that(failure: Answer) -> None:
    site = Site(failure)
    verdicts = await asyncio.gather(*(site.cache.verdict(f"{OPEN}{n}", site) for n in range(1_000)))
    assert not any(verdict.allowed for verdict in verdicts)
    assert (site.attempts, site.now) == ([1, 2, 3, 4], 15.0)
    for n in range(1_000):
        assert not await site.allows(f"{OPEN}later/{n}")
    assert (site.attempts, site.now) == ([1, 2, 3, 4], 15.0)
    site.now += 61
    assert not await site.allows()
    assert (site.attempts[4:], site.now) == ([1], 76.0), "once a minute it is asked for again, without a wait"


async def test_a_file_that_comes_within_the_wait_is_in_force() -> None:
    site = Site(answer(503), FetchError("timeout", "slow"), read())
    assert not await site.allows(PAGE)
    assert await site.allows(OPEN)
    assert site.now == 5.0


async def test_a_host_that_asks_for_a_pause_gets_it_within_our_patience() -> None:
    site = Site(answer(503, retry_after_s=30.0), read())
    assert await site.allows(OPEN)
    assert site.now == 30.0
    site = Site(answer(503, retry_after_s=600.0))
    assert not await site.allows(OPEN)
    site.now += 599
    assert not await site.allows(OPEN)
    assert site.attempts == [1]


@pytest.mark.parametrize("kind", ["dns", "tls", "address_forbidden", "protocol", "host_unwell"])
async def test_what_waiting_does_not_mend_is_not_waited_for(kind: str) -> None:
    site = Site(FetchError(kind, "no"))  # type: ignore[arg-type]
    assert (await site.cache.verdict(PAGE, site)).unreadable
    assert (site.attempts, site.now) == ([1], 0.0)


@pytest.mark.parametrize("failure", UNWELL, ids=str)
async def test_a_copy_read_before_stays_in_force_while_the_host_is_unreachable(failure: Answer) -> None:
    site = Site(read(), failure)
    await site.allows()
    site.now += MAX_AGE_S + 1
    assert await site.allows(OPEN)
    assert not await site.allows(PAGE)
    assert site.attempts == [1, 1], "with a copy there is nothing to wait for"


@pytest.mark.parametrize(
    ("cache_control", "kept_s"),
    [
        (None, MAX_AGE_S), ("", MAX_AGE_S), ("public", MAX_AGE_S), ("max-age=3600", 3_600),
        ("Public, MAX-AGE = 3600", 3_600),
        ('max-age="3600"', 3_600), ("max-age=31536000", MAX_AGE_S), ("max-age=0", MIN_AGE_S), ("no-store", MIN_AGE_S),
        ("no-cache, max-age=3600", MIN_AGE_S), ("s-maxage=3600", MAX_AGE_S), ("max-age=soon", MAX_AGE_S),
        ("max-age=-5", MAX_AGE_S), ("no-cache-please", MAX_AGE_S),
    ],
)  # fmt: skip
async def test_a_file_is_kept_for_as_long_as_it_says_and_24_hours_at_most(
    cache_control: str | None, kept_s: float
) -> None:
    assert age_s(cache_control) == kept_s
    site = Site(read(cache_control=cache_control))
    await site.allows()
    site.now = kept_s - 1
    await site.allows()
    assert len(site.asked) == 1
    site.now = kept_s + 1
    await site.allows()
    assert len(site.asked) == 2


async def test_redirects_are_followed_five_times_over_hosts_too_for_the_first_hosts_rules() -> None:
    hop = answer(301, redirect_to="https://other.example/robots.txt")
    site = Site(*[hop] * 5, read())
    assert not await site.allows()
    assert await site.allows(OPEN)
    assert site.asked == ["https://h.example/robots.txt"] + ["https://other.example/robots.txt"] * 5
    assert await Site(*[hop] * 6, read()).allows()


async def test_a_redirect_that_leads_nowhere_is_no_file() -> None:
    assert await Site(FetchError("bad_redirect", "status 301 without a Location")).allows()


async def test_a_redirect_into_a_forbidden_network_allows_nothing() -> None:
    hop = answer(302, redirect_to="http://10.0.0.1/robots.txt")
    assert not await Site(hop, FetchError("address_forbidden", "10.0.0.1 is forbidden")).allows()


async def test_only_the_first_500_kib_count() -> None:
    late = b"#" * MAX_ROBOTS_BYTES + b"\n" + RULES
    assert await Site(read(late)).allows()
    assert not await Site(read(late[100:])).allows()


@pytest.mark.parametrize("over", [0, 100])
async def test_a_line_that_the_limit_cuts_does_not_count(over: int) -> None:
    rules = b"User-agent: *\nDisallow: /\nAllow: /"
    body = b"#" * (MAX_ROBOTS_BYTES - len(rules) - 1) + b"\n" + rules
    whole, cut = read(body + b"\n"), answer(200, body + b"docs/" * over, truncated=True)
    assert await Site(answer(200, body)).allows()
    assert not await Site(cut).allows()
    assert not await Site(whole).allows(), "the end of the line is beyond the limit"


async def test_one_request_per_host_at_a_time_and_per_age() -> None:
    site = Site(read())
    await asyncio.gather(*(site.allows() for _ in range(10)))
    await site.allows("http://h.example:8080/")
    assert site.asked == ["https://h.example/robots.txt", "http://h.example:8080/robots.txt"]


async def test_two_jobs_share_what_was_read_unless_they_may_reach_other_addresses() -> None:
    one, other, elsewhere = Site(read()), Site(read()), Site(read(), reach=("10.0.0.0/8",))
    await asyncio.gather(*(one.cache.verdict(PAGE, each) for each in (one, other, elsewhere)))
    assert (len(one.asked), len(other.asked), len(elsewhere.asked)) == (1, 0, 1)


async def test_a_job_reads_again_what_was_read_long_before_it_began() -> None:
    one, soon, later = Site(read()), Site(), Site(answer(404))
    await one.allows()
    soon.began, later.began = robots.SHARED_S - 1, robots.SHARED_S + 1
    assert not (await one.cache.verdict(PAGE, soon)).allowed
    one.now = later.began
    for _ in range(3):
        assert (await one.cache.verdict(PAGE, later)).allowed
    assert len(later.asked) == 1
    assert await one.allows(), "and what it read is everybody's"


async def test_a_caller_that_gives_up_takes_nothing_from_the_others() -> None:
    site = Site(read())
    first, second = asyncio.create_task(site.allows()), asyncio.create_task(site.allows())
    await asyncio.sleep(0)
    first.cancel()
    assert not await second


async def test_a_job_that_ends_leaves_the_reading_to_the_next_that_wants_it() -> None:
    one, other = Site(read()), Site(read())
    first = asyncio.create_task(one.cache.verdict(PAGE, one))
    second = asyncio.create_task(one.cache.verdict(PAGE, other))
    for _ in range(2):
        await asyncio.sleep(0)
    first.cancel()
    await one.cache.forsake(one)
    assert not (await second).allowed
    assert (len(one.asked), len(other.asked)) == (1, 1)


async def test_files_that_are_too_old_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robots, "MAX_KNOWN", 10)
    site = Site(read(cache_control="max-age=300"))
    for n in range(30):
        await site.allows(f"https://h{n}.example/")
        site.now += 100
    assert len(site.cache._files) <= 10
