from hypothesis import given
from hypothesis import strategies as st

from producer.frontier import Entry, Frontier


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
    assert frontier.add(Entry("b", 0)), "it may be found again when there is room"


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 4))))
def test_gives_back_every_distinct_url_in_order_of_depth(found: list[tuple[int, int]]) -> None:
    frontier = Frontier()
    depths: dict[str, int] = {}
    for number, depth in found:
        if frontier.add(Entry(f"u{number}", depth)):
            depths[f"u{number}"] = depth
    assert len(frontier) == len(depths) == len({number for number, _ in found})
    order = drained(frontier)
    assert sorted(order) == sorted(depths)
    assert [depths[url] for url in order] == sorted(depths.values())
