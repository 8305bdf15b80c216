from pathlib import Path

import psutil
import pytest

from producer.spill import SpillFile
from producer.stored import Layers, PagesView, StoredPages
from schemas.pages import ChunkRef, PageRecord


def page(url: str, title: str = "") -> PageRecord:
    return PageRecord(
        kb_id="kb", generation=2, job_id="job", epoch=5, attempt=1, url=url, state="fetched", title=title,
        chunks=(ChunkRef("id", 2),), links=("https://site.example/ä", url), fetched_at="2026-01-01T00:00:00.000Z",
    )  # fmt: skip


def test_gives_back_every_field_of_the_last_record_and_leaves_no_name_behind(tmp_path: Path) -> None:
    stored = StoredPages(SpillFile(tmp_path))
    for title in ("first", "second"):
        for url in "abc":
            stored.put(page(url, title))
    stored.forget("b")
    stored.forget("never put")
    assert dict(stored) == {"a": page("a", "second"), "c": page("c", "second")}
    assert ("a" in stored, "b" in stored, len(stored)) == (True, False, 2)
    assert stored.get("b") is None
    assert list(tmp_path.iterdir()) == []


def test_its_file_is_closed_when_nobody_holds_it_any_more(tmp_path: Path) -> None:
    before = psutil.Process().num_fds()
    stored = StoredPages(SpillFile(tmp_path))
    stored.put(page("a"))
    assert psutil.Process().num_fds() == before + 1
    del stored
    assert psutil.Process().num_fds() == before


def test_a_record_of_the_largest_size_is_read_whole() -> None:
    stored, large = StoredPages(), page("a", "x" * 1_000_000)
    stored.put(page("b"))
    stored.put(large)
    stored.put(page("c"))
    assert stored["a"] == large


def test_a_view_shows_what_it_is_told_to_as_it_is_believed() -> None:
    view = PagesView({each: page(each) for each in "ab"}, frozenset("a"), lambda found: page(found.url, "believed"))
    assert dict(view) == {"a": page("a", "believed")}
    assert ("b" in view, view.get("b"), len(view)) == (False, None, 1)
    with pytest.raises(KeyError):
        view["b"]


def test_of_layers_the_first_counts() -> None:
    layers = Layers({"a": page("a", "upper")}, {each: page(each, "lower") for each in "ab"})
    assert dict(layers) == {"a": page("a", "upper"), "b": page("b", "lower")}
    assert (len(layers), "b" in layers, "c" in layers, layers.get("c")) == (2, True, False, None)
    layers.layers = ()
    assert not layers
