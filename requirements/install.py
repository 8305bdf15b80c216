"""`python requirements/install.py LOCK` installs what is pinned there into that Python's environment, by pip.

On a terminal one line says how far it is, since the pip that comes with Python is silent for the longer half. What pip
has to say of errors is on stderr, as it says it.
"""

import re
import subprocess
import sys
import sysconfig
import time
from contextlib import suppress
from pathlib import Path

_NAME = re.compile(r"(?:Collecting|Processing|Requirement already satisfied:) (?:\S*/)?([\w.-]+?)(?:==|-\d|\s)")
"""Processing: from a folder of wheels (`PIP_FIND_LINKS`)."""
_LOOK_S = 0.2


def main(lock: Path) -> int:
    began = time.time()
    options = ["--disable-pip-version-check", "--progress-bar=off", "--require-hashes", "--requirement", str(lock)]
    with subprocess.Popen([sys.executable, "-m", "pip", "install", *options], stdout=subprocess.PIPE, text=True) as pip:
        assert pip.stdout is not None
        fetched, pinned = 0, len(re.findall(r"^[\w.-]+==", lock.read_text(), re.MULTILINE))
        for line in pip.stdout:
            if line.startswith("Ignoring "):  # it is for another system
                pinned -= 1
            elif found := _NAME.match(line):
                fetched += 1
                _show(f"  fetching {fetched} of {pinned}: {found[1]}")
            elif line.startswith("Installing collected packages: "):
                _count(pip, len(line.split(", ")), began)
    _show("")
    return pip.returncode


def _count(pip: subprocess.Popen[str], packages: int, began: float) -> None:
    """Until pip ends; it says no more meanwhile, so what has come since `began` is counted."""
    site, ended = Path(sysconfig.get_path("purelib")), False
    while not ended:
        ended = pip.poll() is not None
        made = [name for changed_at, name in _known(site) if changed_at >= began]
        _show(f"  installing {len(made)} of {packages}" + (f": {made[-1]}" if made else ""))
        time.sleep(0 if ended else _LOOK_S)


def _known(site: Path) -> list[tuple[float, str]]:
    """When each package came, the latest last."""
    found = []
    for each in site.glob("*.dist-info"):
        with suppress(FileNotFoundError):  # pip takes one away meanwhile, to put another in its place
            found.append((each.stat().st_mtime, each.name.split("-")[0]))
    return sorted(found)


def _show(text: str) -> None:
    """In place of what it showed before; the cursor is left where an error of pip's may begin."""
    if sys.stdout.isatty():
        print(f"\x1b[K{text}\r", end="", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1])))
    except KeyboardInterrupt:
        _show("")
        sys.exit(130)
