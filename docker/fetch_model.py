"""Run while the image is built: puts the local embedding model into `HEADRACE_CACHE_DIR`, verified by hash."""

import os
from pathlib import Path

from headrace.embedded.artifacts import fetch_minilm
from headrace.embedded.progress import LogReporter

if __name__ == "__main__":
    files = fetch_minilm(Path(os.environ["HEADRACE_CACHE_DIR"]), LogReporter())
    print(f"{files.model}: {files.model.stat().st_size / 1e6:.0f} MB")
