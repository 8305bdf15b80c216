"""Control's HTTP API as a test uses it: asynchronous, so that fakes on the same loop go on answering."""

import asyncio
from typing import Any

import aiohttp

from tests.support.waiting import until

Json = dict[str, Any]


class Api:
    def __init__(self, url: str) -> None:
        self.url = url
        self.token: str | None = None
        self._session = aiohttp.ClientSession(url)

    async def close(self) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and decoded JSON; `path` is below `/api/ingestion` unless it names a room of its own."""
        where = path if path.startswith(("/healthz", "/readyz", "/metrics", "/openapi")) else f"/api/ingestion{path}"
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        async with self._session.request(method, where, json=body, headers=headers) as response:
            return response.status, await response.json(content_type=None)

    async def ok(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = await self.call(method, path, body)
        assert status < 300, f"{method} {path}: {status} {answer}"
        return answer

    async def ready(self) -> None:
        async def answers() -> bool:
            try:
                return (await self.call("GET", "/readyz"))[0] == 200
            except aiohttp.ClientError:
                return False

        await until(answers, within_s=60, what="control is ready")

    async def start(self, kb: str, definition: Json) -> Json:
        answer: Json = await self.ok("POST", f"/kb/{kb}/start", definition)
        return answer

    async def status(self, kb: str) -> Json:
        answer: Json = await self.ok("GET", f"/kb/{kb}/status")
        return answer

    async def until_status(self, kb: str, *wanted: str, within_s: float = 60) -> Json:
        """The status once its `status` is one of `wanted`; fails at once where the job ends otherwise."""
        ends = {"completed", "completed_with_errors", "failed", "cancelled"} - set(wanted)

        async def reached() -> Json | None:
            now = await self.status(kb)
            assert now["status"] not in ends, f"ended as {now}"
            return now if now["status"] in wanted else None

        try:
            return await until(reached, within_s=within_s, what=f"{kb} is {' or '.join(wanted)}")
        except AssertionError as exc:
            raise AssertionError(f"{exc}; now: {await self.status(kb)}") from exc

    async def until_metric(self, kb: str, name: str, least: int, within_s: float = 60) -> Json:
        async def reached() -> Json | None:
            now = await self.status(kb)
            return now if now["metrics"][name] >= least else None

        return await until(reached, within_s=within_s, what=f"{kb}: {name} >= {least}", every_s=0.02)


async def gather(*calls: Any) -> list[Any]:
    return list(await asyncio.gather(*calls))
