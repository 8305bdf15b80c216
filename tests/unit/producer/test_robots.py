"""robots.txt: what each answer of a site means (RFC 9309, 2.3.1), caching, size."""

import asyncio

import pytest

from producer.fetch import FetchError, FetchResult
from producer.robots import MAX_ROBOTS_BYTES, RobotsCache

PAGE = "https://h.example/private/a"
RULES = b"User-agent: *\nDisallow: /private/\nCrawl-delay: 3\nSitemap: https://h.example/s.xml\n"


class Site:
    """Answers in turn; the last answer stays."""

    def __init__(self, *answers: FetchResult | FetchError) -> None:
        self.answers, self.asked = list(answers), list[str]()

    async def fetch(self, url: str, *, max_bytes: int, truncate: bool) -> FetchResult:
        assert (max_bytes, truncate) == (MAX_ROBOTS_BYTES, True)
        self.asked.append(url)
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, FetchError):
            raise answer
        return answer


def answer(status: int, body: bytes = b"", redirect_to: str | None = None) -> FetchResult:
    return FetchResult("https://h.example/robots.txt", status, body, len(body), 1.0, redirect_to=redirect_to)


async def allowed(*answers: FetchResult | FetchError, url: str = PAGE) -> bool:
    return (await RobotsCache(Site(*answers).fetch).verdict(url)).allowed


async def test_rules_apply_with_their_delay() -> None:
    cache = RobotsCache(Site(answer(200, RULES)).fetch)
    verdict = await cache.verdict(PAGE)
    assert (verdict.allowed, verdict.reason, verdict.temporary) == (False, "disallowed by robots.txt", False)
    assert (await cache.verdict("https://h.example/")).crawl_delay_s == 3.0
    assert (await cache.rules(PAGE)).sitemaps() == ["https://h.example/s.xml"]


async def test_a_group_of_our_own_name_beats_the_general_one() -> None:
    own = b"User-agent: *\nDisallow: /\n\nUser-agent: headrace\nAllow: /\n"
    assert await allowed(answer(200, own))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
async def test_client_errors_allow_everything(status: int) -> None:
    assert await allowed(answer(status))


@pytest.mark.parametrize("failure", [answer(500), answer(503), answer(429), FetchError("timeout", "slow")])
async def test_an_unreachable_file_allows_nothing_for_now(failure: FetchResult | FetchError) -> None:
    now = 0.0
    cache = RobotsCache(Site(failure, answer(404)).fetch, retry_s=60, clock=lambda: now)
    verdict = await cache.verdict(PAGE)
    assert (verdict.allowed, verdict.temporary, verdict.retry_in_s) == (False, True, 60.0)
    now = 61.0
    assert (await cache.verdict(PAGE)).allowed


async def test_a_copy_read_before_stays_in_force_while_the_host_is_unreachable() -> None:
    now = 0.0
    cache = RobotsCache(Site(answer(200, RULES), answer(500)).fetch, max_age_s=100, clock=lambda: now)
    await cache.verdict(PAGE)
    now = 101.0
    assert (await cache.verdict("https://h.example/")).allowed
    assert not (await cache.verdict(PAGE)).allowed


async def test_redirects_are_followed_five_times() -> None:
    hop = answer(301, redirect_to="https://other.example/robots.txt")
    assert not await allowed(*[hop] * 5, answer(200, RULES))
    assert await allowed(*[hop] * 6, answer(200, RULES))


async def test_only_the_first_500_kib_count_and_bytes_that_are_no_text_do_no_harm() -> None:
    late = b"#" * MAX_ROBOTS_BYTES + b"\n" + RULES
    assert await allowed(answer(200, late))
    assert not await allowed(answer(200, b"\xef\xbb\xbf\xff\xfe\0junk\n" + RULES))
    assert await allowed(answer(200, b"<!DOCTYPE html><html>not found</html>"))


async def test_one_request_per_host_at_a_time_and_per_age() -> None:
    site = Site(answer(200, RULES))
    cache = RobotsCache(site.fetch)
    await asyncio.gather(*(cache.verdict(PAGE) for _ in range(10)))
    await cache.verdict("http://h.example:8080/")
    assert site.asked == ["https://h.example/robots.txt", "http://h.example:8080/robots.txt"]


async def test_a_caller_that_gives_up_takes_nothing_from_the_others() -> None:
    cache = RobotsCache(Site(answer(200, RULES)).fetch)
    first, second = asyncio.create_task(cache.verdict(PAGE)), asyncio.create_task(cache.verdict(PAGE))
    await asyncio.sleep(0)
    first.cancel()
    assert not (await second).allowed


async def test_not_respecting_asks_for_nothing() -> None:
    site = Site(answer(200, RULES))
    assert (await RobotsCache(site.fetch, respect=False).verdict(PAGE)).allowed
    assert site.asked == []
