"""Why a URL has no record: whole crawls of a site on loopback, and what is found out about what they left out."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from headrace.embedded.ports import free_ports
from headrace.settings import Settings
from producer.explain import Explanation, Generation, Linked, Question, explain, judge, with_log
from producer.rules import Rules
from schemas.kb import Definition, Source
from tests.fakes.site import FakeSite
from tests.fakes.site_behaviours import redirect
from tests.unit.producer.crawl_play import Play, article
from tests.unit.producer.test_sitemaps import entry, index, urlset

SITE = "https://h.example"


def definition(*urls: str, **source: Any) -> Definition:
    return Definition(source=Source(urls=urls or (f"{SITE}/docs/",), **source))


@pytest.fixture
async def site() -> AsyncIterator[FakeSite]:
    async with FakeSite(pages=0) as running:
        yield running


class TestByDefinitionAndUrl:
    @pytest.mark.parametrize(
        ("url", "source", "verdict", "reason"),
        [
            ("/docs/a", {}, "inside", "under h.example/docs/"),
            ("/docs/", {"exclude": ("/docs/old/",)}, "inside", "start URL"),
            ("/blog/a", {}, "out_of_scope", "outside the directories of the start URLs (inside: h.example/docs/)"),
            ("/docs/old/a", {"exclude": ("old/**",)}, "out_of_scope", "excluded by old/**"),
            ("/b", {"include": ("/a/**", "x/**")}, "out_of_scope", "(included: /a/**, x/**; of h.example)"),
            ("/docs/a?sort=up", {}, "trap", "another order of a list"),
            ("/docs/" + "a/" * 25, {}, "trap", "a path of 26 segments"),
            ("/docs/a", {"include": ("",)}, "invalid_scope", "a pattern has 1 to"),
        ],
    )
    def test_verdicts(self, url: str, source: dict[str, Any], verdict: str, reason: str) -> None:
        told = judge(SITE + url, definition(**source))
        assert told.verdict == verdict
        assert reason in told.reason

    def test_other_hosts_and_what_is_no_url(self) -> None:
        told = judge("https://other.example/docs/", definition())
        assert (told.verdict, "host other.example is not in scope" in told.reason) == ("out_of_scope", True)
        for url, reason in (("docs/a", "not an absolute URL"), ("mailto:a@h.example", "only http and https")):
            told = judge(url, definition())
            assert (told.url, told.verdict) == (None, "invalid_url")
            assert reason in told.reason
        assert "secret" not in judge("https://u:secret@h.example/", definition()).reason

    def test_the_url_is_told_as_it_is_known(self) -> None:
        assert judge("HTTPS://h.example:443/docs/a?utm_source=x#top", definition()).url == f"{SITE}/docs/a"

    def test_many_patterns_are_not_all_named(self) -> None:
        told = judge(f"{SITE}/b", definition(include=tuple(f"/{n}/**" for n in range(30))))
        assert "/9/** and 20 more; of h.example" in told.reason

    def test_a_start_url_is_no_trap(self) -> None:
        assert judge(f"{SITE}/a?sort=up", definition(f"{SITE}/a?sort=up")).verdict == "inside"


async def after(play: Play, url: str) -> tuple[Explanation, Linked]:
    told = await with_log(judge(url, play.definition), play.definition, play.log.manifest(play.generation, whole=True))
    assert told.linked is not None
    return told, told.linked


class TestByTheLog:
    async def test_what_was_linked_when_the_limit_of_pages_was_reached(
        self, site: FakeSite, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        site.put("/", article("start", "/a", "/b", "/c"))
        for path in ("/a", "/b", "/c"):
            site.put(path, article(path, "/deep"))
        play = Play(monkeypatch, site.root + "/", max_pages=3)
        await play.new().run()
        (left,) = {"/a", "/b", "/c"} - play.pages.keys()
        _, linked = await after(play, site.root + left)
        assert (linked.place, linked.against_limit, linked.cut) == ("next", 3, False)
        assert [(by.url, by.depth, by.state) for by in linked.by] == [(site.root + "/", 0, "fetched")]
        _, linked = await after(play, site.root + "/deep")
        assert (linked.place, len(linked.by)) == ("next", 2)
        _, linked = await after(play, site.root + "/unlinked")
        assert (linked.place, linked.by) == ("not_linked", ())

    async def test_what_robots_txt_forbids_is_not_against_the_limit(
        self, site: FakeSite, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        site.robots = "User-agent: *\nDisallow: /private/"
        site.put("/", article("start", "/private/a", "/private/b"))
        play = Play(monkeypatch, site.root + "/")
        await play.crawl()
        assert play.states["/private/a"] == "skipped"
        assert (await after(play, site.root + "/x"))[1].against_limit == 1

    async def test_what_lies_too_deep(self, site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
        site.put("/", article("start", "/a", "/moved"))
        site.put("/a", article("a", "/b"))
        site.behave("/moved", redirect("/target"))
        site.put("/target", article("target"))
        play = Play(monkeypatch, site.root + "/", max_depth=1)
        await play.crawl()
        _, linked = await after(play, site.root + "/b")
        assert (linked.place, [by.url for by in linked.by]) == ("too_deep", [site.root + "/a"])
        assert play.states["/target"] == "fetched"

    async def test_what_only_pages_link_to_that_repeat_others(
        self, site: FakeSite, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        site.put("/", article("start", "/x0"))
        for number in range(9):
            site.put(f"/x{number}", article("the same", f"/x{number + 1}"))
        play = Play(monkeypatch, site.root + "/")
        await play.crawl()
        left = next(f"/x{n}" for n in range(9) if f"/x{n}" not in play.pages)
        told, linked = await after(play, site.root + left)
        assert (told.verdict, linked.place, len(linked.by)) == ("inside", "left_out", 1)

    async def test_one_more_of_a_kind_than_are_let_in(self, site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
        site.put("/", article("start", *(f"/day/{2000 + n // 12}/{n % 12 + 1:02}/" for n in range(420))))
        play = Play(monkeypatch, site.root + "/")
        await play.crawl()
        (told, _) = await after(play, f"{site.root}/day/2034/12/")
        assert (told.verdict, "400 pages of dates are known already" in told.reason) == ("trap", True)
        (told, _) = await after(play, f"{site.root}/night/2034/12/")
        assert told.verdict == "inside"

    async def test_links_that_are_marked_nofollow(self, site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
        marked = '<a rel="nofollow" href="/a">a</a> <a rel="nofollow" href="/both">both</a><a rel=nofollow href="//x/">'
        site.put("/", article("start", "/quiet", "/both").replace("<main>", f"<main>{marked}"))
        site.put("/quiet", article("quiet", "/b", head='<meta name="robots" content="nofollow">'))
        site.put("/both", article("both"))
        play = Play(monkeypatch, site.root + "/")
        await play.crawl()
        assert play.pages["/"].nofollow_links == (site.root + "/a",)
        for path, on in (("/a", "/"), ("/b", "/quiet")):
            told, linked = await after(play, site.root + path)
            assert (told.verdict, linked.place, linked.by) == ("inside", "not_linked", ())
            assert [by.url for by in linked.marked] == [site.root + on]
        await play.refresh()
        assert (play.states["/"], play.pages["/"].nofollow_links) == ("unchanged", (site.root + "/a",))

    async def test_links_that_did_not_fit_into_the_record(
        self, site: FakeSite, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("producer.publication.MAX_LINK_BYTES", 60)
        site.put("/", article("start", "/a", "/b", "/c"))
        play = Play(monkeypatch, site.root + "/")
        await play.crawl()
        assert (await after(play, site.root + "/x"))[1].cut


class TestByTheSite:
    async def told(self, site: FakeSite, path: str, **more: Any) -> Explanation:
        asked = definition(site.root + "/docs/", allow_addresses=("127.0.0.0/8",))
        for name, section in more.items():
            asked = msgspec.structs.replace(asked, **{name: msgspec.structs.replace(getattr(asked, name), **section)})
        return await explain(Question(url=site.root + path, definition=asked, ask_site=True), Settings.from_env({}))

    async def test_the_rule_of_robots_txt(self, site: FakeSite) -> None:
        site.robots = "User-agent: *\nDisallow: /docs/p\nDisallow: /docs/private/\nAllow: /docs/private/open"
        told = await self.told(site, "/docs/private/a")
        assert told.robots is not None
        assert not told.robots.allowed
        assert told.robots.reason == "disallowed by robots.txt (disallow: /docs/private/)"
        assert site.requests == {"/robots.txt": 1}
        told = await self.told(site, "/docs/private/open")
        assert told.robots is not None and told.robots.allowed
        heedless = await self.told(site, "/docs/private/a", crawl={"respect_robots": False})
        assert heedless.robots is None

    async def test_the_sitemap_that_names_it(self, site: FakeSite) -> None:
        site.robots = f"Sitemap: {site.root}/maps.xml"
        site.put("/maps.xml", index("/one.xml", "/two.xml"))
        site.put("/one.xml", urlset(entry("/docs/a")))
        site.put("/two.xml", urlset(entry("/docs/b")))
        told = await self.told(site, "/docs/b")
        assert (told.sitemap, told.sitemaps_unread) == (f"{site.root}/two.xml", False)
        told = await self.told(site, "/docs/c")
        assert (told.sitemap, told.sitemaps_unread) == (None, False)
        site.put("/two.xml", urlset(entry("/docs/b"))[:-9])
        assert (await self.told(site, "/docs/c")).sitemaps_unread
        site.forget()
        assert (await self.told(site, "/docs/b", source={"sitemaps": False})).sitemap is None
        assert site.requests == {"/robots.txt": 1}

    async def test_nothing_is_asked_about_what_is_out_of_scope(self, site: FakeSite) -> None:
        assert (await self.told(site, "/blog/")).verdict == "out_of_scope"
        assert not site.requests

    async def test_an_address_that_may_not_be_reached(self, site: FakeSite) -> None:
        told = await self.told(site, "/docs/a", source={"allow_addresses": ()})
        assert told.robots is not None
        assert (told.robots.allowed, "forbidden" in told.robots.reason) == (False, True)


async def test_without_kafka_the_rest_is_told() -> None:
    (nobody,) = free_ports(1)
    settings = Settings.from_env({"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{nobody}"})
    assert settings.bootstrap_servers.endswith(f":{nobody}")
    log = Generation(kb_id="kb", generation=1, job_id="job")
    told = await explain(Question(url=f"{SITE}/docs/a", definition=definition(), log=log), settings)
    assert (told.verdict, told.linked) == ("inside", None)


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("/a/b", "disallow: /a/"),
        ("/a/x/b", "disallow: /a/x/"),
        ("/a/b.pdf", "disallow: /*.pdf$"),
        ("/b", None),
    ],
)
def test_the_rule_that_forbids(path: str, rule: str | None) -> None:
    rules = Rules(b"User-agent: *\nDisallow: /a/\nDisallow: /a/x/\nDisallow: /*.pdf$\nAllow: /b", "headrace")
    assert rules.forbidding(SITE + path) == rule
