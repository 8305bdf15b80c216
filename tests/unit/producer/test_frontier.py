import gc
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from producer.frontier import Entry, Frontier
from producer.urltable import UrlTable


def drained(frontier: Frontier) -> list[str]:
    urls = []
    while (entry := frontier.pop()) is not None:
        urls.append(entry.url)
    return urls


def test_goes_by_depth_then_by_discovery() -> None:
    frontier = Frontier()
    for url, depth in (("deep", 2), ("seed", 0), ("b", 1), ("a", 1)):
        frontier.add(Entry(url, depth))
    assert drained(frontier) == ["seed", "b", "a", "deep"]
    assert frontier.emptied


def test_takes_each_url_once_even_after_it_was_popped() -> None:
    frontier = Frontier()
    assert frontier.add(Entry("a", 0))
    assert not frontier.add(Entry("a", 3))
    frontier.pop()
    assert not frontier.add(Entry("a", 0))
    assert drained(frontier) == []


def test_a_visited_url_is_taken_no_more() -> None:
    frontier = Frontier()
    frontier.mark_visited("a")
    assert frontier.visited("a")
    assert not frontier.add(Entry("a", 0))


def test_a_popped_url_is_not_visited_until_it_is_marked() -> None:
    frontier = Frontier()
    frontier.add(Entry("a", 0))
    frontier.pop()
    assert not frontier.visited("a")


def test_readmits_what_was_visited() -> None:
    frontier = Frontier()
    frontier.mark_visited("a")
    frontier.readmit(Entry("a", 1))
    assert not frontier.visited("a")
    assert drained(frontier) == ["a"]


def test_a_better_way_to_what_waits_counts_and_to_what_was_taken_does_not() -> None:
    frontier = Frontier()
    for url, depth in (("far", 3), ("near", 1), ("taken", 0)):
        frontier.add(Entry(url, depth))
    assert frontier.pop() == Entry("taken", 0)
    for each in (Entry("far", 1, hops=1), Entry("near", 2, hops=1), Entry("taken", 0, hops=1), Entry("new", 0, hops=1)):
        frontier.hasten(each)
    assert len(frontier) == 2
    assert [frontier.pop() for _ in range(3)] == [Entry("near", 1), Entry("far", 1, hops=1), None]
    assert frontier.emptied


def of(host: str, *paths: str) -> list[str]:
    return [f"https://{host}.example/{path}" for path in paths]


def test_passes_over_full_hosts_and_comes_back_to_them_first() -> None:
    frontier = Frontier()
    for url in [*of("a", "1", "2"), *of("b", "1"), *of("a", "3")]:
        frontier.add(Entry(url, 0))
    assert popped(frontier, full={"a.example"}) == of("b", "1")[0]
    assert popped(frontier, full={"a.example"}) is None
    assert (len(frontier), frontier.emptied) == (3, False)
    frontier.add(Entry("https://b.example/2", 0))
    assert popped(frontier) == of("a", "1")[0]
    assert popped(frontier, full={"a.example"}) == of("b", "2")[0]
    assert drained(frontier) == of("a", "2", "3")
    assert frontier.emptied


def test_passes_over_no_more_than_memory_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producer.frontier.MAX_PASSED_OVER", 3)
    frontier = Frontier()
    for url in [*of("a", *"12345"), *of("b", "1")]:
        frontier.add(Entry(url, 0))
    assert popped(frontier, full={"a.example"}) is None
    assert len(frontier) == 6
    assert drained(frontier) == [*of("a", *"12345"), *of("b", "1")]


def test_what_is_urgent_is_never_passed_over() -> None:
    frontier = Frontier()
    frontier.readmit(Entry(*of("a", "1"), 0))
    assert popped(frontier, full={"a.example"}) == of("a", "1")[0]


def popped(frontier: Frontier, full: set[str] | None = None) -> str | None:
    entry = frontier.pop(full or ())
    return entry.url if entry else None


def test_what_is_too_deep_does_not_keep_it_from_being_emptied() -> None:
    frontier = Frontier(max_depth=1)
    assert frontier.add(Entry("a", 1))
    assert not frontier.add(Entry("b", 2))
    assert drained(frontier) == ["a"]
    assert frontier.emptied


def test_what_found_no_room_means_it_was_never_emptied() -> None:
    frontier = Frontier(capacity=1)
    frontier.add(Entry("a", 0))
    assert not frontier.add(Entry("b", 0))
    assert drained(frontier) == ["a"]
    assert frontier.overflowed
    assert not frontier.emptied
    frontier.mark_visited("a")
    frontier.mark_visited("c")
    assert frontier.all_among("ac"), "what has a record is known whatever the room"


def test_what_is_too_deep_takes_room_as_well() -> None:
    frontier = Frontier(max_depth=0, capacity=1)
    frontier.add(Entry("a", 1))
    assert (frontier.too_deep("a"), frontier.overflowed) == (True, False)
    frontier.add(Entry("b", 1))
    assert (frontier.too_deep("b"), frontier.overflowed) == (False, True)


def open_files(directory: Path) -> list[str]:
    held = [Path("/proc/self/fd", fd) for fd in os.listdir("/proc/self/fd")]
    names = [os.readlink(each) for each in held if each.is_symlink()]
    return [name for name in names if name.startswith(str(directory))]


def test_what_waits_is_on_disk_in_files_without_a_name(tmp_path: Path) -> None:
    directory = tmp_path / "spilled"
    frontier = Frontier(directory=directory, block=10)
    frontier.add(Entry("seed", 0))
    assert not directory.exists(), "a small crawl writes nothing"
    found = [Entry(f"https://site.example/{n}", n % 2, f"https://site.example/from/{n}", n) for n in range(1_000)]
    for entry in found:
        frontier.add(entry)
    assert list(directory.iterdir()) == [], "kill -9 leaves nothing behind"
    assert len(open_files(directory)) == 2
    assert sum(len(level._first) + len(level._last) for level in frontier._levels.values()) < 40
    frontier.pop()
    order = [frontier.pop() for _ in found]
    assert order == sorted(found, key=lambda entry: entry.depth)
    del frontier
    gc.collect()
    assert open_files(directory) == []


@settings(max_examples=20)
@given(st.data())
def test_the_table_remembers_as_a_dict_does(data: st.DataObject) -> None:
    table, model = UrlTable(), dict[str, int]()
    urls = [f"https://site.example/{n}" for n in range(data.draw(st.integers(1, 60_000)))]
    for step in range(1, 4):
        for number, url in enumerate(urls[::step]):
            assert table.mark(url, number % 8, remove=step) == model.get(url, 0)
            model[url] = model.get(url, 0) & ~step | number % 8
    assert len(table) == len(model)
    assert [table.get(url) for url in urls] == [model[url] for url in urls]
    assert table.get("https://site.example/none") == 0


class FrontierMachine(RuleBasedStateMachine):
    """The frontier beside lists that are searched from the front."""

    URLS = st.integers(0, 40).map("https://site.example/{}".format)
    MAX_DEPTH, CAPACITY = 3, 30

    def __init__(self) -> None:
        super().__init__()
        self.frontier = Frontier(self.MAX_DEPTH, self.CAPACITY, block=2)
        self.waiting: list[Entry] = []
        self.urgent: list[Entry] = []
        self.seen, self.deep, self.visited, self.named = set[str](), set[str](), set[str](), set[str]()
        self.overflowed = False

    @rule(url=URLS, depth=st.integers(0, 4), hops=st.integers(0, 3), found=st.none() | URLS, named=st.booleans())
    def add(self, url: str, depth: int, hops: int, found: str | None, named: bool) -> None:
        entry, known = Entry(url, depth, found, hops, named=named), self.seen | self.deep
        deep, full = depth > self.MAX_DEPTH, len(known) >= self.CAPACITY and url not in known
        taken = not deep and not full and url not in self.seen
        self.overflowed |= full
        if deep and not full:
            self.deep.add(url)
        if taken:
            self.seen.add(url)
            self.named |= {url} if named else set()
            self.waiting.append(entry)
        assert self.frontier.add(entry) == taken

    @rule(url=URLS, depth=st.integers(0, 3), named=st.booleans())
    def hasten(self, url: str, depth: int, named: bool) -> None:
        entry = Entry(url, depth, named=named)
        waits = any(each.url == url for each in self.waiting) and url not in self.visited
        if waits and not (named and url in self.named):
            self.named |= {url} if named else set()
            self.waiting.append(entry)
        self.frontier.hasten(entry)

    @rule(url=URLS)
    def mark_visited(self, url: str) -> None:
        self.frontier.mark_visited(url)
        self.seen.add(url)
        self.visited.add(url)

    @rule(url=URLS, depth=st.integers(0, 4))
    def readmit(self, url: str, depth: int) -> None:
        self.frontier.readmit(Entry(url, depth))
        self.seen.add(url)
        self.visited.discard(url)
        self.urgent.append(Entry(url, depth))

    def first(self) -> Entry | None:
        if self.urgent:
            return self.urgent[0]
        return min(self.waiting, key=lambda entry: entry.priority, default=None)

    @rule()
    def pop(self) -> None:
        expected = self.first()
        if self.urgent:
            self.urgent.pop(0)
        elif expected is not None:
            self.waiting = [entry for entry in self.waiting if entry.url != expected.url]
        assert self.frontier.pop() == expected

    @rule(urls=st.sets(URLS))
    def all_among(self, urls: set[str]) -> None:
        assert self.frontier.all_among(urls) == (self.visited <= urls)
        assert self.frontier.all_among(urls | self.visited)

    @invariant()
    def the_rest_agrees(self) -> None:
        frontier = self.frontier
        assert frontier.first == self.first()
        assert len(frontier) == len({entry.url for entry in self.waiting}) + len(self.urgent)
        assert frontier.urgent == bool(self.urgent)
        assert frontier.overflowed == self.overflowed
        assert frontier.emptied == (not self.waiting and not self.urgent and not self.overflowed)
        for url in map("https://site.example/{}".format, range(41)):
            facts = frontier.seen(url), frontier.visited(url), frontier.too_deep(url)
            assert facts == (url in self.seen, url in self.visited, url in self.deep)


TestAgainstAModel: Any = FrontierMachine.TestCase
TestAgainstAModel.settings = settings(max_examples=150, stateful_step_count=60)
