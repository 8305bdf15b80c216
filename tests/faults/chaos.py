"""Makes the drawn faults happen, and mends them; starts again what ended by itself, and says so."""

import asyncio
import signal
import subprocess
import time

from tests.fakes.openai_errors import malformed, rate_limited, server_error
from tests.faults.lane import Lane, Worker
from tests.faults.played import Disturbance, Kb, Timeline
from tests.faults.schedule import Fault, Server
from tests.faults.wires import State

RESTART_S = 0.3
MOMENT_S = 4.0
"""A fault that waits for a moment which doesn't come strikes all the same."""
GAP_S = 0.8
"""How long a wire is slow before its worker is killed."""
WATCH_S = 0.1


class Chaos:
    """`reign` returns when the last fault is mended; `watch` runs beside it and never returns."""

    def __init__(self, lane: Lane, kbs: list[Kb], timeline: Timeline, latency_s: float) -> None:
        self._lane, self._kbs, self._timeline, self._latency_s = lane, kbs, timeline, latency_s

    async def reign(self, faults: tuple[Fault, ...]) -> None:
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                group.create_task(self._befall(fault))

    async def watch(self) -> None:
        """What ended without being asked to is a crash: noted, and started again as a supervisor would."""
        while True:
            for worker in self._lane.workers.values():
                if worker.wanted and not worker.alive:
                    self._timeline.breaks("no crash", f"{worker.name} ended by itself: {_last_words(worker)}")
                    await asyncio.sleep(RESTART_S)
                    worker.start()
            await asyncio.sleep(WATCH_S)

    async def _befall(self, fault: Fault) -> None:
        await asyncio.sleep(fault.at_s)
        if fault.upon:
            await self._timeline.until(fault.upon, MOMENT_S)
            await asyncio.sleep(fault.lag_s)
            self._timeline.count(f"a fault just after {fault.upon}")
        self._timeline.count(_name(fault))
        for kb in self._kbs:
            self._timeline.met[_name(fault), kb.status] += 1
        self._timeline.say(f"{fault}")
        disturbance = Disturbance(fault.worker, fault.kind, time.monotonic())
        self._timeline.disturbances.append(disturbance)
        await self._do(fault)
        self._timeline.say(f"over: {fault.kind} {fault.worker}")
        disturbance.until_s = time.monotonic()

    async def _do(self, fault: Fault) -> None:
        if fault.worker:
            await self._to_worker(self._lane.workers[fault.worker], fault)
        elif fault.kind == "outage":
            await self._outage(fault)
        elif fault.kind == "site_slow":
            await self._slow_sites(fault)
        elif fault.kind == "openai_slow":
            self._lane.openai.latency_s = 5 * self._latency_s
            await asyncio.sleep(fault.lasts_s)
            self._lane.openai.latency_s = self._latency_s
        else:
            failures = {"openai_429": rate_limited(0.3), "openai_500": server_error(), "openai_malformed": malformed()}
            self._lane.openai.fail(failures[fault.kind])
            await asyncio.sleep(fault.lasts_s)
            self._lane.openai.heal()

    async def _outage(self, fault: Fault) -> None:
        """A server is away for everyone: for some it refuses, for others it is mute."""
        assert fault.wire is not None
        for number, worker in enumerate(self._lane.workers.values()):
            self._be(worker, fault.wire, "cut" if number % 2 else "mute")
        await asyncio.sleep(fault.lasts_s)
        for worker in self._lane.workers.values():
            self._be(worker, fault.wire, "whole")

    async def _slow_sites(self, fault: Fault) -> None:
        for kb in self._kbs:
            kb.site.latency_s = 0.4
        await asyncio.sleep(fault.lasts_s)
        for kb in self._kbs:
            kb.site.latency_s = 0.0

    async def _to_worker(self, worker: Worker, fault: Fault) -> None:
        match fault.kind:
            case "kill":
                await self._kill(worker, fault)
                await asyncio.sleep(fault.lasts_s)
                worker.start()
            case "freeze":
                worker.freeze()
                await asyncio.sleep(fault.lasts_s)
                worker.thaw()
            case "restart" | "leave":
                await self._leave(worker)
                await asyncio.sleep(fault.lasts_s)
                worker.start()
            case "join":
                worker.start()
                await asyncio.sleep(fault.lasts_s)
                await self._leave(worker)
            case _:
                await self._to_wire(worker, fault)

    async def _kill(self, worker: Worker, fault: Fault) -> None:
        if fault.wire:
            self._be(worker, fault.wire, "slow", fault.delay_s)
            await asyncio.sleep(GAP_S)
        worker.kill()
        if fault.wire:
            self._be(worker, fault.wire, "whole")

    async def _to_wire(self, worker: Worker, fault: Fault) -> None:
        assert fault.wire is not None and fault.kind in ("cut", "mute", "slow")
        self._be(worker, fault.wire, fault.kind, fault.delay_s)
        await asyncio.sleep(fault.lasts_s)
        self._be(worker, fault.wire, "whole")

    def _be(self, worker: Worker, server: Server, state: State, delay_s: float = 0.0) -> None:
        for name in ("weaviate", "weaviate_grpc") if server == "weaviate" else (server,):
            worker.wires[name].be(state, delay_s)

    async def _leave(self, worker: Worker) -> None:
        try:
            code = await worker.leave()
        except subprocess.TimeoutExpired:
            self._timeline.breaks("stops when asked", f"{worker.name} did not stop: {_last_words(worker)}")
            worker.kill()
            return
        # SIGTERM: asked before it had come so far as to listen. SIGKILL: another fault struck meanwhile.
        if code not in (0, -signal.SIGTERM, -signal.SIGKILL):
            self._timeline.breaks("no crash", f"{worker.name} stopped with code {code}: {_last_words(worker)}")


def _name(fault: Fault) -> str:
    service = fault.worker.partition("-")[0]
    where = f"{'on slow' if fault.kind == 'kill' else 'from'} {fault.wire}" if fault.wire else ""
    return " ".join(word for word in (fault.kind, service, where) if word)


def _last_words(worker: Worker) -> str:
    lines = worker.log.read_text(errors="replace").splitlines() if worker.log.exists() else []
    return " | ".join(line.strip() for line in lines[-3:])[:600]
