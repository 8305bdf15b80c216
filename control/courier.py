"""One message to one webhook: a POST that is bounded in every direction, and what its answer means."""

import asyncio
import random
import time
from typing import Literal

import aiohttp
import msgspec

import headrace
from control.resolver import Resolver
from headrace.addresses import AddressPolicy, forbidden_within, guarded_socket_factory
from headrace.retry_after import retry_after_seconds
from headrace.webhooks import Webhook

TOTAL_S = 15.0
"""A receiver takes a message and answers; it works on it later."""
PAUSES_S = (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200)
"""After each try but the last: over a day in all, through a night on which nobody looks."""
JITTER = 0.2
LONGEST_S = 43_200.0
"""Of what a receiver may ask for by Retry-After."""
LONGEST_PAUSE_S = LONGEST_S * (1 + JITTER)
"""Between two tries of a message."""


class Answer(msgspec.Struct, frozen=True):
    """taken: 2xx. gone: 410, never to be tried again. failed: to be tried again.

    `said` is for people, without what may be secret in the URL.
    """

    kind: Literal["taken", "gone", "failed"]
    said: str
    retry_after_s: float | None = None


def pause_s(tries: int, retry_after_s: float | None) -> float | None:
    """After so many tries that failed; None: give it up."""
    if tries > len(PAUSES_S):
        return None
    own = PAUSES_S[tries - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    return max(own, held_s(retry_after_s))


def held_s(retry_after_s: float | None) -> float:
    """For how long the receiver is sent nothing at all."""
    return min(retry_after_s or 0.0, LONGEST_S)


async def send(webhook: Webhook, message_id: str, body: bytes) -> Answer:
    """Never raises but CancelledError. Redirects are not followed, and the answer's body is not read."""
    timestamp = int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"Headrace/{headrace.__version__}",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": webhook.signatures(message_id, timestamp, body),
    }
    connector = aiohttp.TCPConnector(
        resolver=Resolver(),
        socket_factory=guarded_socket_factory(AddressPolicy(webhook.allow_addresses)),
        force_close=True,
    )
    try:
        async with (
            aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=TOTAL_S),
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            ) as session,
            session.post(webhook.url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            return _judged(response)
    except TimeoutError:
        return Answer("failed", f"no answer within {TOTAL_S:.0f} s")
    except (aiohttp.ClientError, OSError, ValueError) as exc:
        return Answer("failed", _why(webhook, exc))


def _judged(response: aiohttp.ClientResponse) -> Answer:
    status = response.status
    if 200 <= status < 300:
        return Answer("taken", f"HTTP {status}")
    if status == 410:
        return Answer("gone", "HTTP 410: the receiver wants no more")
    if 300 <= status < 400:
        return Answer("failed", f"HTTP {status}: a redirect, which is not followed; give the URL it leads to")
    return Answer("failed", f"HTTP {status}", retry_after_seconds(response.headers.get("Retry-After")))


def _why(webhook: Webhook, exc: Exception) -> str:
    if (forbidden := forbidden_within(exc)) is not None:
        return f"{forbidden}; if it is meant, add the webhook with --allow-address"
    match exc:
        case aiohttp.ClientConnectorDNSError():
            return f"the name of {webhook.place} can't be resolved"
        case aiohttp.ClientSSLError():
            return f"no TLS with {webhook.place}: its certificate is not taken, or it speaks none"
        case aiohttp.ClientConnectorError():
            return f"{webhook.place} can't be connected to: {exc.os_error.strerror or type(exc.os_error).__name__}"
    return f"the connection to {webhook.place} broke off ({type(exc).__name__})"


async def wait(event: asyncio.Event, seconds: float | None) -> None:
    """Until it is set, or the time is over."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
