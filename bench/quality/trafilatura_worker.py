"""Runs in .venv-bench: `{"html": …}` on a line of standard input gives `{"text": …}` on a line of standard output."""

import json
import sys

import trafilatura


def main() -> None:
    favor_recall = "--favor-recall" in sys.argv
    for line in sys.stdin:
        text = trafilatura.extract(
            json.loads(line)["html"], include_comments=False, include_tables=True, favor_recall=favor_recall
        )
        print(json.dumps({"text": text or ""}), flush=True)


if __name__ == "__main__":
    main()
