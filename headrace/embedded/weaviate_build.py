"""The Weaviate server, built once per user from its published Go module.

Why not downloaded: its release binaries, which weaviate-client's embedded mode takes, listen for gRPC and for the
cluster's data on every interface, and no setting changes that. Ours takes the address from `BIND_VARIABLE`; unset, it
behaves as upstream. The module's hash is pinned here, and its own `go.sum` pins everything it needs.

The steps, each repeated from the start if it is interrupted, with what was downloaded and compiled kept:
1. fetch the module, compare its hash;  2. copy it and make the change;  3. fetch what it needs;  4. compile;
5. move the binary into the cache;  6. remove sources, intermediate files (3 GB) and a toolchain fetched for it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.embedded.errors import BuildFailed
from headrace.embedded.go import build_environment, find_go, forget_fetched_go
from headrace.embedded.locks import beside, exclusive
from headrace.embedded.progress import Reporter

VERSION = "1.39.0"
MODULE = "github.com/weaviate/weaviate"
MODULE_SUM = "h1:8RIQWPg1QGgMA0aUYtZXgYbfDHeE6watZ277sBZeW3A="
#: From the module's go.mod.
GO_VERSION = (1, 26)
#: The address for the two listeners that upstream opens on every interface.
BIND_VARIABLE = "HEADRACE_WEAVIATE_BIND_ADDRESS"

_PACKAGE = "./cmd/weaviate-server"
_LISTEN_EVERYWHERE = 'fmt.Sprintf(":%d"'
_LISTEN_WHERE_TOLD = f'fmt.Sprintf(os.Getenv("{BIND_VARIABLE}")+":%d"'
_LISTENING_SOURCES = (
    "adapters/handlers/grpc/server.go",
    "adapters/handlers/rest/clusterapi/grpc/server.go",
    "adapters/handlers/rest/clusterapi/serve.go",
)
#: Modules that the server's packages come from; only the bar's length depends on it.
_MODULES_EXPECTED = 232


@dataclass(frozen=True, slots=True)
class _Build:
    """One build: the toolchain, its environment, and the directory for everything that is thrown away after it."""

    go: Path
    environment: Mapping[str, str]
    work_dir: Path

    def run(self, arguments: Sequence[str], cwd: Path, on_message: Callable[[str], None]) -> str:
        """Run `go …` and return its stdout; each line of stderr goes to `on_message`. Raises `BuildFailed`."""
        output, recent = self.work_dir / "output.txt", deque[str](maxlen=20)
        with output.open("w") as stdout:
            command = [str(self.go), *arguments]
            process = subprocess.Popen(
                command, cwd=cwd, env=dict(self.environment), stdout=stdout, stderr=subprocess.PIPE, text=True
            )
            with process:
                try:
                    for line in process.stderr or ():
                        recent.append(line)
                        on_message(line.strip())
                except BaseException:  # interrupted: don't leave a compiler behind
                    process.terminate()
                    raise
        if process.returncode != 0:
            raise BuildFailed(f"`go {arguments[0]}` failed while building Weaviate:\n{''.join(recent)}\n{_ADVICE}")
        return output.read_text()


_ADVICE = (
    "Start again to go on from here (what was fetched and compiled is kept). "
    "Behind a proxy, GOPROXY names a module mirror. "
    "Or name a running Weaviate with WEAVIATE_URL."
)


def binary_path(cache_dir: Path) -> Path:
    """Where the built server is kept."""
    return cache_dir / "bin" / f"weaviate-server-{VERSION}"


def ensure_binary(cache_dir: Path, reporter: Reporter) -> Path:
    """The server's binary, built if it is missing; one process builds, others wait. Raises `BuildFailed`."""
    binary = binary_path(cache_dir)
    if binary.exists():
        return binary
    with exclusive(beside(binary, ".lock")):
        if not binary.exists():
            reporter.note(f"Building Weaviate {VERSION}: a few minutes, this once; it is kept in {binary.parent}.")
            _build(binary, cache_dir, reporter)
    return binary


def _build(binary: Path, cache_dir: Path, reporter: Reporter) -> None:
    work_dir = cache_dir / "build" / f"weaviate-{VERSION}"
    work_dir.mkdir(parents=True, exist_ok=True)
    build = _Build(find_go(GO_VERSION, cache_dir, reporter), build_environment(work_dir), work_dir)
    source = _fetch_source(build, reporter)
    package_count = _fetch_dependencies(build, source, reporter)
    compiled = _compile(build, source, package_count, reporter)
    compiled.replace(binary)
    shutil.rmtree(work_dir)
    forget_fetched_go(cache_dir)


def _fetch_source(build: _Build, reporter: Reporter) -> Path:
    with reporter.step("Weaviate 1/3: fetching its source") as step:
        download = ["mod", "download", "-json", f"{MODULE}@v{VERSION}"]
        said = build.run(download, build.work_dir, lambda line: step.advance(detail=line))
    module = json.loads(said)
    if module["Sum"] != MODULE_SUM:
        raise BuildFailed(f"{MODULE}@v{VERSION} is not the module that we pin: {module['Sum']}, wanted {MODULE_SUM}.")
    source = build.work_dir / "source"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(module["Dir"], source)
    for name in _LISTENING_SOURCES:
        path = source / name
        path.write_text(listen_where_told(path.read_text(), name))
    return source


def listen_where_told(text: str, name: str) -> str:
    """The Go file `name` with its listener bound to `BIND_VARIABLE`; raises `BuildFailed` if it isn't as expected."""
    if text.count(_LISTEN_EVERYWHERE) != 1 or text.count("\nimport (\n") != 1 or '"os"' in text:
        raise BuildFailed(
            f"{name} of Weaviate {VERSION} differs from what we know; the bind address can't be set in it."
        )
    return text.replace(_LISTEN_EVERYWHERE, _LISTEN_WHERE_TOLD).replace("\nimport (\n", '\nimport (\n\t"os"\n')


def _fetch_dependencies(build: _Build, source: Path, reporter: Reporter) -> int:
    """Returns the number of packages to compile."""
    with reporter.step("Weaviate 2/3: fetching what it needs", total=_MODULES_EXPECTED) as step:

        def on_message(line: str) -> None:
            if line.startswith("go: downloading "):
                step.advance(detail=line.split()[2])

        listed = build.run(["list", "-deps", "-f", "{{.ImportPath}}", _PACKAGE], source, on_message)
    return len(listed.splitlines())


def _compile(build: _Build, source: Path, package_count: int, reporter: Reporter) -> Path:
    target = build.work_dir / "weaviate-server"
    label = f"Weaviate 3/3: compiling {package_count} packages"
    with reporter.step(label, total=package_count) as step:
        # -v names each package when it is compiled; -s -w leave out the debugger's tables (a third of the size).
        arguments = ["build", "-v", "-ldflags", "-s -w", "-o", str(target), _PACKAGE]
        build.run(arguments, source, lambda package: step.advance(detail=package[-60:]))
    return target
