"""Canonical links and duplicates: one page holds a content, and no content is lost over it."""

from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web

from tests.fakes.site import FakeSite
from tests.fakes.site_behaviours import redirect, status
from tests.unit.producer.crawl_play import Play, article, canonical

SHORT = "<html><body><main><h1>Empty</h1><p>Nothing here yet.</p></main></body></html>"


@pytest.fixture
async def site() -> AsyncIterator[FakeSite]:
    async with FakeSite(pages=0) as site:
        yield site


@pytest.fixture
def play(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> Play:
    return Play(monkeypatch, site.url)


def about(subject: str) -> Callable[[Play], bool]:
    return lambda play: any(f"about {subject}" in text for text in play.texts())


async def test_a_copy_leads_to_its_canonical_page_and_is_left_out(site: FakeSite, play: Play) -> None:
    site.put("/docs/", article("start", "copy", "a"))
    site.put("/docs/copy", article("copies", "b", head=canonical("/docs/real")))
    for path in ("a", "b", "real"):
        site.put(f"/docs/{path}", article(path))
    await play.crawl()
    copy = play.pages["/docs/copy"]
    assert (copy.state, copy.reason) == ("skipped", f"canonical is {site.root}/docs/real")
    assert (copy.instead, copy.chunks) == (f"{site.root}/docs/real", ())
    assert play.states["/docs/real"] == play.states["/docs/b"] == "fetched", "its links are followed"
    assert site.requests["/docs/copy"] == 1


@pytest.mark.parametrize(
    ("link", "state"),
    [
        ('<real>; rel="canonical"', "skipped"),
        ('</docs/x>; rel=prev; title="a, b", <real>; type="text/html"; REL="nofollow canonical"', "skipped"),
        ("<real> ;rel=canonical", "skipped"),
        ("<real>; rel=next", "fetched"),
        ('<real>; title="; rel=canonical"', "fetched"),
        ("<copy>; rel=canonical", "fetched"),
        ("<http://[>; rel=canonical", "fetched"),
        ("rel=canonical", "fetched"),
    ],
)
async def test_a_canonical_url_in_a_header(site: FakeSite, play: Play, link: str, state: str) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=article("copies"), content_type="text/html", headers={"Link": link})

    site.put("/docs/", article("start", "copy"))
    site.put("/docs/real", article("real"))
    site.behave("/docs/copy", answer)
    await play.crawl()
    assert play.states.get("/docs/copy") == state
    assert ("/docs/real" in play.states) == (state == "skipped")


@pytest.mark.parametrize("target", ["/docs/", "https://elsewhere.example/x", "/outside", "http://["])
async def test_a_canonical_url_that_is_its_own_or_out_of_scope_is_ignored(
    site: FakeSite, play: Play, target: str
) -> None:
    site.put("/docs/", article("start", head=canonical(target)))
    await play.crawl()
    assert play.states == {"/docs/": "fetched"}


async def test_two_that_name_each_other_are_not_both_lost(site: FakeSite, play: Play) -> None:
    site.put("/docs/", article("start", "a", "b"))
    site.put("/docs/a", article("one", head=canonical("/docs/b")))
    site.put("/docs/b", article("other", head=canonical("/docs/a")))
    await play.crawl()
    assert (play.states["/docs/a"], play.states["/docs/b"]) == ("fetched", "skipped")


async def test_a_circle_of_three_and_a_page_before_it_keep_one(site: FakeSite, play: Play) -> None:
    site.put("/docs/", article("start", "p", "a", "b", "c"))
    for path, target in (("p", "b"), ("a", "b"), ("b", "c"), ("c", "a")):
        site.put(f"/docs/{path}", article(path, head=canonical(f"/docs/{target}")))
    await play.crawl()
    assert [path for path, state in play.states.items() if state == "fetched"] == ["/docs/", "/docs/a"]


@pytest.mark.parametrize(
    "target",
    [
        status(404),
        status(500),
        status(403),
        redirect("/docs/a"),
        redirect("/docs/gone"),
        redirect("https://o.example/"),
    ],
)
async def test_a_canonical_page_that_comes_to_nothing_does_not_take_the_copy_with_it(
    site: FakeSite, play: Play, target: object
) -> None:
    site.put("/docs/", article("start", "a"))
    site.put("/docs/a", article("the copy", head=canonical("/docs/b")))
    site.behave("/docs/b", target)  # type: ignore[arg-type]
    ending = await play.crawl()
    assert play.states["/docs/a"] == "fetched"
    assert about("the copy")(play)
    assert ending.counts.pages_crawled == 2


async def test_a_canonical_page_that_robots_txt_forbids_does_not_take_the_copy_with_it(
    site: FakeSite, play: Play
) -> None:
    site.robots = "User-agent: *\nDisallow: /docs/b\n"
    site.put("/docs/", article("start", "a"))
    site.put("/docs/a", article("the copy", head=canonical("/docs/b")))
    await play.crawl()
    assert play.states["/docs/a"] == "fetched"


async def test_a_site_that_names_its_start_page_everywhere_is_not_believed(site: FakeSite, play: Play) -> None:
    names = [f"p{number}" for number in range(60)]
    site.put("/docs/", article("start", *names, head=canonical("/docs/")))
    for name in names:
        site.put(f"/docs/{name}", article(name, head=canonical("/docs/")))
    await play.crawl()
    assert set(play.states.values()) == {"fetched"}
    assert len(play.states) == 61


async def test_variants_by_query_of_a_canonical_page_may_be_many(site: FakeSite, play: Play) -> None:
    variants = [f"list?page={number}" for number in range(60)]
    site.put("/docs/", article("start", *variants))
    site.put("/docs/list", article("a list", head=canonical("/docs/list")))
    await play.crawl()
    assert play.states["/docs/list"] == "fetched"
    assert all(play.states[f"/docs/{variant}"] == "skipped" for variant in variants)


async def test_a_refresh_in_which_the_canonical_url_flips_loses_no_content(site: FakeSite, play: Play) -> None:
    site.put("/docs/", article("start", "a", "b"))
    site.put("/docs/a", article("the text", head=canonical("/docs/a")))
    site.put("/docs/b", article("the text", head=canonical("/docs/a")))
    await play.crawl()
    assert (play.states["/docs/a"], play.states["/docs/b"]) == ("fetched", "skipped")
    for path in ("a", "b"):
        site.put(f"/docs/{path}", article("the text", head=canonical("/docs/b")))
    await play.refresh()
    assert (play.states["/docs/a"], play.states["/docs/b"]) == ("skipped", "fetched")
    assert about("the text")(play)


async def test_a_canonical_url_that_appears_and_leads_nowhere_changes_nothing(site: FakeSite, play: Play) -> None:
    site.put("/docs/", article("start", "a"))
    site.put("/docs/a", article("the text"))
    await play.crawl()
    before = play.pages["/docs/a"].chunks
    site.put("/docs/a", article("the text", head=canonical("/docs/missing")))
    await play.refresh()
    assert (play.states["/docs/a"], play.pages["/docs/a"].chunks) == ("unchanged", before)


async def test_the_same_content_is_held_by_one_page(site: FakeSite, play: Play) -> None:
    site.put("/docs/", article("start", "a", "b", "c"))
    for path in ("a", "b", "c"):
        site.put(f"/docs/{path}", article("the same", f"only-{path}"))
        site.put(f"/docs/only-{path}", article(f"below {path}"))
    await play.crawl()
    holders = [path for path in ("a", "b", "c") if play.states[f"/docs/{path}"] == "fetched"]
    assert len(holders) == 1
    for path in {"a", "b", "c"} - set(holders):
        page, holder = play.pages[f"/docs/{path}"], f"{site.root}/docs/{holders[0]}"
        assert (page.state, page.reason, page.instead) == ("skipped", f"same content as {holder}", holder)
        assert play.states[f"/docs/only-{path}"] == "fetched", "links of a duplicate are followed"


async def test_short_pages_are_no_duplicates(site: FakeSite, play: Play) -> None:
    site.put("/docs/", article("start", "a", "b"))
    site.put("/docs/a", SHORT)
    site.put("/docs/b", SHORT)
    await play.crawl()
    assert set(play.states.values()) == {"fetched"}


async def test_the_next_epoch_knows_who_holds_what(site: FakeSite, play: Play) -> None:
    site.put("/docs/", article("start", "a"))
    site.put("/docs/a", article("the same", "b"))
    site.put("/docs/b", article("the same"))
    await play.crawl()
    play.forget(["/docs/b"])
    site.forget()
    await play.crawl()
    assert (play.states["/docs/a"], play.states["/docs/b"]) == ("fetched", "skipped")
    assert site.requests["/docs/a"] == 0


async def test_the_next_epoch_looks_again_at_a_duplicate_whose_holder_has_no_record(site: FakeSite, play: Play) -> None:
    site.put("/docs/", article("start", "a"))
    site.put("/docs/a", article("the same", "b"))
    site.put("/docs/b", article("the same"))
    await play.crawl()
    play.forget(["/docs/a"])
    site.behave("/docs/a", status(404))
    await play.crawl()
    assert (play.states["/docs/a"], play.states["/docs/b"]) == ("gone", "fetched")
    assert about("the same")(play)


async def test_a_refresh_prefers_the_page_that_base_has(site: FakeSite, play: Play) -> None:
    site.put("/docs/", article("start", "z/old"))
    site.put("/docs/z/old", article("the same"))
    await play.crawl()
    before = play.pages["/docs/z/old"].chunks
    site.put("/docs/", article("start again", "new", "z/old"))
    site.put("/docs/new", article("the same"))
    await play.refresh()
    assert play.states["/docs/new"] == "skipped"
    assert (play.states["/docs/z/old"], play.pages["/docs/z/old"].chunks) == ("unchanged", before)


@pytest.mark.parametrize("linked", [True, False])
async def test_content_that_moved_is_found_at_its_new_place(site: FakeSite, play: Play, linked: bool) -> None:
    site.put("/docs/", article("start", "old"))
    site.put("/docs/old", article("what moved"))
    await play.crawl()
    site.put("/docs/", article("start again", "new", *(["old"] if linked else [])))
    site.put("/docs/new", article("what moved"))
    site.remove("/docs/old")
    await play.refresh()
    assert (play.states["/docs/old"], play.states["/docs/new"]) == ("gone", "fetched")
    assert about("what moved")(play)


async def test_of_several_whose_holder_went_one_takes_its_place(site: FakeSite, play: Play) -> None:
    site.put("/docs/", article("start", "old"))
    site.put("/docs/old", article("what moved"))
    await play.crawl()
    site.put("/docs/", article("start again", "one", "two", "three"))
    for path in ("one", "two", "three"):
        site.put(f"/docs/{path}", article("what moved"))
    site.remove("/docs/old")
    await play.refresh()
    states = [play.states[f"/docs/{path}"] for path in ("one", "two", "three")]
    assert sorted(states) == ["fetched", "skipped", "skipped"]


async def test_a_holder_whose_text_changed_frees_what_it_held(site: FakeSite, play: Play) -> None:
    site.put("/docs/", article("start", "a", "b"))
    site.put("/docs/a", article("the same"))
    site.put("/docs/b", article("the same"))
    await play.crawl()
    holder = next(path for path in ("a", "b") if play.states[f"/docs/{path}"] == "fetched")
    site.put(f"/docs/{holder}", article("something else"))
    await play.refresh()
    assert play.states["/docs/a"] == play.states["/docs/b"] == "fetched"
    assert about("the same")(play)
    assert about("something else")(play)


async def test_a_refresh_of_duplicates_changes_nothing(site: FakeSite, play: Play) -> None:
    site.put("/docs/", article("start", "a", "b"))
    site.put("/docs/a", article("the same"))
    site.put("/docs/b", article("the same"))
    await play.crawl()
    before = {path: page.chunks for path, page in play.pages.items()}
    for _ in range(2):
        await play.refresh()
        assert {path: page.chunks for path, page in play.pages.items()} == before


async def test_a_holder_that_fails_now_keeps_its_content_and_its_duplicates_wait(site: FakeSite, play: Play) -> None:
    site.put("/docs/", article("start", "a"))
    site.put("/docs/a", article("the same"))
    await play.crawl()
    site.put("/docs/", article("start again", "a", "b"))
    site.put("/docs/b", article("the same"))
    site.behave("/docs/a", status(500))
    await play.refresh()
    assert (play.states["/docs/a"], play.states["/docs/b"]) == ("kept", "skipped")
    assert about("the same")(play)


async def test_an_instant_refresh_is_a_redirect(site: FakeSite, play: Play) -> None:
    site.put("/docs/", '<meta http-equiv="refresh" content="0; url=v2/"><p>Redirecting</p>')
    site.put("/docs/v2/", article("version two"))
    await play.crawl()
    start = play.pages["/docs/"]
    assert (start.state, start.reason) == ("redirected", f"sends its readers on to {site.root}/docs/v2/")
    assert play.states["/docs/v2/"] == "fetched"


@pytest.mark.parametrize("target", ["/docs/a", "/docs/a?utm_source=x", "/docs/a;jsessionid=ABC", "#top"])
async def test_a_redirect_to_itself_is_an_error_and_costs_no_content(site: FakeSite, play: Play, target: str) -> None:
    site.put("/docs/", article("start", "a", "b"))
    site.put("/docs/a", article("what stays"))
    site.behave("/docs/b", redirect(target.replace("a", "b", 1)))
    ending = await play.crawl()
    page = play.pages["/docs/b"]
    assert (page.state, page.reason, ending.counts.pages_failed) == ("failed", "redirects to itself", 1)
    site.behave("/docs/a", redirect(target))
    ending = await play.refresh()
    assert (play.states["/docs/a"], ending.counts.pages_failed) == ("kept", 2)
    assert about("what stays")(play)


async def test_redirects_in_a_circle_are_errors_and_cost_no_content(site: FakeSite, play: Play) -> None:
    site.put("/docs/", article("start", "way", "a", "b"))
    for path in ("a", "b", "c"):
        site.put(f"/docs/{path}", article(path))
    site.behave("/docs/way", redirect("/docs/a"))
    await play.crawl()
    for path, target in (("a", "b"), ("b", "c"), ("c", "a")):
        site.behave(f"/docs/{path}", redirect(f"/docs/{target}"))
    ending = await play.refresh()
    assert (play.states["/docs/way"], play.states["/docs/a"], play.states["/docs/b"]) == ("redirected", "kept", "kept")
    assert play.pages["/docs/b"].reason == f"redirects in a circle, by way of {site.root}/docs/c"
    assert (play.states["/docs/c"], ending.counts.pages_failed, play.end.errors) == ("failed", 3, 3)
    assert about("a")(play)
    assert about("b")(play)


async def test_a_circle_of_instant_refreshes_is_read_for_what_it_is(site: FakeSite, play: Play) -> None:
    site.put("/docs/", article("start", "a"))
    for path, target in (("a", "b"), ("b", "a")):
        site.put(f"/docs/{path}", article(path, head=f'<meta http-equiv="refresh" content="5; url={target}">'))
    await play.crawl()
    assert play.states == {"/docs/": "fetched", "/docs/a": "fetched", "/docs/b": "fetched"}


@pytest.mark.parametrize("code", [201, 202, 204, 205, 206])
async def test_success_without_the_page_is_an_error_and_costs_no_content(site: FakeSite, play: Play, code: int) -> None:
    site.put("/docs/", article("start", "a"))
    site.put("/docs/a", article("what stays"))
    await play.crawl()
    site.behave("/docs/a", status(code, text=""))
    ending = await play.refresh()
    page = play.pages["/docs/a"]
    assert (page.state, page.reason, ending.counts.pages_failed) == ("kept", f"status {code}", 1)
    assert about("what stays")(play)


async def test_noindex_and_nofollow(site: FakeSite, play: Play) -> None:
    site.put("/docs/", article("start", "hidden", "end"))
    site.put("/docs/hidden", article("hidden", "below", head="<meta name=robots content=noindex>"))
    site.put("/docs/end", article("end", "unseen", head="<meta name=robots content=nofollow>"))
    for path in ("below", "unseen"):
        site.put(f"/docs/{path}", article(path))
    await play.crawl()
    assert play.states == {
        "/docs/": "fetched", "/docs/hidden": "skipped", "/docs/end": "fetched", "/docs/below": "fetched",
    }  # fmt: skip
    assert play.pages["/docs/hidden"].reason == "noindex"


async def test_next_pages_other_languages_and_frames_are_followed(site: FakeSite, play: Play) -> None:
    head = "<link rel=next href=two><link rel=alternate hreflang=de href=de/>"
    site.put("/docs/", article("start", head=head) + "<iframe src=frame></iframe>")
    for path in ("two", "de/", "frame"):
        site.put(f"/docs/{path}", article(path))
    await play.crawl()
    assert set(play.states) == {"/docs/", "/docs/two", "/docs/de/", "/docs/frame"}
