"""Programs of the producer that the command line runs beside itself: a request in, an answer out, both JSON."""

import json
import subprocess
import sys
from typing import Final

from headrace.cli.root import FAILED, Failure
from headrace.client import Json

TIMEOUT_S: Final = 180.0
"""robots.txt is waited for up to a minute, as is the page, or the sitemaps; reading a page may take 20 s."""


def ask(module: str, request: Json) -> Json:
    """What `python -m MODULE` answers. Raises Failure where it has no answer; what it logs goes to stderr by itself."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", module],
            input=json.dumps(request).encode(),
            stdout=subprocess.PIPE,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise Failure(f"there was no answer within {TIMEOUT_S:.0f} s", FAILED) from exc
    if done.returncode:
        raise Failure(f"{module} ended with {_ending(done.returncode)}; see above", FAILED)
    return dict(json.loads(done.stdout))


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
