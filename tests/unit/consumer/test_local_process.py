"""The model's process: killed, hung, stopped, orphaned; and the event loop beside it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from headrace.embedding import local
from headrace.embedding.local import LocalEmbedder
from headrace.errors import DependencyUnwell
from headrace.settings import Settings
from schemas.kb import Embedding
from tests.support.waiting import until

EMBEDDING = Embedding(provider="local", model="all-MiniLM-L6-v2", dimensions=384)
PARENT = """
import asyncio
from headrace.embedding.local import LocalEmbedder
from headrace.settings import Settings
from schemas.kb import Embedding

async def main():
    embedder = LocalEmbedder(Embedding(provider="local", model="all-MiniLM-L6-v2", dimensions=384), Settings.from_env())
    await embedder.embed(["a"])
    print(embedder.process_id, flush=True)
    while True:
        await embedder.embed(["The gate holds the water back. " * 40] * 400)

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.fixture
async def embedder() -> AsyncIterator[LocalEmbedder]:
    embedder = LocalEmbedder(EMBEDDING, Settings.from_env())
    yield embedder
    await embedder.stop()


async def test_a_killed_process_is_started_again_and_the_call_goes_on(embedder: LocalEmbedder) -> None:
    before = (await embedder.embed(["a"])).vectors
    process_id = running(embedder)
    os.kill(process_id, signal.SIGSTOP)
    calls = [asyncio.ensure_future(embedder.embed(["b", "c"])), asyncio.ensure_future(embedder.embed(["a"]))]
    await asyncio.wait(calls, timeout=0.2)
    os.kill(process_id, signal.SIGKILL)
    under_way, waited = await asyncio.gather(*calls)
    assert under_way.vectors.shape == (2, 384)
    np.testing.assert_allclose(waited.vectors, before, atol=1e-5)
    assert running(embedder) != process_id


async def test_a_process_killed_between_two_calls_is_not_missed(embedder: LocalEmbedder) -> None:
    await embedder.embed(["a"])
    os.kill(running(embedder), signal.SIGKILL)
    assert (await embedder.embed(["a"])).vectors.shape == (1, 384)


async def test_a_process_that_can_not_start_is_an_outage(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    embedder = LocalEmbedder(EMBEDDING, Settings(cache_dir=tmp_path / "file"))
    with pytest.raises(DependencyUnwell, match="local model"):
        await embedder.embed(["a"])
    await embedder.stop()


async def test_a_process_that_hangs_is_ended(embedder: LocalEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    await embedder.embed(["a"])
    process_id, answer = running(embedder), local._ModelProcess._answer

    def soon(process: Any, within_s: float) -> Any:
        return answer(process, 0.2 if process.process_id == process_id else within_s)

    monkeypatch.setattr(local._ModelProcess, "_answer", soon)
    os.kill(process_id, signal.SIGSTOP)
    assert (await embedder.embed(["a"])).vectors.shape == (1, 384)
    assert running(embedder) != process_id
    await until(lambda: gone(process_id))


async def test_stop_ends_a_call_under_way_and_starts_no_other_process(
    embedder: LocalEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    await embedder.embed(["a"])
    started: list[Any] = []
    monkeypatch.setattr(local, "_ModelProcess", started.append)
    process_id = running(embedder)
    os.kill(process_id, signal.SIGSTOP)  # it would take CALL_S
    call = asyncio.ensure_future(embedder.embed(["a"]))
    await asyncio.wait({call}, timeout=0.2)
    async with asyncio.timeout(local.CALL_S / 2):
        await embedder.stop()
    with pytest.raises(DependencyUnwell, match="stopped"):
        await call
    assert started == []
    await until(lambda: gone(process_id))


async def test_a_cancelled_call_leaves_the_next_its_own_answer(embedder: LocalEmbedder) -> None:
    await embedder.embed(["a"])
    os.kill(running(embedder), signal.SIGSTOP)
    call = asyncio.ensure_future(embedder.embed(["a"]))
    await asyncio.wait({call}, timeout=0.2)
    call.cancel()
    os.kill(running(embedder), signal.SIGCONT)
    assert (await embedder.embed(["a", "b"])).vectors.shape == (2, 384)


async def test_a_killed_parent_leaves_no_process_behind() -> None:
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    process_id = int(await parent.stdout.readline())
    assert psutil.pid_exists(process_id)
    parent.kill()
    await parent.wait()
    await until(lambda: gone(process_id))


async def test_the_event_loop_goes_on_beside_it(embedder: LocalEmbedder) -> None:
    """How long its longest turn takes is the benchmark's."""
    await embedder.embed(["a"])
    os.kill(running(embedder), signal.SIGSTOP)
    call = asyncio.ensure_future(embedder.embed(["a"]))
    await asyncio.wait({call}, timeout=0.2)
    assert not call.done()
    os.kill(running(embedder), signal.SIGCONT)
    await call


def running(embedder: LocalEmbedder) -> int:
    assert embedder.process_id is not None
    return embedder.process_id


async def gone(process_id: int) -> bool:
    try:
        return psutil.Process(process_id).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
