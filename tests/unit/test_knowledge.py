"""A knowledge base searched from a program, over a socket."""

import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from headrace.client import ControlProblem, ControlUnreachable, InvalidAddress
from headrace.knowledge import Hit, KnowledgeBase
from tests.unit.cli.control_fake import FakeControl, status_of

FOUND = {
    "chunk_id": "c",
    "url": "https://example.org/",
    "title": "T",
    "heading_path": ["A", "B"],
    "text": "t",
    "score": 0.5,
}
HIT = Hit(chunk_id="c", url="https://example.org/", title="T", heading_path=("A", "B"), text="t", score=0.5)


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeControl]:
    monkeypatch.delenv("HEADRACE_TOKEN", raising=False)
    with FakeControl() as running:
        running.statuses["docs"] = [status_of()]
        running.hits = [{**FOUND, "field_of_a_later_version": 1}]
        monkeypatch.setenv("HEADRACE_URL", running.url)
        yield running


async def test_searches(control: FakeControl) -> None:
    kb = KnowledgeBase("docs")
    assert kb.search("q") == await kb.asearch("q") == [HIT]
    kb.search("q", k=2, mode="vector", filters={"path": "/a/**"})
    assert [body for _, body in control.requests("POST")] == [
        {"query": "q", "k": 5},
        {"query": "q", "k": 5},
        {"query": "q", "k": 2, "mode": "vector", "filters": {"path": "/a/**"}},
    ]


def test_the_token_is_shown_to_control_only(control: FakeControl, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    handler = control._server.RequestHandlerClass
    assert issubclass(handler, BaseHTTPRequestHandler)
    serve = handler.do_POST  # type: ignore[attr-defined]

    def noting(self: BaseHTTPRequestHandler) -> None:
        seen.append(self.headers.get("Authorization"))
        serve(self)

    monkeypatch.setattr(handler, "do_POST", noting)
    KnowledgeBase("docs").search("q")
    monkeypatch.setenv("HEADRACE_TOKEN", "hr_id_secret")
    kb = KnowledgeBase("docs")
    kb.search("q")
    KnowledgeBase("docs", token="hr_id_other").search("q")
    assert seen == [None, "Bearer hr_id_secret", "Bearer hr_id_other"]
    assert "secret" not in f"{kb!r} {kb} {vars(kb)} {vars(kb._client)}"


async def test_what_is_wrong_is_said(control: FakeControl) -> None:
    with pytest.raises(ControlProblem, match="no knowledge base") as refused:
        await KnowledgeBase("nothing").asearch("q")
    assert refused.value.code == "unknown-kb"
    with pytest.raises(ControlUnreachable, match="headrace up"):
        KnowledgeBase("docs", "http://127.0.0.1:1").search("q")
    with pytest.raises(InvalidAddress):
        KnowledgeBase("docs", "ftp://x")


def test_it_needs_no_other_package() -> None:
    """So that it works in the environment of another program."""
    code = (
        "import sys; sys.path.insert(0, '.'); import headrace.knowledge;"
        "print({n.partition('.')[0] for n in sys.modules} - set(sys.stdlib_module_names) - {'headrace', '__main__'})"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_token_that_is_none_is_refused_and_not_repeated(control: FakeControl) -> None:
    with pytest.raises(ValueError, match="a line break") as refused:
        KnowledgeBase("docs", token="hr_id_hush\nmore")
    assert "hush" not in repr(refused.value)
    KnowledgeBase("docs", token="hr_id_secret\n").search("q")
