"""`/healthz` and `/metrics`, for whoever watches this process."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from producer.jobs import Jobs
from producer.metrics import Metrics


class Health:
    """`start`, `stop`. Answers as long as the event loop runs, which is the point of asking."""

    def __init__(self, host: str, port: int, jobs: Jobs, metrics: Metrics) -> None:
        self._host, self._port, self._jobs, self._metrics = host, port, jobs, metrics
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/metrics", self._show_metrics)
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "partitions": sorted(self._jobs.owned), "jobs": self._jobs.kept})

    async def _show_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
