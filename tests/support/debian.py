"""Programs that tests drive: the machine's own, or Debian's, installed or unpacked where that can be done."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from headrace.settings import Settings

FETCH_S = 240


def installed(package: str, names: tuple[str, ...] = ()) -> tuple[str | None, str]:
    """The path of one of `names` (the package's own without them), or None and why there is none.

    As root on Debian it is installed first.
    """
    names = names or (package,)
    how = f"install {package} (Debian: apt-get install {package})"
    if found := _found(names):
        return found, ""
    if os.geteuid() or shutil.which("apt-get") is None:
        return None, f"there is no {names[0]}: {how}"
    with _alone():
        install = ["install", "--yes", "--no-install-recommends", package]
        said = "" if _found(names) else _fetch(install, Path.cwd())
    return _found(names), f"{package} could not be installed, {how}: {said}"


def unpacked(package: str, program: str) -> tuple[str | None, str]:
    """The path of a program that needs no file but its own, or None and why there is none.

    On Debian the package is fetched and unpacked into the cache. That takes no root, and nothing of it is started, as
    the servers of an installed package would be.
    """
    if found := shutil.which(program):
        return found, ""
    if shutil.which("apt-get") is None:
        return None, f"there is no {program}: install {package}"
    directory = Settings.from_env().cache_dir / "debian"
    path = directory / package / "usr" / "bin" / program
    with _alone():
        said = "" if path.exists() else _unpack(package, directory)
    return (str(path), "") if path.exists() else (None, f"{package} could not be fetched, install it: {said}")


def _found(names: tuple[str, ...]) -> str | None:
    return next(filter(None, map(shutil.which, names)), None)


def _unpack(package: str, directory: Path) -> str:
    """The end of what apt said."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as part:
        said = _fetch(["download", package], Path(part))
        for archive in Path(part).glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", archive, Path(part) / package], check=True, timeout=FETCH_S)
            (Path(part) / package).replace(directory / package)
    return said


def _fetch(arguments: list[str], directory: Path) -> str:
    """Where the lists of packages are old or not there, after they are renewed. The end of what apt said."""
    said = ""
    fetch = ["apt-get", "--quiet", *arguments]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (fetch, ["apt-get", "--quiet", "update"], fetch):
        try:
            run = subprocess.run(
                command, cwd=directory, env=environment, capture_output=True, text=True, timeout=FETCH_S, check=False
            )
        except subprocess.TimeoutExpired:
            return f"{' '.join(command)} took over {FETCH_S} s"
        said = (run.stdout + run.stderr)[-400:]
        if command is fetch and run.returncode == 0:
            break
    return said


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Among all test runs of this machine."""
    with (Path(tempfile.gettempdir()) / "headrace-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
