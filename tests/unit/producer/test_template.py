"""Which element holds a site's content, learnt from its pages; and that what was learnt changes no unchanged page."""

import random

import pytest

from producer.content.template import PAGES, Sketch, element_at, learn, path_to
from producer.extract import Site, _parse, extract
from producer.templates import MISFITS, Templates
from producer.work import PageInput, PageOutput, process_page
from schemas.pages import PageRecord

WORDS = "gate water miller wheel race sluice stone grain flour river bank weir pond shaft cog".split()
FRAME = "Mills of the valley. A guide to every one of them, kept by the society since it was founded long ago. "


def url(number: int) -> str:
    return f"https://h.example/{number}.html"


def prose(number: int, sentences: int = 12) -> str:
    """Words of its own for each page."""
    choose = random.Random(number)
    return " ".join(" ".join(choose.choices(WORDS, k=9)).capitalize() + "." for _ in range(sentences))


def page(number: int, shape: str = "a", text: str | None = None) -> bytes:
    """No semantics, no telling names; neighbours are linked, and the page's title stands in the frame once more."""
    near = "".join(f"<p><a href=/{n}.html>{prose(n, 1)}</a></p>" for n in range(number + 1, number + 4))
    body = (
        f"<div class=k1><div class=k2><b>Society</b> {FRAME * 2}</div></div><div class=k3><div class=k4>{near}</div>"
        f"<div class='k5 {shape}'><div id=s{number}><h2>Mill {number}</h2><p>{text or prose(number)}</p></div></div>"
        "</div>"
        f"<div class=k6>{FRAME}<p>Written to be read.</p></div>"
    )
    return f"<!DOCTYPE html><title>Mill {number}</title><body>{body}</body>".encode()


def sketch(number: int, shape: str = "a") -> Sketch:
    found = extract(url(number), page(number, shape), "text/html", site=Site(undecided=True)).sketch
    assert found is not None
    return found


def test_the_smallest_element_that_holds_what_is_not_frame() -> None:
    assert learn([sketch(n) for n in range(PAGES)]) == "div.k3/div.k5.a/div"


def test_only_the_content_is_read_with_it() -> None:
    document = extract(url(9), page(9), "text/html", site=Site("div.k3/div.k5.a/div"))
    assert (document.method, document.template) == ("template", "div.k3/div.k5.a/div")
    assert [block.text for block in document.blocks] == ["## Mill 9", prose(9)]
    assert FRAME.strip() in extract(url(9), page(9), "text/html").text


def test_a_page_that_it_does_not_fit_is_read_as_if_there_were_none() -> None:
    with_it = extract(url(9), page(9, "b"), "text/html", site=Site("div.k3/div.k5.a/div"))
    assert (with_it.method, with_it.template) == ("whole", None)
    assert with_it.blocks == extract(url(9), page(9, "b"), "text/html").blocks


def test_a_page_that_says_itself_what_its_content_is_needs_none() -> None:
    body = page(9).replace(b"<div class=k6>", b"<main><p>" + prose(3).encode() + b"</p></main><div class=k6>")
    document = extract(url(9), body, "text/html", site=Site("div.k3/div.k5.a/div", undecided=True))
    assert (document.method, document.template, document.sketch) == ("main", None, None)


@pytest.mark.parametrize(
    "bodies",
    [
        [f"<body><div><p>{prose(n)}</p></div></body>" for n in range(PAGES)],
        [f"<body><div class=c{n}><p>{prose(n)}</p></div><p>{FRAME}</p></body>" for n in range(PAGES)],
        [f"<body><div><p>{FRAME}</p></div></body>"] * PAGES,
        ["<body></body>"] * PAGES,
        [],
    ],
    ids=["no frame", "no element in common", "one text", "no text", "no pages"],
)
def test_there_is_none_where_pages_have_none(bodies: list[str]) -> None:
    sketches = [extract(url(0), body.encode(), "text/html", site=Site(undecided=True)).sketch for body in bodies]
    assert learn([each for each in sketches if each is not None]) is None


def test_a_path_leads_back_to_its_element() -> None:
    root = _parse(
        "<body><p>a<div class='x  y'><div>b</div><div class=z>c</div><div><div class='md:w-1/2'>d</div></div></div>"
    )
    assert root is not None
    for element in root.find("body").iterdescendants():
        assert element_at(root, path_to(element)) is element
    assert path_to(root.find(".//div[@class='md:w-1/2']")) == "div.x.y/div 1/div.md:w-12"
    assert [element_at(root, path) for path in ("div", "div.x.y/div 7", "", "div.x.y/div/p")] == [None] * 4


class Crawls:
    """Reads pages as a crawl does, in any order, and remembers what it would record."""

    def __init__(self, base: dict[str, PageRecord] | None = None) -> None:
        self.base, self.templates = base or {}, Templates()
        self.read: dict[str, PageOutput] = {}

    def visit(self, number: int, body: bytes | None = None) -> PageOutput:
        known = self.base.get(url(number))
        site = self.templates.site(url(number), known)
        content = process_page(PageInput(url(number), body or page(number), "text/html", site=site))
        self.templates.note(url(number), site, content)
        if (better := self.templates.better(url(number), site, content, known)) is not None:
            content = process_page(PageInput(url(number), body or page(number), "text/html", site=better))
        self.read[url(number)] = content
        return content

    def records(self) -> dict[str, PageRecord]:
        return {
            content.url: PageRecord(
                kb_id="kb", generation=1, job_id="j", epoch=0, attempt=1, url=content.url, state="fetched",
                content_hash=content.content_hash, template=content.template, fetched_at="2026-11-25T00:00:00Z",
            )
            for content in self.read.values()
        }  # fmt: skip

    @property
    def hashes(self) -> dict[str, str]:
        return {content.url: content.content_hash for content in self.read.values()}


def test_a_crawl_learns_from_its_first_pages_and_reads_the_others_with_it() -> None:
    crawl = Crawls()
    assert [crawl.visit(n).method for n in range(PAGES + 2)] == ["whole"] * PAGES + ["template"] * 2


def test_odd_pages_among_the_first_only_put_learning_off() -> None:
    crawl = Crawls()
    odd = [f"<p>{name} " + f"{name} has a page of its own, unlike all others. " * 20 for name in ("Ann", "Ben")]
    for number, body in enumerate(odd):
        crawl.visit(100 + number, body.encode())
    assert [crawl.visit(n).method for n in range(12)] == ["whole"] * 8 + ["template"] * 4


@pytest.mark.parametrize("seed", range(5))
def test_a_refresh_of_an_unchanged_site_finds_every_page_unchanged_in_any_order(seed: int) -> None:
    first = Crawls()
    for number in range(3 * PAGES):
        first.visit(number)
    refresh = Crawls(first.records())
    for number in random.Random(seed).sample(range(3 * PAGES), 3 * PAGES):
        refresh.visit(number)
    assert refresh.hashes == first.hashes
    third = Crawls(refresh.records())
    for number in reversed(range(3 * PAGES)):
        third.visit(number)
    assert third.hashes == first.hashes


def test_a_page_that_has_changed_is_read_as_its_host_s_pages_are_now() -> None:
    first = Crawls()
    for number in range(PAGES + 1):
        first.visit(number)
    refresh = Crawls(first.records())
    refresh.visit(PAGES)
    assert (first.read[url(0)].method, refresh.visit(0).method) == ("whole", "whole")
    assert refresh.visit(1, page(1, text=prose(99))).method == "template"


def test_new_pages_of_a_refresh_are_read_with_base_s_template() -> None:
    first = Crawls()
    for number in range(PAGES + 1):
        first.visit(number)
    refresh = Crawls(first.records())
    refresh.visit(PAGES)
    assert refresh.visit(77).method == "template"


def test_a_template_that_fits_no_more_is_learnt_anew() -> None:
    crawl = Crawls()
    for number in range(PAGES):
        crawl.visit(number)
    new = range(20, 20 + MISFITS + PAGES + 1)
    methods = [crawl.visit(number, page(number, "b")).method for number in new]
    assert methods == ["whole"] * (MISFITS + PAGES) + ["template"]


def test_each_host_has_its_own() -> None:
    crawl = Crawls()
    for number in range(PAGES):
        crawl.visit(number)
    assert crawl.templates.site("https://h.example/x", None).template
    assert crawl.templates.site("https://other.example/x", None) == Site(undecided=True)
