"""`/healthz` and `/metrics` of one consumer, where a port is set."""

import time
from collections.abc import Callable
from typing import Any

import faust
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from consumer.metrics import REGISTRY
from consumer.window import Window
from headrace.kafka.follower import Follower
from headrace.metrics import Consumer as Metrics
from headrace.metrics import Metric
from headrace.settings import Settings

STUCK_S = 120.0
"""Batches under way and none acked for so long: alive but of no use."""


class Health:
    def __init__(self, settings: Settings, app: faust.App, window: Window, follower: Follower) -> None:
        self._host, self._port = settings.health_host, settings.consumer_health_port
        self._app, self._window = app, window
        self._runner: web.AppRunner | None = None
        self._registry = CollectorRegistry()
        values: dict[Metric, Callable[[], float]] = {
            Metrics.BATCHES_IN_FLIGHT: lambda: window.in_flight,
            Metrics.RECORDS_WAITING: lambda: window.waiting,
            Metrics.READING: window.gate.is_set,
            Metrics.CATCH_UP_WAIT_SECONDS: lambda: follower.waits_s,
        }
        for metric, value in values.items():
            metric.gauge(self._registry).set_function(value)

    async def start(self) -> None:
        if self._port is None:
            return
        routes = web.Application()
        routes.router.add_get("/healthz", self._healthz)
        routes.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(routes)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    def report(self) -> dict[str, Any]:
        app = self._app
        alive = bool(app.started and not app.should_stop and not app.crashed)
        idle_s = time.monotonic() - self._window.progressed_at
        stuck = self._window.in_flight > 0 and idle_s > STUCK_S
        partitions = sorted(tp.partition for tp in app.consumer.assignment()) if alive else []
        return {"ok": alive and not stuck, "partitions": partitions, "in_flight": self._window.in_flight}

    async def _healthz(self, request: web.Request) -> web.Response:
        report = self.report()
        return web.json_response(report, status=200 if report["ok"] else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._registry) + generate_latest(REGISTRY),
            headers={"Content-Type": CONTENT_TYPE_LATEST},
        )
