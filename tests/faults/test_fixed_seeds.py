"""A short, fixed part of what `make faults` does at length."""

from pathlib import Path

from tests.faults.series import Result, run_series

SEEDS = (3, 5, 6, 7, 9)


async def test_nothing_is_lost_in_the_fixed_seeds(tmp_path: Path) -> None:
    def told(result: Result, seed: int) -> None:
        print(f"seed {seed}: {[str(broken) for failure in result.failures for broken in failure.broken]}")

    result = await run_series(SEEDS, lanes=2, directory=tmp_path, told=told)
    assert not result.failures, "\n".join(f"{f.seed}: {b}" for f in result.failures for b in f.broken)
