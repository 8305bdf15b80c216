"""Stand-ins for images that can't be pulled, made of the same published artefacts: `python docker/standin/images.py`.

* `apache/kafka`: the jars and the JRE of the embedded stack. Kept: start script, `KAFKA_*` variables, user, folders.
* `semitechnologies/weaviate`: the embedded stack's server. Kept: entry point and arguments.
* `python:3.11-slim`: this environment's Python and pip, this machine's CA certificates. Kept: their names and a shell.

Each is one layer on nothing: a shell and small tools (busybox), the C libraries of this machine, and the above. They
carry the label `headrace.standin`, and take the official names only in the engine that `engine.sh` starts, where no
other image is. What passes on them shows our wiring, not that the official images behave alike.
"""

from __future__ import annotations

import functools
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from headrace.embedded.kafka_tools import TOOL_CLASSES, KafkaInstallation
from headrace.embedded.progress import LogReporter
from headrace.embedded.weaviate_build import ensure_binary
from headrace.settings import Settings

KAFKA = "apache/kafka:4.3.1"
WEAVIATE = "semitechnologies/weaviate:1.39.0"
PYTHON = "python:3.11-slim"
LABEL = "headrace.standin"

_HERE = Path(__file__).parent
_CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_KAFKA_USER = 1000
#: Opened by name while running, by the C library or by a JVM, so that no program's list of needs shows them.
_ALWAYS_NEEDED = (
    "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1", "libresolv.so.2",
    "libnss_files.so.2", "libnss_dns.so.2", "libgcc_s.so.1", "libstdc++.so.6",
)  # fmt: skip
#: A server's JRE shows no windows: its drawing parts would drag in the X libraries.
_DRAWING = re.compile(r"awt|splashscreen|font|lcms|jsound|mlib|jpeg")
#: What a Python needs to run and to install packages, without its tests, its headers and what others installed.
_PYTHON_LEFT_OUT = (
    "test", "tests", "idlelib", "turtledemo", "tkinter", "site-packages", "dist-packages", "__pycache__",
)  # fmt: skip


@dataclass
class Layer:
    """One layer as a tar archive in memory; `owned` gives folders to a user."""

    owned: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._bytes = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._bytes, mode="w", dereference=False)
        self._libraries: set[Path] = set()
        for name, mode in (("tmp", 0o1777), ("root", 0o700), ("usr/bin", 0o755), ("usr/sbin", 0o755)):
            self.folder(name, mode)
        self._base()

    def _base(self) -> None:
        self.text("etc/passwd", "root:x:0:0::/root:/bin/sh\nappuser:x:1000:1000::/home/appuser:/bin/sh\n")
        self.text("etc/group", "root:x:0:\nappuser:x:1000:\n")
        self.text("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
        self.program(Path("/bin/busybox"), "bin/busybox")
        self.program(Path("/bin/bash"), "bin/bash")
        listed = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True)
        for applet in set(listed.stdout.split()) - {"busybox", "bash"}:
            self.link(f"bin/{applet}", "busybox")
        self.link("usr/bin/env", "/bin/env")
        for library in _shared_libraries():
            self._library(library)

    def folder(self, name: str, mode: int = 0o755) -> None:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        self._tar.addfile(self._owner(entry))

    def text(self, name: str, text: str, mode: int = 0o644) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(text.encode()), mode
        self._tar.addfile(self._owner(entry), io.BytesIO(text.encode()))

    def link(self, name: str, target: str) -> None:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = tarfile.SYMTYPE, target
        self._tar.addfile(entry)

    def tree(self, source: Path, name: str, left_out: Iterable[str] = ()) -> None:
        """A file, or a folder with all in it except what bears one of the names in `left_out`."""
        unwanted = set(left_out)

        def wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
            return None if PurePosixPath(entry.name).name in unwanted else self._owner(entry)

        self._tar.add(source, name, filter=wanted)

    def program(self, source: Path, name: str, within: Path | None = None) -> None:
        """An executable and the shared libraries that it needs, except those `within` a folder that is taken whole."""
        with source.open("rb") as file:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = os.fstat(file.fileno()).st_size, 0o755
            self._tar.addfile(self._owner(entry), file)
        self.needs([source], within)

    def needs(self, binaries: Iterable[Path], within: Path | None = None) -> None:
        """The shared libraries of binaries that come by another way."""
        for binary in binaries:
            # a static program makes ldd fail; a library that is missing here is missing there
            printed = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False).stdout
            for found in re.findall(r"(?:=> )?(/\S+) \(0x", printed):
                if within is None or not Path(found).resolve().is_relative_to(within.resolve()):
                    self._library(Path(found))

    def _library(self, path: Path) -> None:
        if path not in self._libraries:
            self._libraries.add(path)
            # a library from elsewhere, such as a Python built in somebody's home, goes to where all are looked for
            place = path if path.parts[1] in ("lib", "lib64", "usr") else _library_folder() / path.name
            entry = tarfile.TarInfo(str(place).lstrip("/"))
            data = path.read_bytes()
            entry.size, entry.mode = len(data), 0o755
            self._tar.addfile(entry, io.BytesIO(data))

    def _owner(self, entry: tarfile.TarInfo) -> tarfile.TarInfo:
        owners = [uid for folder, uid in self.owned.items() if PurePosixPath(entry.name).is_relative_to(folder)]
        entry.uid = entry.gid = owners[0] if owners else 0
        entry.uname = entry.gname = ""
        return entry

    def become(self, image: str, *instructions: str) -> None:
        """Hand the layer to the engine as `image`, with Dockerfile instructions such as `USER 1000`."""
        self._tar.close()
        changes = [word for each in (*instructions, f"LABEL {LABEL}=true") for word in ("--change", each)]
        subprocess.run(["docker", "import", *changes, "-", image], input=self._bytes.getvalue(), check=True)


@functools.cache
def _shared_libraries() -> tuple[Path, ...]:
    printed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    known = dict(reversed(re.findall(r"^\s*(\S+) \(libc6,x86-64[^)]*\) => (\S+)$", printed, re.MULTILINE)))
    return tuple(Path(known[name]) for name in _ALWAYS_NEEDED if name in known)


def _library_folder() -> Path:
    """Where the C library stands, such as /lib/x86_64-linux-gnu: the loader looks there without being told."""
    return next(path.parent for path in _shared_libraries() if path.name == "libc.so.6")


def kafka(installation: KafkaInstallation) -> None:
    runtime = installation.java.executable.resolve().parents[1]
    layer = Layer(owned=dict.fromkeys(("opt/kafka/config", "mnt/shared", "var/lib/kafka", "etc/kafka"), _KAFKA_USER))
    for folder in ("opt/kafka/config", "mnt/shared/config", "var/lib/kafka/data", "etc/kafka/secrets"):
        layer.folder(folder)
    layer.tree(runtime, "opt/java", left_out=("man", "src.zip"))
    layer.needs([runtime / "bin" / "java"], within=runtime)
    layer.needs((each for each in runtime.rglob("*.so") if not _DRAWING.search(each.name)), within=runtime)
    layer.tree(installation.jars, "opt/kafka/libs", left_out=("aot",))
    layer.text("etc/kafka/docker/run", (_HERE / "kafka" / "run").read_text(), 0o755)
    layer.text("etc/kafka/docker/server.properties", (_HERE / "kafka" / "server.properties").read_text())
    layer.text("opt/kafka/bin/kafka-run-class.sh", (_HERE / "kafka" / "kafka-run-class.sh").read_text(), 0o755)
    for tool, main_class in TOOL_CLASSES.items():
        script = f'#!/bin/bash\nexec /opt/kafka/bin/kafka-run-class.sh {main_class} "$@"\n'
        layer.text(f"opt/kafka/bin/{tool}.sh", script, 0o755)
    layer.become(
        KAFKA,
        "ENV PATH=/opt/kafka/bin:/usr/bin:/bin JAVA_HOME=/opt/java LANG=C.UTF-8",
        f"USER {_KAFKA_USER}",
        "EXPOSE 9092",
        'CMD ["/etc/kafka/docker/run"]',
    )


def weaviate(binary: Path) -> None:
    layer = Layer()
    layer.folder("var/lib/weaviate")
    layer.program(binary, "bin/weaviate")
    layer.become(
        WEAVIATE,
        "ENV PATH=/usr/bin:/bin",
        "EXPOSE 8080 50051",
        'ENTRYPOINT ["/bin/weaviate"]',
        'CMD ["--host", "0.0.0.0", "--port", "8080", "--scheme", "http"]',
    )


def python() -> None:
    library = Path(sysconfig.get_path("stdlib"))
    name = library.name  # python3.11
    executable = (Path(sys.base_prefix) / "bin" / name).resolve()
    layer = Layer()
    layer.program(executable, f"usr/local/bin/{name}")
    layer.link("usr/local/bin/python3", name)
    layer.link("usr/local/bin/python", name)
    layer.tree(library, f"usr/local/lib/{name}", left_out=_PYTHON_LEFT_OUT)
    layer.needs((library / "lib-dynload").glob("*.so"))
    packages = Path(sysconfig.get_path("purelib"))
    for part in (packages / "pip", *packages.glob("pip-*.dist-info")):
        layer.tree(part, f"usr/local/lib/{name}/site-packages/{part.name}", left_out=("__pycache__",))
    if _CA_BUNDLE.exists():
        layer.tree(_CA_BUNDLE.resolve(), str(_CA_BUNDLE).lstrip("/"))
    variables = {name: str(_CA_BUNDLE) for name in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")}
    layer.become(
        PYTHON,
        "ENV PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 " + " ".join(f"{k}={v}" for k, v in variables.items()),
        'CMD ["python3"]',
    )


def missing(image: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode != 0


def main() -> int:
    if shutil.which("docker") is None:
        print("there is no docker command: run docker/standin/engine.sh up first", file=sys.stderr)
        return 1
    cache_dir, reporter = Settings.from_env().cache_dir, LogReporter()
    if missing(KAFKA):
        kafka(KafkaInstallation.prepare(cache_dir, reporter))
    if missing(WEAVIATE):
        weaviate(ensure_binary(cache_dir, reporter))
    if missing(PYTHON):
        python()
    return 0


if __name__ == "__main__":
    sys.exit(main())
