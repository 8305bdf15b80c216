"""A text that ends the model's process is refused by itself; a process that ends over every text is an outage."""

import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from consumer import calls as module
from consumer.stalls import GaveUp
from headrace.embedding import local
from headrace.embedding.local import LocalEmbedder
from headrace.settings import Settings
from schemas.kb import Embedding
from tests.fakes import local_model
from tests.unit.consumer.test_calls import Rig

WANTS_MUCH = """
import numpy as np
from headrace.embedding.minilm import limit_memory
limit_memory(64 << 20)
np.ones(4 << 20, dtype=np.uint8)
print("some", flush=True)
np.ones(128 << 20, dtype=np.uint8)
"""


@pytest.fixture
async def rig_of(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[Any], Rig]]:
    embedding = Embedding(provider="local", model="all-MiniLM-L6-v2", dimensions=384)
    embedder = LocalEmbedder(embedding, Settings())

    def rig(serve: Any) -> Rig:
        monkeypatch.setattr(local, "_serve", serve)
        return Rig(embedder)

    yield rig
    await embedder.stop()


async def test_the_text_that_ends_the_process_is_refused_and_others_go_on(rig_of: Callable[[Any], Rig]) -> None:
    rig = rig_of(local_model.ends_over_some)
    texts = await rig.embed("a", f"a {local_model.DEADLY} text", "b", "c")
    assert [text.vector is not None for text in texts] == [True, False, True, True]
    assert texts[1].refused and "local model refuses this text: twice its process was killed" in texts[1].refused
    assert rig.told.stalls == []


async def test_a_process_that_ends_over_every_text_is_an_outage(
    rig_of: Callable[[Any], Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.0)
    rig = rig_of(local_model.ends_over_all)
    with pytest.raises(GaveUp, match="local model: its process was killed"):
        await rig.embed("a", "b")


@pytest.mark.skipif(sys.platform != "linux", reason="what a process may take is limited on Linux")
def test_who_wants_more_memory_than_it_may_have_ends() -> None:
    """This one's own limit is as it was."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    ended = subprocess.run([sys.executable, "-c", WANTS_MUCH], capture_output=True, text=True, check=False)
    assert ended.stdout == "some\n" and "MemoryError" in ended.stderr
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
