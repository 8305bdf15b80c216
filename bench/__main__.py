"""Runs every benchmark, one after the other: `python -m bench [name …]`."""

import subprocess
import sys

ALL = ("extract", "producer", "consumer", "end_to_end", "control", "rebuild", "vacuum", "takeover")


def main() -> int:
    chosen = sys.argv[1:] or ALL
    unknown = [name for name in chosen if name not in ALL]
    if unknown:
        print(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(ALL)}", file=sys.stderr)
        return 2
    return max(subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode for name in chosen)


if __name__ == "__main__":
    sys.exit(main())
