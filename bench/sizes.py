"""What a knowledge base takes: bytes on disk per chunk, and memory per process (the producer's
without those that extract pages), after a job with 1,536 dimensions.

    python -m bench.sizes [--pages 400]

Disk is counted in blocks, as `du` does: Kafka's segments by topic (one replica), and Weaviate's folder.
"""

import argparse
from collections import Counter
from pathlib import Path

from bench.rig import Rig, line, rig, run
from schemas.topics import TOPICS

BLOCK_BYTES = 512


async def benchmark(pages: int) -> None:
    async with rig(pages) as built:
        await built.start()
        await built.api.start("bench", built.definition())
        done = await built.api.until_status("bench", "completed", within_s=900)
        chunks = done["metrics"]["chunks_processed"]
        print(f"sizes: {pages} pages of 40-100 KB, {chunks} chunks, 1,536 dimensions")
        servers = built.servers_dir
        _disk(built, servers, pages, chunks)
        for name, service in built.services.items():
            line(f"{name}, most memory so far", _peak_mb(service.pid), "MB")
        for name, pid in _server_pids(servers).items():
            line(f"{name}, most memory so far", _peak_mb(pid), "MB")


def _disk(built: Rig, servers: Path, pages: int, chunks: int) -> None:
    sizes: Counter[str] = Counter()
    for segment in (servers / "kafka" / "log").glob("*/*.log"):
        topic = segment.parent.name.rpartition("-")[0].removeprefix(built.settings.topic_prefix)
        sizes[topic] += _bytes(segment)
    for name in TOPICS:
        line(f"Kafka, {name}", sizes[name] / chunks, "bytes/chunk", f"{sizes[name] / pages:.0f} bytes/page")
    line("Weaviate", _bytes(servers / "weaviate" / "objects") / chunks, "bytes/chunk")


def _bytes(path: Path) -> int:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(each.stat().st_blocks * BLOCK_BYTES for each in files)


def _server_pids(servers: Path) -> dict[str, int]:
    """Of the embedded servers, by the folder that each works in."""
    places = {(servers / name).resolve(): name for name in ("kafka", "weaviate")}
    found: dict[str, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            place = (process / "cwd").readlink()
        except OSError:  # it ended, or is another user's
            continue
        if place in places:
            found[places[place]] = int(process.name)
    return found


def _peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(each.split()[1]) for each in lines if each.startswith("VmHWM:")) * 1024 / 1e6


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=400)
    raise SystemExit(run(benchmark(parser.parse_args().pages)))
