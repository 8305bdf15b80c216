"""Programs that tests drive: the machine's own, or Debian's, installed where that can be done."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

INSTALL_S = 240


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
    with (Path(tempfile.gettempdir()) / "headrace-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other test runs of this machine
        said = "" if _found(names) else _install(package)
    return _found(names), f"{package} could not be installed, {how}: {said}"


def _found(names: tuple[str, ...]) -> str | None:
    return next(filter(None, map(shutil.which, names)), None)


def _install(package: str) -> str:
    """The end of what apt said."""
    said = ""
    install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", package]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (install, ["apt-get", "update", "--quiet"], install):
        try:
            run = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=INSTALL_S, check=False
            )
        except subprocess.TimeoutExpired:
            return f"{' '.join(command)} took over {INSTALL_S} s"
        said = (run.stdout + run.stderr)[-400:]
        if command is install and run.returncode == 0:
            break
    return said
