"""How fast control answers while a job runs, and how soon a pause takes effect.

    python -m bench.control [--requests 1000]

Baseline of the status: a request to /healthz, which looks nothing up, in the same run.
"""

import argparse
import asyncio
import statistics
import time

import aiohttp

from bench.rig import Rig, line, rig, run

PAUSES = 5


async def benchmark(requests: int) -> None:
    async with rig(2_000) as built:
        await built.start()
        await built.api.start("bench", built.definition())
        await built.api.until_metric("bench", "chunks_processed", 1)
        print(
            f"control: {requests} requests, one after the other, while a job crawls and indexes on the same two cores"
        )
        healthz = await _timed(built, "/healthz", requests)
        status = await _timed(built, "/kb/bench/status", requests)
        line("GET /healthz, p50", statistics.median(healthz) * 1e3, "ms")
        line("GET /healthz, p99", _p99(healthz) * 1e3, "ms")
        line("GET status, p50", statistics.median(status) * 1e3, "ms")
        line("GET status, p99", _p99(status) * 1e3, "ms", f"{_p99(status) / _p99(healthz):.1f} x /healthz")
        await _pauses(built)


async def _timed(built: Rig, path: str, requests: int) -> list[float]:
    seconds = []
    for _ in range(requests):
        started = time.perf_counter()
        await built.api.call("GET", path)
        seconds.append(time.perf_counter() - started)
    return seconds


async def _pauses(built: Rig) -> None:
    """Time from the POST to the start of the last embedding call that the API then saw."""
    last_calls, holds = [], []
    for _ in range(PAUSES):
        started = time.monotonic()
        await built.api.ok("POST", "/kb/bench/pause")
        await built.api.until_status("bench", "paused")
        holds.append(time.monotonic() - started)
        last_calls.append(max(0.0, await _last_call(built) - started))
        await built.api.ok("POST", "/kb/bench/resume")
        await built.api.until_status("bench", "running")
        await asyncio.sleep(1.0)  # let it get going again
    line("POST pause to the last embedding call, median", statistics.median(last_calls) * 1e3, "ms")
    line("POST pause to the last embedding call, worst", max(last_calls) * 1e3, "ms", f"of {PAUSES}")
    line("POST pause to `paused`, median", statistics.median(holds) * 1e3, "ms")


async def _last_call(built: Rig) -> float:
    """On `time.monotonic`'s clock, which all processes of a machine share."""
    async with aiohttp.ClientSession() as session, session.get(built.openai_url + "/calls/last") as response:
        return float((await response.json())["began_at_s"])


def _p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000)
    raise SystemExit(run(benchmark(parser.parse_args().requests)))
