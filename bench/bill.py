"""The bill: of a first job, over a restart, of refreshes with nothing and 5 % of the pages changed, of another model.

    python -m bench bill [--pages 200]

Baseline: what the fake OpenAI API counted itself, times the price.
"""

import argparse
import tempfile
from pathlib import Path

from bench.rig import Rig, line, run
from headrace.embedded.stack import ServerStack
from headrace.settings import Settings
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.site import FakeSite
from tests.support.api import Json
from tests.support.waiting import until

KB = "bench"
SMALL, LARGE = 0.02, 0.13
"""Micro-dollars a token: text-embedding-3-small and -large."""
LARGE_MODEL = {"provider": "openai", "model": "text-embedding-3-large", "dimensions": 1536}
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
    print(f"bill: {len(site.paths)} pages of 8-40 KB, text-embedding-3-small at ${SMALL} per million tokens")
    await built.start()
    estimate = await built.api.ok("POST", f"/kb/{KB}/start", built.definition() | {"dry_run": True})
    usd = estimate["usd"]
    line("estimated before", usd["expected"] * 1e6, "µ$", f"{usd['low'] * 1e6:.0f} to {usd['high'] * 1e6:.0f}")
    start, refresh = f"/kb/{KB}/start", built.definition()
    counted = await _job(built, openai, "first job", start, refresh)
    calls = openai.calls
    for service in built.services.values():
        await service.terminate()
    await built.start()
    line("restart", openai.calls - calls, "calls")
    counted += await _job(built, openai, "refresh, nothing changed", start, refresh)
    for path in site.paths[: round(len(site.paths) * CHANGED)]:
        site.edit(path)
    counted += await _job(built, openai, f"refresh, {CHANGED:.0%} of the pages changed", start, refresh)
    line("texts paid for twice", sum(times > 1 for times in openai.texts.values()), "")
    asked = site.requests.total()
    reembed = f"/kb/{KB}/reembed", {"embedding": LARGE_MODEL}
    counted += await _job(built, openai, "text-embedding-3-large, from what is stored", *reembed, price=LARGE)
    line("pages asked for over it", site.requests.total() - asked, "")
    total = (await built.api.ok("GET", f"/kb/{KB}/cost"))["usd"] * 1e6
    line("in all: headrace", total, "µ$")
    line("in all: the API's own count", counted, "µ$")
    line("ratio", total / counted, "x")


async def _job(built: Rig, openai: OpenAIServer, label: str, path: str, body: Json, *, price: float = SMALL) -> float:
    """What the API counted, in micro-dollars."""
    before, calls = openai.tokens.total(), openai.calls
    await built.api.ok("POST", path, body)
    await built.api.until_status(KB, "completed", within_s=600)

    async def settled() -> Json | None:
        cost: Json = (await built.api.status(KB))["cost"]
        return cost if not cost["unsettled_tokens"] else None

    cost = await until(settled, within_s=10, what="every call is settled")
    counted = (openai.tokens.total() - before) * price
    told = f"{cost['calls']} calls; the API counted {counted:.1f} µ$, {openai.calls - calls} calls"
    line(label, cost["usd"] * 1e6, "µ$", told)
    return counted


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=200)
    raise SystemExit(run(benchmark(parser.parse_args().pages)))
