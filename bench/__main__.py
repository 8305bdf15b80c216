"""Runs every benchmark, one after the other: `python -m bench [name … [--option …]]`; options are for a single one."""

import itertools
import signal
import subprocess
import sys

ALL = (
    "extract", "chunking", "quality", "frontier", "crawl_speed", "crawl_large", "restart", "producer", "consumer",
    "embedding", "fairness", "local_embedding", "weaviate_writing", "end_to_end", "bill", "ledger", "reembed",
    "search", "control", "sql", "access", "watchers", "rebuild", "vacuum", "takeover",
    "sizes",
)  # fmt: skip

INTERRUPTED = 130


def main() -> int:
    options = list(itertools.dropwhile(lambda word: not word.startswith("-"), sys.argv[1:]))
    chosen = sys.argv[1 : len(sys.argv) - len(options)] or ALL
    unknown = [name for name in chosen if name not in ALL]
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(ALL)}", file=sys.stderr)
        return 2
    if options and len(chosen) > 1:
        print("options are for one benchmark, named before them", file=sys.stderr)
        return 2
    commands = [[sys.executable, "-m", f"bench.{name}", *options] for name in chosen]
    return max(_run(command) for command in commands)


def _run(command: list[str]) -> int:
    """Its exit code. Ctrl-C and SIGTERM are its own to obey: it ends the servers that it started first."""
    with subprocess.Popen(command) as process:
        signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())
        ours = signal.signal(signal.SIGINT, signal.SIG_IGN)
        code = process.wait()
        signal.signal(signal.SIGINT, ours)
    if code < 0 or code == INTERRUPTED:
        raise SystemExit(INTERRUPTED)
    return code


if __name__ == "__main__":
    sys.exit(main())
