"""The model on this machine, as it is: near texts are near, and a text's vector does not hang on its company."""

from collections.abc import AsyncIterator

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from tokenizers import Tokenizer

from headrace.embedded.artifacts import fetch_minilm
from headrace.embedded.progress import SilentReporter
from headrace.embedding.local import LocalEmbedder
from headrace.errors import DependencyUnwell
from headrace.settings import Settings
from schemas.kb import Embedding


def padded_batch(texts: list[str]) -> npt.NDArray[np.float32]:
    """The model in this process, all texts in one run, as vectors were made before it had a process of its own."""
    files = fetch_minilm(Settings.from_env().cache_dir, SilentReporter())
    tokenizer = Tokenizer.from_file(str(files.tokenizer))
    tokenizer.enable_truncation(258)
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(texts)
    ids = np.array([each.ids for each in encoded], dtype=np.int64)
    mask = np.array([each.attention_mask for each in encoded], dtype=np.int64)
    session = onnxruntime.InferenceSession(str(files.model), providers=["CPUExecutionProvider"])
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    weights = mask[:, :, None].astype(np.float32)
    mean = (session.run(None, feeds)[0] * weights).sum(axis=1) / weights.sum(axis=1)
    vectors: npt.NDArray[np.float32] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    return vectors


TEXTS = [
    "How do I read a file line by line?",
    "Iterating over the lines of an opened document",
    "The cat sleeps on the warm windowsill",
    "short",
    "A kitten naps by the window in the sun. " * 12,
]


@pytest.fixture(scope="module")
async def embedder() -> AsyncIterator[LocalEmbedder]:
    embedding = Embedding(provider="local", model="all-MiniLM-L6-v2", dimensions=384)
    embedder = LocalEmbedder(embedding, Settings.from_env())
    yield embedder
    await embedder.stop()


@pytest.mark.parametrize(("model", "dimensions"), [("all-MiniLM-L6-v2", 256), ("bert", 384)])
async def test_a_model_that_is_not_there_stalls_its_job_and_ends_no_consumer(model: str, dimensions: int) -> None:
    """As a command that was written by hand may name it."""
    embedder = LocalEmbedder(Embedding(provider="local", model=model, dimensions=dimensions), Settings.from_env())
    with pytest.raises(DependencyUnwell, match=f"no {model} of {dimensions} dimensions") as caught:
        await embedder.embed(["a"])
    assert caught.value.lasting
    await embedder.stop()


async def test_near_in_meaning_is_near(embedder: LocalEmbedder) -> None:
    file, lines, cat, _, kitten = (await embedder.embed(TEXTS)).vectors
    strangers = max(file @ cat, file @ kitten, lines @ cat, lines @ kitten)
    assert min(file @ lines, cat @ kitten) > strangers + 0.15


async def test_vectors_are_unit_float32_in_order_and_tokens_are_counted(embedder: LocalEmbedder) -> None:
    embedded = await embedder.embed(TEXTS)
    assert embedded.vectors.shape == (5, 384) and embedded.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embedded.vectors, axis=1), 1, atol=1e-5)
    assert embedded.tokens > sum(len(text.split()) for text in TEXTS)


async def test_the_same_text_gives_the_same_vector_alone_and_in_a_batch(embedder: LocalEmbedder) -> None:
    together = (await embedder.embed(TEXTS * 4)).vectors
    for index, text in enumerate(TEXTS):
        alone = (await embedder.embed([text])).vectors[0]
        for row in together[index :: len(TEXTS)]:
            np.testing.assert_allclose(row, alone, atol=1e-5)


async def test_vectors_are_those_of_the_model_run_over_a_padded_batch(embedder: LocalEmbedder) -> None:
    """Near, if not to the bit: the int8 model rounds by the whole batch, a word among long texts most."""
    batch = padded_batch(TEXTS)
    ours = (await embedder.embed(TEXTS)).vectors
    assert (batch * ours).sum(axis=1).min() > 0.97


async def test_a_text_alone_is_as_the_model_gives_it_by_other_means(embedder: LocalEmbedder) -> None:
    for text in TEXTS:
        np.testing.assert_allclose((await embedder.embed([text])).vectors, padded_batch([text]), atol=1e-5)


async def test_a_long_text_counts_by_its_beginning(embedder: LocalEmbedder) -> None:
    long = "The cat sleeps on the warm windowsill. " * 400
    first, more = (await embedder.embed([long, long + "Tax law of maritime insurance."])).vectors
    np.testing.assert_allclose(first, more, atol=1e-5)


@pytest.mark.parametrize("text", ["", " ", "\n", "日本語の文章", "🙂" * 50, "\x00", "a" * 50_000])
async def test_any_text_has_a_finite_vector(embedder: LocalEmbedder, text: str) -> None:
    (vector,) = (await embedder.embed([text])).vectors
    assert np.isfinite(vector).all()


async def test_no_text_no_vector(embedder: LocalEmbedder) -> None:
    assert (await embedder.embed([])).vectors.shape == (0, 384)
