"""What asking for a token costs a request, beside a control that asks nobody. No stack.

    python -m bench access [--requests 3000] [--tokens 100]

Time is CPU time of this process, which is server and client of `/whoami` at once; the quickest of five rounds.
"""

import argparse
import asyncio
import logging
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from control.engine import Engine
from control.http import application
from control.sessions import COOKIE
from headrace.settings import Settings
from headrace.tokens import create

ASKED = "/api/ingestion/whoami"
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=3_000)
    parser.add_argument("--tokens", type=int, default=100)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as directory:
        settings = replace(Settings.from_env({}), data_dir=Path(directory), http_rate=10**9)
        asyncio.run(_run(settings, options.requests, options.tokens))


async def _run(settings: Settings, requests: int, tokens: int) -> None:
    engine = Engine(settings)
    async with TestClient(TestServer(application(engine))) as client:
        nobody = await _report(client, "nobody is asked", requests, {})
        texts = [create(settings.tokens, f"t{n}", "read")[1] for n in range(tokens)]
        bearer = {"Authorization": f"Bearer {texts[-1]}"}
        value = (await client.post("/api/ingestion/login", headers=bearer)).cookies[COOKIE].value
        client.session.cookie_jar.clear()
        await _report(client, f"one of {tokens} tokens", requests, bearer, nobody)
        await _report(client, "a login", requests, {"Cookie": f"{COOKIE}={value}"}, nobody)
    await engine.stop()


async def _report(
    client: TestClient[Any, Any], name: str, requests: int, headers: Mapping[str, str], baseline_us: float | None = None
) -> float:
    took_us = min([await _round(client, requests, headers) for _ in range(ROUNDS)])
    beside = f", {took_us / baseline_us:.2f} times" if baseline_us else ""
    print(f"{name:20} {took_us:6.0f} us a request{beside}")
    return took_us


async def _round(client: TestClient[Any, Any], requests: int, headers: Mapping[str, str]) -> float:
    began = time.process_time()
    for _ in range(requests):
        async with client.get(ASKED, headers=headers) as response:
            await response.read()
            assert response.status == 200
    return (time.process_time() - began) / requests * 1e6


if __name__ == "__main__":
    main()
