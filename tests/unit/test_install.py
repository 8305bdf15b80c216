"""What `make env` installs by, with the real pip, a package of its own and no index."""

import errno
import hashlib
import importlib.util
import os
import pty
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "requirements" / "install.py"
LOCK = """\
elsewhere==1.0 ; sys_platform == "nowhere" \\
    --hash=sha256:{hash}
headrace-sample==1.0 \\
    --hash=sha256:{hash}
"""


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "headrace_sample-1.0-py3-none-any.whl"
    about = "headrace_sample-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: headrace-sample\nVersion: 1.0\n")
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{about}/RECORD", "")
    return path


def started(tmp_path: Path, sha256: str, stdout: int) -> subprocess.Popen[str]:
    """In a new environment, with the pip of this one."""
    venv.create(tmp_path / "venv", with_pip=False)
    pip = importlib.util.find_spec("pip")
    assert pip is not None and pip.origin is not None
    (tmp_path / "pip").symlink_to(Path(pip.origin).parent)
    (tmp_path / "lock.txt").write_text(LOCK.format(hash=sha256))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), "PIP_FIND_LINKS": str(tmp_path)}
    environment |= {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    command = [str(tmp_path / "venv" / "bin" / "python"), str(PROGRAM), str(tmp_path / "lock.txt")]
    return subprocess.Popen(command, env=environment, stdout=stdout, stderr=subprocess.PIPE, text=True)


def test_a_terminal_is_told_how_far_it_is(tmp_path: Path, wheel: Path) -> None:
    ours, its = pty.openpty()
    with started(tmp_path, hashlib.sha256(wheel.read_bytes()).hexdigest(), stdout=its) as install:
        os.close(its)
        shown = "".join(iter(lambda: _read(ours), ""))
        _, said = install.communicate()
    os.close(ours)
    assert (install.returncode, said) == (0, "")
    assert "\x1b[K  fetching 1 of 1: headrace_sample\r" in shown
    assert "\x1b[K  installing 1 of 1: headrace_sample\r" in shown and shown.endswith("\x1b[K\r")
    made = tmp_path / "venv" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    assert (made / "headrace_sample-1.0.dist-info").exists()


def test_an_error_is_shown_whole_and_elsewhere_nothing_is(tmp_path: Path, wheel: Path) -> None:
    with started(tmp_path, "0" * 64, stdout=subprocess.PIPE) as install:
        shown, said = install.communicate()
    assert (install.returncode, shown) == (1, "")
    for part in ("DO NOT MATCH THE HASHES", "headrace-sample==1.0", "Expected sha256 0000"):
        assert part in said


def _read(terminal: int) -> str:
    """Nothing once the other side is closed."""
    try:
        return os.read(terminal, 4096).decode()
    except OSError as exc:
        if exc.errno == errno.EIO:
            return ""
        raise
