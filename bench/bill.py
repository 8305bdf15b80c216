"""The bill: of a first job, over a restart, and of refreshes with nothing and with 5 % of the pages changed.

    python -m bench bill [--pages 200]

Baseline: what the fake OpenAI API counted itself, times the price.
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path

from bench.rig import Rig, line, run
from headrace.embedded.stack import ServerStack
from headrace.settings import Settings
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.site import FakeSite
from tests.support.api import Json
from tests.support.waiting import until

KB = "bench"
MICRO_USD_PER_TOKEN = 0.02
"""text-embedding-3-small."""
CHANGED = 0.05


async def benchmark(pages: int) -> None:
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        directory = Path(name)
        stack = ServerStack.ephemeral(directory / "servers", cache_dir=Settings.from_env().cache_dir)
        with stack:
            async with (
                FakeSite(pages=pages, min_kb=8, max_kb=40) as site,
                OpenAIServer(latency_s=0.3, dimensions=1536) as openai,
            ):
                built = Rig(stack.environment(), directory, site.url, openai.url)
                try:
                    await _bill(built, site, openai)
                finally:
                    await built.close()


async def _bill(built: Rig, site: FakeSite, openai: OpenAIServer) -> None:
    print(
        f"bill: {len(site.paths)} pages of 8-40 KB, text-embedding-3-small at ${MICRO_USD_PER_TOKEN} per million tokens"
    )
    await built.start()
    estimate = await built.api.ok("POST", f"/kb/{KB}/start", built.definition() | {"dry_run": True})
    usd = estimate["usd"]
    line("estimated before", usd["expected"] * 1e6, "µ$", f"{usd['low'] * 1e6:.0f} to {usd['high'] * 1e6:.0f}")
    await _job(built, openai, "first job")
    calls = openai.calls
    for service in built.services.values():
        service.terminate()
    await built.start()
    line("restart", openai.calls - calls, "calls")
    await _job(built, openai, "refresh, nothing changed")
    for path in site.paths[: round(len(site.paths) * CHANGED)]:
        site.edit(path)
    await _job(built, openai, f"refresh, {CHANGED:.0%} of the pages changed")
    total = (await built.api.ok("GET", f"/kb/{KB}/cost"))["usd"] * 1e6
    counted = openai.tokens.total() * MICRO_USD_PER_TOKEN
    line("in all: headrace", total, "µ$")
    line("in all: the API's own count", counted, "µ$")
    line("ratio", total / counted, "x")
    line("texts paid for twice", sum(times > 1 for times in openai.texts.values()), "")


async def _job(built: Rig, openai: OpenAIServer, label: str) -> None:
    before, calls = Counter(openai.tokens), openai.calls
    await built.api.start(KB, built.definition())
    await built.api.until_status(KB, "completed", within_s=600)

    async def settled() -> Json | None:
        cost: Json = (await built.api.status(KB))["cost"]
        return cost if not cost["unsettled_tokens"] else None

    cost = await until(settled, within_s=10, what="every call is settled")
    counted = (openai.tokens.total() - before.total()) * MICRO_USD_PER_TOKEN
    line(
        label,
        cost["usd"] * 1e6,
        "µ$",
        f"{cost['calls']} calls; the API counted {counted:.1f} µ$, {openai.calls - calls} calls",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=200)
    raise SystemExit(run(benchmark(parser.parse_args().pages)))
