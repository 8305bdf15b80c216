"""The fault harness: `python -m tests.faults --seed 1 --runs 200`. See docs/faults.md."""

import argparse
import asyncio
import logging
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from tests.faults.series import Result, print_failure, print_meetings, print_table, progress, run_series


def main() -> int:
    chosen = _arguments()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # of the harness's own clients
    directory = chosen.out or Path(tempfile.mkdtemp(prefix="headrace-faults-"))
    seeds, began, shown = range(chosen.seed, chosen.seed + chosen.runs), time.monotonic(), 0

    def told(result: Result, seed: int) -> None:
        nonlocal shown
        for failure in result.failures[shown:]:
            print_failure(failure)
        shown = len(result.failures)
        progress(result, len(seeds), began)

    async def series() -> Result:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # else workers would be left behind
        return await run_series(seeds, lanes=chosen.lanes, directory=directory, told=told)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(series())
    print_table(result)
    print_meetings(result)
    return 1 if result.failures else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="real processes under random faults; checks that nothing is lost")
    parser.add_argument("--seed", type=int, default=1, help="the first run's seed")
    parser.add_argument("--runs", type=int, default=20, help="how many runs, each with the next seed")
    parser.add_argument("--lanes", type=int, default=min(2, os.cpu_count() or 1), help="runs side by side")
    parser.add_argument("--out", type=Path, help="where timelines and logs go; default: a new temporary directory")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
