"""Which Chromium the browser tests drive: the machine's own, or Debian's, installed where that can be done."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
APT = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "chromium"]
INSTALL_S = 240
HOW = "install chromium (Debian: apt-get install chromium), or name one by HEADRACE_TEST_CHROMIUM"


def chromium() -> tuple[str | None, str]:
    """Its path, or None and why there is none. As root on Debian it is installed first; takes about 30 s."""
    if found := _found():
        return found, ""
    if os.geteuid() or shutil.which("apt-get") is None:
        return None, f"there is no Chromium: {HOW}"
    with (Path(tempfile.gettempdir()) / "headrace-chromium.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other test runs of this machine
        said = "" if _found() else _install()
    return _found(), f"Chromium could not be installed, {HOW}: {said}"


def _found() -> str | None:
    named = os.environ.get("HEADRACE_TEST_CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


def _install() -> str:
    """The end of what apt said."""
    said = ""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (APT, ["apt-get", "update", "--quiet"], APT):
        try:
            run = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=INSTALL_S, check=False
            )
        except subprocess.TimeoutExpired:
            return f"{' '.join(command)} took over {INSTALL_S} s"
        said = (run.stdout + run.stderr)[-400:]
        if command is APT and run.returncode == 0:
            break
    return said
