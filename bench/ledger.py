"""What the ledger costs: chunks per second with every call reserved on Kafka before it and settled after, and without.

    python -m bench ledger [--chunks 24000] [--rounds 3]

A real Kafka; the API is a fake in a process of its own, first as far away as OpenAI (300 ms), then as near as a server
of one's own (20 ms). Records come from memory and are counted where Weaviate would be written. Baseline: the same
consumer with a ledger that makes calls and tells nothing. The ways take turns; the median of the rounds is shown.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, cast

from bench.embed_rig import UNBOUND, Job, embed_rig, timed, tokens_of
from bench.rig import DIMENSIONS, LATENCY_MS, fake, line, run
from consumer.account import Account
from consumer.judge import Judge
from consumer.ledger import Ledger, Text
from consumer.reports import Reports
from headrace.embedded.kafka import EmbeddedKafka
from headrace.embedded.ports import free_ports
from headrace.embedded.progress import SilentReporter
from headrace.embedding.base import Embedded
from headrace.kafka.admin import ensure_topics
from headrace.kafka.publisher import Publisher
from headrace.prices import Prices
from headrace.settings import Settings
from schemas.commands import JobCommand
from schemas.events import Event
from schemas.kb import Budget

PREFIX, PARTITIONS = "bench.", 8
NEAR_MS = 20
TOKENS = 350
FILLING = "the gate holds the water of the channel above the wheel of the mill "
AMPLE = Budget(max_usd=1_000)


class Untold:
    """Makes calls, and keeps no account."""

    async def call(
        self, command: JobCommand, texts: Sequence[Text], make: Callable[[], Awaitable[Embedded]], **_: Any
    ) -> Embedded:
        return await make()


class Timed(Reports):
    """`waits_s`: of each reservation, until Kafka has it."""

    def __init__(self, publisher: Publisher) -> None:
        super().__init__(publisher, "bench")
        self.waits_s: list[float] = []

    async def publish(self, event: Event, partition: int) -> None:
        began = time.perf_counter()
        await super().publish(event, partition)
        self.waits_s.append(time.perf_counter() - began)


async def benchmark(chunks: int, rounds: int) -> None:
    (port,) = free_ports(1)
    print(f"ledger: {DIMENSIONS} dimensions, {chunks} chunks of {TOKENS} tokens a run, median of {rounds}")
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        kafka = EmbeddedKafka(Path(name) / "kafka", Settings.from_env().cache_dir, SilentReporter(), port=port)
        kafka.start()
        publisher = Publisher(kafka.bootstrap_servers, prefix=PREFIX, source="bench")
        try:
            ensure_topics(kafka.bootstrap_servers, prefix=PREFIX, partitions=PARTITIONS)
            await publisher.start()
            for latency_ms in (LATENCY_MS, NEAR_MS):
                await _beside_each_other(publisher, latency_ms, chunks, rounds)
        finally:
            await publisher.stop()
            kafka.stop()


async def _beside_each_other(publisher: Publisher, latency_ms: int, chunks: int, rounds: int) -> None:
    reports = Timed(publisher)

    async def nothing_spent(_: JobCommand) -> Account:
        return Account()

    def told(judge: Judge) -> Ledger:
        return Ledger(reports, judge, Prices(), nothing_spent)

    def untold(_: Judge) -> Ledger:
        return cast(Ledger, Untold())

    ways = {
        "without": (untold, UNBOUND),
        "reserved and settled": (told, UNBOUND),
        "and held by a budget": (told, AMPLE),
    }
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    api = ["--latency-ms", str(latency_ms), "--dimensions", str(DIMENSIONS), "--estimate-tokens", "--pooled-vectors"]
    with fake(["tests.fakes.openai_server", *api]) as url:
        for number in range(rounds):
            for name in (*ways, *ways)[number % len(ways) :][: len(ways)]:  # each is the first once
                ledger, budget = ways[name]
                runs[name].append(await _run(url, ledger, budget, chunks, f"{name} {number}"))
    print(f"  an API that answers in {latency_ms} ms:")
    bare_s, bare_cpu_s = (statistics.median(each) for each in zip(*runs["without"], strict=True))
    for name, figures in runs.items():
        took_s, cpu_s = (statistics.median(each) for each in zip(*figures, strict=True))
        ratio = f"{bare_s / took_s:.2f} x, {1e6 * (cpu_s - bare_cpu_s) / chunks:+.0f} us of processor a chunk"
        line(f"  {name}", chunks / took_s, "chunks/s", "" if name == "without" else ratio)
    waits = sorted(reports.waits_s)
    p99 = waits[int(0.99 * (len(waits) - 1))]
    line("  a reservation waits, p50", 1e3 * statistics.median(waits), "ms", f"p99 {1e3 * p99:.1f}; {len(waits)} calls")


async def _run(
    url: str, ledger: Callable[[Judge], Ledger], budget: Budget, chunks: int, seed: str
) -> tuple[float, float]:
    """Seconds, and seconds of processor."""
    async with embed_rig(url, ledger=ledger) as rig:
        first = Job(rig, 7, [f"first {seed}"])
        rig.add(first)
        await first.finished.wait()
        job = Job(rig, 0, [_text(f"{seed} {number}") for number in range(chunks)], budget)
        rig.add(job)
        cpu, took_s = time.process_time(), await timed(job)
        assert not rig.stalls
        return took_s, time.process_time() - cpu


def _text(beginning: str) -> str:
    """Of about `TOKENS`."""
    return f"{beginning} {FILLING * (TOKENS // tokens_of(FILLING))}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=24_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    raise SystemExit(run(benchmark(given.chunks, given.rounds)))
