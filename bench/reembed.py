"""Another model for a filled knowledge base: what `reembed` asks of the site and of the API, and how long it takes.

    python -m bench reembed [--pages 200]

Baseline: the same change by a definition that names the model, and a start, which crawls the site anew.
"""

import argparse
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.rig import Rig, line, run
from headrace.embedded.stack import ServerStack
from headrace.settings import Settings
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.site import FakeSite
from tests.support.waiting import until

KB = "bench"
LARGE = {"provider": "openai", "model": "text-embedding-3-large", "dimensions": 1536}
OTHER = {"provider": "openai", "model": "text-embedding-3-large", "dimensions": 1535}
MICRO_USD_PER_TOKEN = 0.13
"""text-embedding-3-large."""


async def benchmark(pages: int) -> None:
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        directory = Path(name)
        stack = ServerStack.ephemeral(directory / "servers", cache_dir=Settings.from_env().cache_dir)
        with stack:
            async with (
                FakeSite(pages=pages, min_kb=8, max_kb=40) as site,
                OpenAIServer(latency_s=0.3) as openai,
            ):
                built = Rig(stack.environment(), directory, site.url, openai.url)
                try:
                    await built.start()
                    await built.api.start(KB, built.definition())
                    done = await built.api.until_status(KB, "completed", within_s=600)
                    chunks = done["metrics"]["chunks_total"]
                    print(f"reembed: {pages} pages of 8-40 KB, {chunks} chunks of {len(openai.texts)} distinct texts")
                    await _compare(built, site, openai)
                finally:
                    await built.close()


async def _compare(built: Rig, site: FakeSite, openai: OpenAIServer) -> None:
    async def reembed() -> None:
        await built.api.ok("POST", f"/kb/{KB}/reembed", {"embedding": LARGE})

    async def refresh() -> None:
        await built.api.ok("POST", f"/kb/{KB}/start")

    async def crawl() -> None:
        await built.api.start(KB, {**built.definition(), "embedding": OTHER})

    anew = await _measured("reembed", built, site, openai, reembed)
    await _measured("refresh behind it, nothing changed", built, site, openai, refresh)
    crawled = await _measured("baseline: crawled anew", built, site, openai, crawl)
    line("ratio of times, crawl to reembed", crawled / anew, "x")


async def _measured(
    label: str, built: Rig, site: FakeSite, openai: OpenAIServer, start: Callable[[], Awaitable[Any]]
) -> float:
    """Seconds until it is published."""
    site.forget()
    openai.reset()
    started = time.perf_counter()
    await start()
    handed_on_s = await _finished(built, started)
    await built.api.until_status(KB, "completed", within_s=600)
    seconds = time.perf_counter() - started

    async def settled() -> Any:
        cost = (await built.api.status(KB))["cost"]
        return None if cost["unsettled_tokens"] else cost

    cost = await until(settled, within_s=10, what="every call is settled")
    counted = openai.tokens.total() * MICRO_USD_PER_TOKEN
    line(
        label,
        seconds,
        "s",
        f"handed on after {handed_on_s:.1f} s; {site.requests.total()} requests, {site.fetched.total()} pages fetched; "
        f"{openai.calls} calls, {len(openai.texts)} texts, {sum(times > 1 for times in openai.texts.values())} twice; "
        f"{cost['usd'] * 1e6:.1f} µ$, the API counted {counted:.1f}",
    )
    return seconds


async def _finished(built: Rig, started: float) -> float:
    """Seconds until the producer is done."""

    async def finished() -> bool:
        return bool((await built.api.status(KB))["crawl"]["state"] == "finished")

    await until(finished, within_s=600, what="the producer is done")
    return time.perf_counter() - started


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=200)
    raise SystemExit(run(benchmark(parser.parse_args().pages)))
