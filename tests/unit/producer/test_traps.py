"""Traps end, and what real sites have passes."""

import re
from collections import Counter
from collections.abc import AsyncIterator
from datetime import date, timedelta

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from producer.traps import Limits, Traps, trap_in
from schemas.facts import LeftOut
from tests.fakes.site import FakeSite
from tests.unit.producer.crawl_play import Play, article

HOST = "https://h.example"

REAL = [
    "/en/latest/library/asyncio-queue.html",
    "/docs/2.7/2/", "/docs/v1/v1/", "/a/a/a/b.html", "/serde/1.0.219/serde/de/trait.Deserialize.html",
    "/javase/8/docs/api/java/util/concurrent/locks/AbstractQueuedSynchronizer.ConditionObject.html",
    "/dotnet/api/system.string?view=net-8.0&tabs=windows", "/w/index.php?title=Main_Page", "/wiki/Talk:Main_Page",
    "/pkg/net/http/?GOOS=windows", "/man/ls.1.html?manpath=debian-13", "/2024/05/01/a-post/", "/blog/2024/05/",
    "/releases/2026-05-01/", "/show_bug.cgi?id=201512", "/search?q=print", "/functions/print.html", "/sort/order/",
    "/list?page=12", "/guide?lang=de&version=3.2", "/doc?action=view", "/Doxygen/d1/d1/classfoo.html", "/git/diff/",
    "/docs/history/", "/api?order=first", "/t/topic/123?page=2", "/kernel/next/mm/mm/page_alloc.html", "/p?diff=tool",
    "/doc/boost/libs/boost/doc/html/boost/asio.html", "/1/1/1/", "/download?format=html", "/index?do=show",
]  # fmt: skip
TRAPS = [
    ("/docs/?C=M;O=A", "another order of a list"),
    ("/docs/?C=N&O=D", "another order of a list"),
    ("/list?sort=name", "another order of a list"),
    ("/list?page=2&orderby=date", "another order of a list"),
    ("/list?Order=ASC", "another order of a list"),
    ("/a?print=1", "a view to print"),
    ("/a?view=print", "a view to print"),
    ("/w/index.php?title=A&printable=yes", "a view to print"),
    ("/w/index.php?title=A&action=edit", "a wiki's machinery"),
    ("/w/index.php?title=A&action=history", "a wiki's machinery"),
    ("/w/index.php?title=A&oldid=12", "a wiki's machinery"),
    ("/w/index.php?title=A&diff=prev&oldid=12", "a wiki's machinery"),
    ("/doku.php?id=a&do=revisions", "a wiki's machinery"),
    ("/doku.php?id=a&do=export_pdf", "a wiki's machinery"),
    ("/post?replytocom=7", "a comment's form"),
    ("/a/a/a/a/", "a repeating path"),
    ("/a/x/a/y/a/z/a/", "a repeating path"),
    ("/docs/a/b/a/b/a/b", "a repeating path"),
    ("/x/a/b/c/a/b/c/a/b/c/y", "a repeating path"),
    ("/" + "/".join(f"s{n}" for n in range(21)), "too deep a path"),
]


@pytest.mark.parametrize("path", REAL)
def test_what_real_sites_have_is_no_trap(path: str) -> None:
    traps = Traps()
    assert trap_in(HOST + path) is None
    assert traps.verdict(HOST + path).inside


@pytest.mark.parametrize(("path", "kind"), TRAPS)
def test_told_by_the_url_alone(path: str, kind: str) -> None:
    trap = trap_in(HOST + path)
    assert trap is not None
    assert trap.kind == kind
    assert not Traps().verdict(HOST + path).inside
    assert Traps().verdict(HOST + path).reason == trap.reason


def let_in(traps: Traps, *paths: str) -> int:
    count = 0
    for path in paths:
        if traps.trap(HOST + path) is None:
            traps.count(HOST + path)
            count += 1
    return count


def test_a_calendar_ends() -> None:
    traps, first = Traps(), date(2020, 1, 1)
    days = [first + timedelta(days) for days in range(5_000)]
    assert let_in(traps, *(f"/calendar/{day:%Y/%m/%d}/" for day in days)) == 400
    assert let_in(traps, *(f"/cal?date={day:%Y-%m-%d}" for day in days)) == 400
    assert let_in(traps, *(f"/cal?year={day.year}&month={day.month}" for day in days[::30])) == len(days[::30])
    assert "400 pages of dates are known already" in traps.verdict(HOST + "/calendar/2050/01/01/").reason


def test_posts_of_any_number_of_days_are_no_calendar() -> None:
    posts = [f"/{2000 + n // 366}/{n % 12 + 1:02}/{n % 28 + 1:02}/post-{n}/" for n in range(5_000)]
    assert let_in(Traps(), *posts) == 5_000


def test_variants_of_a_path_end_far_above_what_documentation_has() -> None:
    limits = Limits()
    assert let_in(Traps(), *(f"/index.php?title=Page_{n}" for n in range(9_000))) == 9_000
    assert let_in(Traps(), *(f"/index.php?title=Page_{n}" for n in range(11_000))) == limits.of_one_parameter
    assert let_in(Traps(), *(f"/l?page={n}" for n in range(2_000))) == limits.of_paging
    facets = [f"/shop?colour={a}&size={b}&filter[{c}]=1" for a in range(20) for b in range(20) for c in range(20)]
    assert let_in(Traps(), *facets) == limits.of_parameters
    assert let_in(Traps(), *(f"/api/{n}?view=v{v}&tabs=x" for n in range(500) for v in range(4))) == 2_000


def test_links_that_resolve_below_themselves_end_in_any_order() -> None:
    names = ("guide", "api", "blog", "faq")
    waiting, seen, traps = ["/"], set[str](), Traps()
    while waiting:
        path = waiting.pop(0)
        for name in names:
            below = f"{path}{name}/"
            if below not in seen and let_in(traps, below):
                seen.add(below)
                waiting.append(below)
    assert len(seen) < 250


def test_memory_is_bounded_and_what_grows_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producer.traps._MAX_COUNTERS", 100)
    traps = Traps(Limits(of_paging=50))
    for number in range(5_000):
        let_in(traps, f"/once/{number}?q=1", f"/list?page={number}")
    assert len(traps._counters) <= 100
    assert not traps.verdict(HOST + "/list?page=9999").inside


def test_what_comes_when_all_is_taken_by_others_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producer.traps._MAX_COUNTERS", 100)
    traps = Traps(Limits(of_paging=50))
    for number in range(100):
        let_in(traps, f"/list{number}?page=1", f"/list{number}?page=2")
    assert [let_in(traps, f"/late?page={number}") for number in range(60)] == [True] * 50 + [False] * 10


def test_room_is_made_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producer.traps._MAX_COUNTERS", 1_000)
    traps = Traps()
    tables = [traps._counters]
    for number in range(4_000):
        let_in(traps, f"/list{number}?page=1", f"/list{number}?page=2")
        if traps._counters is not tables[-1]:
            tables.append(traps._counters)
    assert 2 < len(tables) < 8


@given(st.lists(st.sampled_from([f"/l?page={n}" for n in range(30)] + [f"/{n}" for n in range(5)]), unique=True))
def test_a_later_owner_that_counts_what_is_recorded_judges_alike(paths: list[str]) -> None:
    first, later = Traps(Limits(of_paging=5)), Traps(Limits(of_paging=5))
    admitted = [path for path in paths if let_in(first, path)]
    for path in admitted:
        later.count(HOST + path)
    assert all(first.verdict(HOST + path) == later.verdict(HOST + path) for path in paths)


@pytest.fixture
async def site() -> AsyncIterator[FakeSite]:
    async with TrapSite(pages=0) as site:
        yield site


TOKENS = [1, 8, 57, 400, 2801, 19608, 137257]


class TrapSite(FakeSite):
    """A calendar without an end, and a page whose relative links lead ever deeper."""

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if found := re.fullmatch(r"/docs/calendar/(\d{4})/(\d\d)/", path):
            month = int(found[1]) * 12 + int(found[2]) - 1
            around = [f"/docs/calendar/{m // 12}/{m % 12 + 1:02}/" for m in (month - 1, month + 1)]
            return _html(article(f"the month {found[1]} {found[2]}", *around))
        if path.startswith("/docs/token-"):
            return _html(article("the one text of this shop", f"/docs/token-{int(path.rpartition('-')[2]) * 7 + 1}"))
        if path.startswith("/docs/rel/"):
            return _html(article(f"what lies at {path}", "rel/", "deep/", "down/"))
        return await super()._respond(request)


def _html(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/html")


async def test_a_crawl_into_traps_ends_by_itself(site: TrapSite, monkeypatch: pytest.MonkeyPatch) -> None:
    play = Play(monkeypatch, site.url, max_pages=100_000)
    site.put("/docs/", article("start", "calendar/2026/11/", "rel/", "real?sort=name", "real"))
    site.put("/docs/real", article("real"))
    ending = await play.crawl()
    paths = list(play.pages)
    assert "/docs/real" in paths
    assert sum("calendar" in path for path in paths) == 400
    assert sum("/rel/" in path for path in paths) < 150
    left_out = Counter({each.kind: each.urls for each in ending.counts.left_out})
    assert left_out["another order of a list"] == 1
    assert left_out["pages of dates"] >= 1
    assert left_out["a repeating path"] + left_out["paths of the same segments"] >= 1


async def test_the_same_page_under_ever_new_names_ends_and_versions_with_one_start_page_do_not(
    site: TrapSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = Play(monkeypatch, site.url)
    site.put("/docs/", article("start", "token-1", *(f"v{n}/" for n in range(20))))
    for version in range(20):
        site.put(f"/docs/v{version}/", article("all versions begin so", "page"))
        site.put(f"/docs/v{version}/page", article(f"what version {version} says"))
    ending = await play.crawl()
    assert [path for path in play.pages if "token" in path] == [f"/docs/token-{n}" for n in TOKENS[:6]]
    assert [play.states[f"/docs/v{version}/page"] for version in range(20)] == ["fetched"] * 20
    assert ending.counts.left_out == (LeftOut(kind="copies in a row", urls=1),)
    before = set(play.pages)
    ending = await play.crawl()
    assert (set(play.pages), ending.counts.left_out) == (before, (LeftOut(kind="copies in a row", urls=1),))


async def test_pages_of_base_that_a_trap_leaves_out_are_kept(site: TrapSite, monkeypatch: pytest.MonkeyPatch) -> None:
    play = Play(monkeypatch, site.url)
    listed = [f"list?page={number}" for number in range(10)]
    site.put("/docs/", article("start", *listed, "other"))
    site.behave("/docs/list", _numbered)
    site.put("/docs/other", article("other"))
    await play.crawl()
    site.put("/docs/", article("start again", *reversed(listed)))
    monkeypatch.setattr("producer.discovery.Traps", lambda: Traps(Limits(of_paging=4)))
    ending = await play.refresh()
    states = play.states
    assert [states[f"/docs/{each}"] for each in listed] == ["kept"] * 6 + ["unchanged"] * 4
    assert play.pages["/docs/list?page=0"].reason == f"4 pages of a list are known already: {site.root}/docs/list"
    assert play.pages["/docs/list?page=0"].chunks
    assert states["/docs/other"] == "gone"
    assert ending.counts.left_out == (LeftOut(kind="pages of a list", urls=6),)


async def _numbered(request: web.Request) -> web.StreamResponse:
    return _html(article(f"page number {request.query['page']} of the list"))


async def test_the_next_epoch_lets_in_no_more_than_the_first(site: TrapSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producer.discovery.Traps", lambda: Traps(Limits(of_dates=10)))
    play = Play(monkeypatch, site.url)
    site.put("/docs/", article("start", "calendar/2026/11/"))
    await play.crawl()
    before = set(play.pages)
    await play.crawl()
    assert set(play.pages) == before
    assert len(before) == 11


@pytest.mark.parametrize("resumed", [False, True])
async def test_what_a_page_links_to_that_repeats_no_other_is_crawled_whoever_linked_to_it_before(
    site: TrapSite, monkeypatch: pytest.MonkeyPatch, resumed: bool
) -> None:
    play = Play(monkeypatch, site.url)
    site.put("/docs/", article("start", "s0", "p0"))
    for number in range(6):
        site.put(f"/docs/s{number}", article("the same", f"s{number + 1}" if number < 5 else "wanted"))
    for number in range(8):
        site.put(f"/docs/p{number}", article(f"page {number}", f"p{number + 1}" if number < 7 else "wanted"))
    site.put("/docs/wanted", article("what is wanted"))
    ending = await play.crawl()
    if resumed:
        play.forget(["/docs/wanted"])
        ending = await play.crawl()
    assert play.states["/docs/s5"] == "skipped"
    assert (play.states["/docs/wanted"], ending.counts.left_out) == ("fetched", ())
