"""Who reads the pages: this project's extraction, readability-lxml alone, and trafilatura in an environment of its own.

trafilatura wants versions of its own, so it is not among this project's packages: `make bench` installs it from
requirements/bench.lock into .venv-bench, and `trafilatura_worker.py` answers there, one line of JSON for each page.
"""

import json
import logging
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lxml import html
from readability.readability import Document as Readability

from producer.content.document import NotExtractable
from producer.content.template import PAGES, learn
from producer.extract import UNKNOWN, Site, extract

Reader = Callable[[bytes], str]
"""A page's bytes to its main text."""

_ALTERNATIVE = re.compile(rb"""(<img\b[^>]*?)\salt\s*=\s*("[^"]*"|'[^']*')""", re.IGNORECASE)
URL = "https://bench.example/page.html"
HTML = "text/html; charset=utf-8"
ROOT = Path(__file__).parents[2]
BENCH_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
WORKER = Path(__file__).with_name("trafilatura_worker.py")


def without_alternatives(body: bytes) -> bytes:
    """Contestants differ in whether they give an image's alternative text, and no label has it."""
    return _ALTERNATIVE.sub(rb"\1", body)


def ours(body: bytes, site: Site = UNKNOWN) -> str:
    try:
        return extract(URL, body, HTML, site=site).text
    except NotExtractable:
        return ""


def learnt(bodies: Iterable[bytes]) -> Site:
    """What these pages of one site teach about the others."""
    undecided = Site(undecided=True)
    sketches = [extract(URL, body, HTML, site=undecided).sketch for body in bodies]
    return Site(learn([each for each in sketches if each is not None][:PAGES]))


def readability(body: bytes) -> str:
    logging.getLogger("readability").setLevel(logging.CRITICAL)
    try:
        summary = Readability(body).summary(html_partial=True)
        return "\n".join(html.document_fromstring(summary).itertext())
    except Exception:  # a baseline that fails on a page has found nothing there
        return ""


@contextmanager
def trafilatura(*, favor_recall: bool = False) -> Iterator[Reader | None]:
    """None where its environment is missing."""
    if not BENCH_PYTHON.exists():
        yield None
        return
    command = [str(BENCH_PYTHON), str(WORKER), *(["--favor-recall"] if favor_recall else [])]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ask, answer = process.stdin, process.stdout

        def read(body: bytes) -> str:
            ask.write(json.dumps({"html": body.decode("utf-8", "replace")}) + "\n")
            ask.flush()
            return str(json.loads(answer.readline())["text"])

        try:
            yield read
        finally:
            ask.close()
