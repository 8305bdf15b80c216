"""Requests and tokens a minute as the OpenAI API grants them: what was used flows in again evenly."""

from __future__ import annotations

import time

from tests.fakes.openai_errors import ApiError


class Allowance:
    """`check` each request; `headers` go with every answer, refusals too."""

    def __init__(self, requests: int | None = None, tokens: int | None = None, *, silent: bool = False) -> None:
        """Per minute; None for no limit. `silent`: neither headers nor Retry-After tell of them."""
        self._limits = {name: limit for name, limit in (("requests", requests), ("tokens", tokens)) if limit}
        self._left = {name: float(limit) for name, limit in self._limits.items()}
        self._silent, self._at = silent, time.monotonic()

    def check(self, tokens: int) -> None:
        """Raises ApiError where one of the limits is reached; what is refused uses nothing up."""
        now = time.monotonic()
        for name, limit in self._limits.items():
            self._left[name] = min(limit, self._left[name] + (now - self._at) * limit / 60)
        self._at = now
        wanted = {"requests": 1, "tokens": tokens}
        for name, limit in self._limits.items():
            if self._left[name] < wanted[name]:
                raise self._refusal(name, limit, wanted[name])
        for name in self._limits:
            self._left[name] -= wanted[name]

    def headers(self) -> dict[str, str]:
        if self._silent:
            return {}
        told = {}
        for name, limit in self._limits.items():
            told[f"x-ratelimit-limit-{name}"] = str(limit)
            told[f"x-ratelimit-remaining-{name}"] = str(int(self._left[name]))
            told[f"x-ratelimit-reset-{name}"] = _duration((limit - self._left[name]) * 60 / limit)
        return told

    def _refusal(self, name: str, limit: int, wanted: int) -> ApiError:
        wait_s = (wanted - self._left[name]) * 60 / limit
        unit = "TPM" if name == "tokens" else "RPM"
        message = (
            f"Rate limit reached for text-embedding-3-small in organization org-fake on {name} per min ({unit}): "
            f"Limit {limit}, Used {int(limit - self._left[name])}, Requested {wanted}. "
            f"Please try again in {_duration(wait_s)}."
        )
        asked = {"retry-after": str(max(1, round(wait_s))), "retry-after-ms": str(int(wait_s * 1000) + 1)}
        headers = {} if self._silent else self.headers() | asked
        return ApiError(429, message, kind=name, code="rate_limit_exceeded", headers=headers)


def _duration(seconds: float) -> str:
    """As Go prints it: `120ms`, `1.5s`, `1m0s`."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{rest:g}s"
