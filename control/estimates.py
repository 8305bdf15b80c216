"""Estimates before a start, and previews: programs of the producer, run beside control as by the command line."""

import asyncio
import logging
import sys

import msgspec

from control.problems import Invalid, Unavailable
from schemas.estimates import Estimate, EstimateRequest, ReembedEstimate, ReembedRequest
from schemas.previews import Preview, PreviewRequest

log = logging.getLogger(__name__)

PROGRAM = "producer.estimate"
OF_REEMBEDDING = "producer.estimate_reembed"
PREVIEW = "producer.preview"
AT_ONCE = 2
"""Each has processes of its own to read pages with; others wait for their turn."""
TIMEOUT_S = 150.0
"""A sample takes a minute; the rest is for a busy machine."""


class Estimates:
    def __init__(self, program: str = PROGRAM, timeout_s: float = TIMEOUT_S) -> None:
        self._program, self._timeout_s = program, timeout_s
        self._room = asyncio.Semaphore(AT_ONCE)

    async def of(self, request: EstimateRequest) -> Estimate:
        """Raises Invalid where there is nothing to estimate by, and says why."""
        async with self._room:
            answer = await self._asked(self._program, msgspec.json.encode(request))
        estimate = msgspec.json.decode(answer, type=Estimate)
        if estimate.problem is not None:
            raise Invalid(estimate.problem, code="no-estimate")
        return estimate

    async def of_reembedding(self, request: ReembedRequest) -> ReembedEstimate:
        """Raises Unavailable where the stored texts can't be read."""
        async with self._room:
            answer = await self._asked(OF_REEMBEDDING, msgspec.json.encode(request))
        estimate = msgspec.json.decode(answer, type=ReembedEstimate)
        if estimate.problem is not None:
            raise Unavailable(estimate.problem, code="no-estimate")
        return estimate

    async def preview(self, request: PreviewRequest) -> Preview:
        async with self._room:
            answer = await self._asked(PREVIEW, msgspec.json.encode(request))
        return msgspec.json.decode(answer, type=Preview)

    async def _asked(self, program: str, request: bytes) -> bytes:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", program, stdin=pipe, stdout=pipe)
        try:
            async with asyncio.timeout(self._timeout_s):
                answer, _ = await process.communicate(request)
        except TimeoutError as exc:
            raise Unavailable(f"there was no estimate within {self._timeout_s:.0f} s", code="no-estimate") from exc
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            log.error("%s ended with %d", program, process.returncode)
            raise Unavailable("the estimate broke off; control's log says more", code="no-estimate")
        return answer
