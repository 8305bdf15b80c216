"""How well a search finds what answers a question, on the Python documentation.

    python -m bench.search [--site FOLDER] [--whole] [--sweep] [--questions]

Debian's package python3.11-doc, fetched by apt and kept in the cache (FOLDER: the same HTML, unpacked elsewhere), is
cut and embedded as a knowledge base with the local model is, into an embedded Weaviate.

The questions are in a user's words; each names the pages that answer it, and what stands in the passage that does. A
hit counts when it is of such a page and has that text, among its headings or in itself. `questions_held_out.json` gives
the figures: each of them is answered on a page that none of `questions.json` is about, by which the defaults were
chosen; nothing is to be chosen by these. Indexed are tutorial, FAQ, language reference, and pages with an answer.
`--whole`: all of library, how-tos and use, three times as many chunks, asked both sets of questions. `--sweep` tries
every weight in a hybrid search, and weights of text, title and headings in BM25, on `questions.json`.

recall@5: share of the questions with such a hit among the first five. MRR@10: mean of 1 / the first such hit's rank, 0
beyond ten. `page`: recall@5 where any passage of such a page counts. By all questions, those in other words than the
documentation's (`meaning`), and those that hold a name of it (`names`). The baseline is BM25 alone, unweighted and
unfolded. `--questions` shows each question's rank.

Embedding takes nearly all of the time, four minutes on two free cores. Vectors are kept in the cache: a second run is
done in a minute.
"""

import argparse
import asyncio
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from weaviate.classes.query import HybridFusion

from control.answers.search import Hit
from control.search import ALPHA, FUSION, SEARCHED, best
from control.search_request import Mode, SearchRequest
from control.view import View
from headrace.embedded.config import EmbeddedSettings
from headrace.embedded.ports import free_ports
from headrace.embedded.stack import ServerStack
from headrace.embedding import Embedder, embedder_for
from headrace.embedding.base import Vectors
from headrace.settings import Settings
from headrace.vectors import StoredChunk, Tenancy, VectorStore
from producer.chunker import chunk
from producer.extract import extract
from schemas import identity
from schemas.kb import Chunking, Definition, collection_name, parse_definition, resolve

PACKAGE = "python3.11-doc"
HTML = Path("usr/share/doc/python3.11/html")
ROOT = "https://docs.example/"
NO_CONTENT = ("genindex", "py-modindex", "search.html", "contents.html", "_")
"""Indexes: lists of links, which a crawl would leave out by `exclude`."""
IN_FULL = ("tutorial/", "faq/", "reference/", "glossary.html")
WHOLE = (*IN_FULL, "library/", "howto/", "using/")
HELD_OUT, TUNED_BY = "questions_held_out", "questions"
DEPTH, RECALLED = 10, 5
EMBEDDED_AT_ONCE = 512
INSERTED_AT_ONCE = 500
ALPHAS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
PLAIN = ("text", "title", "heading_path")
BOOSTS = (PLAIN, ("text^3", "title", "heading_path"), ("text", "title^2", "heading_path^2"))
PLACE_KB = "bench"
WIDTH = 66


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    page: str
    says: str


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    question: str
    kind: str
    answers: list[Answer]


class Way(msgspec.Struct, frozen=True):
    """One way to search."""

    mode: Mode
    fusion: HybridFusion = FUSION
    alpha: float | None = None
    searched: tuple[str, ...] = tuple(SEARCHED)
    fold: bool = True

    @property
    def name(self) -> str:
        fusion = {HybridFusion.RELATIVE_SCORE: "relative score", HybridFusion.RANKED: "ranked"}[self.fusion]
        parts = [self.mode, *([fusion, f"{self.alpha:.1f}"] if self.mode == "hybrid" else [])]
        boosted = [] if self.searched == tuple(SEARCHED) else [" ".join(self.searched)]
        return ", ".join([*parts, *boosted, *([] if self.fold else ["unfolded"])])


class Ranks(msgspec.Struct):
    """By question: the rank of the first hit that answers it, and of the first of such a page; inf for none."""

    passage: list[float]
    page: list[float]
    folded: int
    seconds: float


async def benchmark(site: Path | None, *, whole: bool, sweep: bool, each: bool) -> None:
    settings = Settings.from_env()
    sets = {name: _questions(name) for name in _sets(whole=whole, sweep=sweep)}
    questions = [question for some in sets.values() for question in some]
    chunks = _chunks(_chosen(_pages(site or _site(settings.cache_dir / "bench")), questions, whole=whole))
    _check(questions, chunks)
    embedding = _definition().embedding
    embedder = embedder_for(embedding, settings)
    try:
        vectors = await _embedded(embedder, [_input(c) for c in chunks], settings.cache_dir / "bench")
        asked = {name: await _embedded(embedder, [q.question for q in some], None) for name, some in sets.items()}
    finally:
        await embedder.stop()
    with _weaviate(settings) as store_settings:
        store, place = VectorStore(store_settings), Tenancy(collection_name(embedding), PLACE_KB)
        try:
            await _fill(store, place, chunks, vectors)
            tenant = await store.tenant(place)
            for name, some in sets.items():
                found = {way: await _ranks(tenant, way, some, asked[name]) for way in _ways(sweep=sweep)}
                print(f"\n{name}.json, {len(some)} questions", flush=True)
                _report(some, found)
                if each:
                    _show(some, found)
        finally:
            await store.stop()


def _sets(*, whole: bool, sweep: bool) -> list[str]:
    if sweep:
        return [TUNED_BY]
    return [HELD_OUT, TUNED_BY] if whole else [HELD_OUT]


def _ways(*, sweep: bool) -> list[Way]:
    baseline = Way("keyword", searched=PLAIN, fold=False)
    fusions = (HybridFusion.RELATIVE_SCORE, HybridFusion.RANKED)
    alphas = ALPHAS if sweep else (ALPHA,)
    ways = [Way("keyword"), Way("vector"), *(Way("hybrid", f, a) for f in fusions for a in alphas)]
    if sweep:
        ways += [Way("keyword", searched=boost) for boost in BOOSTS]
        ways += [Way("hybrid", alpha=ALPHA, searched=boost) for boost in BOOSTS]
    return [baseline, *ways, *(msgspec.structs.replace(way, fold=False) for way in ways)]


def _site(cache: Path) -> Path:
    """The package's pages, fetched once."""
    unpacked = cache / PACKAGE
    if not (unpacked / HTML).is_dir():
        with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
            print(f"fetching {PACKAGE}", flush=True)
            subprocess.run(["apt-get", "download", "-qq", PACKAGE], cwd=name, check=True)
            (package,) = Path(name).glob("*.deb")
            subprocess.run(["dpkg-deb", "-x", str(package), name + "/unpacked"], check=True)
            cache.mkdir(parents=True, exist_ok=True)
            os.rename(name + "/unpacked", unpacked)
    return unpacked / HTML


def _definition() -> Definition:
    raw = {"source": {"urls": [ROOT]}, "embedding": {"provider": "local"}}
    return resolve(parse_definition(raw), openai_available=False)


def _pages(site: Path) -> dict[str, Path]:
    """By their path on the site."""
    found = {str(path.relative_to(site)): path for path in sorted(site.rglob("*.html"))}
    return {page: path for page, path in found.items() if not page.startswith(NO_CONTENT)}


def _chosen(pages: Mapping[str, Path], questions: Sequence[Question], *, whole: bool) -> dict[str, Path]:
    asked = {answer.page for question in questions for answer in question.answers}
    return {page: path for page, path in pages.items() if page in asked or page.startswith(WHOLE if whole else IN_FULL)}


def _chunks(pages: Mapping[str, Path]) -> list[StoredChunk]:
    """As a crawl would leave them, by the definition's defaults."""
    began, chunking = time.perf_counter(), _definition().chunking
    found = [made for page, path in pages.items() for made in _cut(ROOT + page, path, chunking)]
    print(f"{len(pages)} pages, {len(found)} chunks, cut in {time.perf_counter() - began:.0f} s", flush=True)
    return found


def _cut(url: str, path: Path, chunking: Chunking) -> Iterator[StoredChunk]:
    document = extract(url, path.read_bytes(), "text/html")
    times: dict[tuple[str, tuple[str, ...]], int] = {}
    assert chunking.max_tokens
    for piece in chunk(document, url, chunking.max_tokens, chunking.overlap_tokens, chunking.strategy, "wordpiece"):
        occurrence = times.get((piece.text, piece.heading_path), 0)
        times[piece.text, piece.heading_path] = occurrence + 1
        hashed = identity.doc_hash(piece.text, url=url, heading_path=piece.heading_path, occurrence=occurrence)
        yield StoredChunk(
            chunk_id=identity.chunk_id(PLACE_KB, 1, hashed), text=piece.text, url=url, title=piece.title,
            heading_path=piece.heading_path, doc_hash=hashed, job_id="bench", born=1, ordinal=piece.ordinal,
            text_hash=identity.text_hash(identity.embedding_input(piece.title, piece.heading_path, piece.text)),
        )  # fmt: skip


def _input(each: StoredChunk) -> str:
    return identity.embedding_input(each.title, each.heading_path, each.text)


def _questions(name: str) -> list[Question]:
    return msgspec.json.decode(Path(__file__).with_name(name + ".json").read_bytes(), type=list[Question])


def _check(questions: Sequence[Question], chunks: Iterable[StoredChunk]) -> None:
    """Raises ValueError for a question whose answer does not stand in the documentation."""
    texts: dict[str, list[str]] = {}
    for each in chunks:
        texts.setdefault(each.url, []).append(_text(each))
    for question in questions:
        for answer in question.answers:
            if not any(answer.says in text for text in texts.get(ROOT + answer.page, ())):
                raise ValueError(f"{question.question}: {answer.page} does not say {answer.says!r}")


def _text(each: StoredChunk | Hit) -> str:
    return "\n".join([each.title, *each.heading_path, each.text])


async def _embedded(embedder: Embedder, texts: Sequence[str], cache: Path | None) -> list[Vectors]:
    """In the order of the texts; each distinct one once, and those of an earlier run not at all."""
    kept = _Kept(cache / "search-vectors.npz") if cache else None
    known = dict(kept.vectors) if kept else {}
    lacking = [text for text in dict.fromkeys(texts) if identity.text_hash(text) not in known]
    lacking.sort(key=len)
    began = time.perf_counter()
    for start in range(0, len(lacking), EMBEDDED_AT_ONCE):
        some = lacking[start : start + EMBEDDED_AT_ONCE]
        parts = [some[at : at + embedder.usual_texts] for at in range(0, len(some), embedder.usual_texts)]
        vectors = np.concatenate([(await embedder.embed(part)).vectors for part in parts])
        known |= {identity.text_hash(text): vector for text, vector in zip(some, vectors, strict=True)}
        if kept:
            kept.save(known)
            print(f"  embedded {start + len(some)} of {len(lacking)}, {time.perf_counter() - began:.0f} s", flush=True)
    return [known[identity.text_hash(text)] for text in texts]


class _Kept:
    """Vectors by text_hash, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.vectors: Mapping[str, Vectors] = {}
        if path.exists():
            with np.load(path) as file:
                self.vectors = dict(zip(file["hashes"].tolist(), file["vectors"], strict=True))

    def save(self, vectors: Mapping[str, Vectors]) -> None:
        part = self._path.with_suffix(".part.npz")
        np.savez(part, hashes=np.array(list(vectors)), vectors=np.stack(list(vectors.values())))
        part.replace(self._path)


@contextmanager
def _weaviate(settings: Settings) -> Iterator[Settings]:
    """An embedded one, without Kafka."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        http, grpc = free_ports(2)
        chosen = EmbeddedSettings(Path(name), settings.cache_dir, 9092, http, grpc, kafka_bootstrap_servers="none:9092")
        with ServerStack(chosen) as stack:
            yield Settings.from_env(stack.environment())


async def _fill(store: VectorStore, place: Tenancy, chunks: Sequence[StoredChunk], vectors: Sequence[Vectors]) -> None:
    await store.ensure(place)
    for start in range(0, len(chunks), INSERTED_AT_ONCE):
        end = start + INSERTED_AT_ONCE
        if failed := await store.insert(place, chunks[start:end], vectors[start:end]):
            raise RuntimeError(f"Weaviate refuses {len(failed)} chunks: {next(iter(failed.values()))}")


async def _ranks(tenant: Any, way: Way, questions: Sequence[Question], asked: Sequence[Vectors]) -> Ranks:
    found = Ranks([], [], 0, 0.0)
    began = time.perf_counter()
    for question, vector in zip(questions, asked, strict=True):
        alpha = way.alpha if way.mode == "hybrid" else None
        request = SearchRequest(query=question.question, k=DEPTH, mode=way.mode, alpha=alpha, fold=way.fold)
        hits, _ = await best(tenant, request, vector.tolist(), View(1), way.fusion, list(way.searched))
        found.passage.append(_rank(hits, lambda hit, q=question: _answers(hit, q)))  # type: ignore[misc]
        found.page.append(_rank(hits, lambda hit, q=question: any(hit.url == ROOT + a.page for a in q.answers)))  # type: ignore[misc]
        found.folded += sum(len(hit.duplicates) for hit in hits[:RECALLED])
    found.seconds = time.perf_counter() - began
    return found


def _answers(hit: Hit, question: Question) -> bool:
    text = _text(hit)
    return any(hit.url == ROOT + answer.page and answer.says in text for answer in question.answers)


def _rank(hits: Sequence[Hit], fits: Callable[[Hit], bool]) -> float:
    return next((rank for rank, hit in enumerate(hits, 1) if fits(hit)), math.inf)


def _report(questions: Sequence[Question], found: Mapping[Way, Ranks]) -> None:
    kinds = {"all": None, **{kind: kind for kind in dict.fromkeys(q.kind for q in questions)}}
    print(" " * WIDTH + "".join(f"{kind:<18}" for kind in kinds) + "page     of baseline  folded  ms")
    print(" " * WIDTH + "recall@5  MRR@10  " * len(kinds) + "recall@5  recall  MRR")
    first = next(iter(found.values()))
    for way, ranks in found.items():
        shown = [_scores(questions, ranks.passage, kind) for kind in kinds.values()]
        recall, mrr = _scores(questions, first.passage, None)
        page, _ = _scores(questions, ranks.page, None)
        ratios = f"{shown[0][0] / recall:<8.2f}{shown[0][1] / mrr:<6.2f}"
        columns = "".join(f"{recall:<10.3f}{mrr:<8.3f}" for recall, mrr in shown)
        ms = 1e3 * ranks.seconds / len(questions)
        print(f"  {way.name:<{WIDTH - 2}}{columns}{page:<10.3f}{ratios}{ranks.folded:<8}{ms:.0f}", flush=True)


def _scores(questions: Sequence[Question], ranks: Sequence[float], kind: str | None) -> tuple[float, float]:
    """recall@5, MRR@10."""
    chosen = [rank for question, rank in zip(questions, ranks, strict=True) if kind in (None, question.kind)]
    return sum(rank <= RECALLED for rank in chosen) / len(chosen), sum(1 / rank for rank in chosen) / len(chosen)


def _show(questions: Sequence[Question], found: Mapping[Way, Ranks]) -> None:
    shown = {way: ranks for way, ranks in found.items() if way.fold}
    print("\nrank of the first answer: " + "; ".join(way.name for way in shown))
    for number, question in enumerate(questions):
        ranks = [ranks.passage[number] for ranks in shown.values()]
        print("  " + " ".join("   –" if rank == math.inf else f"{rank:4.0f}" for rank in ranks), question.question)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", type=Path)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--questions", action="store_true")
    parser.add_argument("--sweep", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = _arguments()
    asyncio.run(benchmark(arguments.site, whole=arguments.whole, sweep=arguments.sweep, each=arguments.questions))
    sys.exit(0)
