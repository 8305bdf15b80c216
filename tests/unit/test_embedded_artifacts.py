"""Fetching pinned artifacts from a repository that is sometimes wrong: a real HTTP server on loopback."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from headrace.embedded import artifacts
from headrace.embedded.artifacts import KAFKA, MINILM, PinnedArtifact, fetch, pinned, repository_url
from headrace.embedded.errors import DownloadFailed
from headrace.embedded.progress import SilentReporter

GOOD = PinnedArtifact(KAFKA, "org.example:good:1.0", 4, hashlib.sha256(b"good").hexdigest())
OTHER = PinnedArtifact(KAFKA, "org.example:other:2.0:linux", 5, hashlib.sha256(b"other").hexdigest())


class Repository:
    """Serves `files` by path and counts what it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        repository = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                repository.asked.append(self.path)
                content = repository.files.get(self.path)
                self.send_response(200 if content is not None else 404)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def log_message(self, *_: object) -> None:
                return None

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    served = Repository()
    monkeypatch.setenv(artifacts.REPOSITORY_VARIABLE, served.url + "/")
    monkeypatch.setattr(artifacts, "pinned", lambda _: [GOOD, OTHER])
    served.files = {
        "/org/example/good/1.0/good-1.0.jar": b"good",
        "/org/example/other/2.0/other-2.0-linux.jar": b"other",
    }
    yield served
    served.close()


def test_fetches_each_file_once(repository: Repository, tmp_path: Path) -> None:
    directory = fetch(KAFKA, tmp_path, SilentReporter())
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == {
        "good-1.0.jar": b"good",
        "other-2.0-linux.jar": b"other",
    }
    assert fetch(KAFKA, tmp_path, SilentReporter()) == directory
    assert len(repository.asked) == 2


def test_refuses_a_file_with_another_hash_and_keeps_nothing_of_it(repository: Repository, tmp_path: Path) -> None:
    repository.files["/org/example/good/1.0/good-1.0.jar"] = b"evil"
    with pytest.raises(DownloadFailed, match=r"not what artifacts\.lock pins"):
        fetch(KAFKA, tmp_path, SilentReporter())
    left = {path.name for path in artifacts.directory_of(KAFKA, tmp_path).iterdir()}
    assert left <= {"other-2.0-linux.jar"}


def test_goes_on_where_a_failed_attempt_stopped(repository: Repository, tmp_path: Path) -> None:
    missing = repository.files.pop("/org/example/good/1.0/good-1.0.jar")
    with pytest.raises(DownloadFailed, match=r"(?s)404.*Start again.*HEADRACE_MAVEN_REPOSITORY"):
        fetch(KAFKA, tmp_path, SilentReporter())
    repository.files["/org/example/good/1.0/good-1.0.jar"] = missing
    repository.asked.clear()
    fetch(KAFKA, tmp_path, SilentReporter())
    assert "/org/example/good/1.0/good-1.0.jar" in repository.asked


def test_says_that_the_repository_can_not_be_reached(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(artifacts.REPOSITORY_VARIABLE, "http://127.0.0.1:9")
    with pytest.raises(DownloadFailed, match=r"could not be fetched from http://127\.0\.0\.1:9: .*refused"):
        fetch(KAFKA, tmp_path, SilentReporter())


def test_the_repository_is_the_one_of_the_maven_artifact_package_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(artifacts.REPOSITORY_VARIABLE, raising=False)
    assert repository_url().startswith("https://")


def test_the_lock_pins_kafka_with_its_tools_and_the_model() -> None:
    kafka = {item.coordinates for item in pinned(KAFKA)}
    assert {"org.apache.kafka:kafka_2.13:4.3.1", "org.apache.kafka:kafka-tools:4.3.1"} <= kafka
    assert len(pinned(MINILM)) == 1
    for item in pinned(KAFKA) + pinned(MINILM):
        assert item.size_bytes > 0
        assert len(bytes.fromhex(item.sha256)) == 32
