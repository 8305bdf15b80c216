"""Errors in the OpenAI API's own words and shape, and the failures that a test can ask for."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web


class ApiError(Exception):
    """An error answer: `{"error": {"message", "type", "param", "code"}}`."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}

    def response(self) -> web.Response:
        return web.json_response(self.body, status=self.status, headers=self.headers)

    @classmethod
    def invalid(cls, message: str, *, param: str | None = None, code: str | None = None) -> ApiError:
        return cls(400, message, param=param, code=code)

    @classmethod
    def invalid_key(cls, key: str) -> ApiError:
        shown = f"{key[:3]}{'*' * 8}{key[-4:]}"
        message = (
            f"Incorrect API key provided: {shown}. "
            "You can find your API key at https://platform.openai.com/account/api-keys."
        )
        return cls(401, message, code="invalid_api_key")

    @classmethod
    def no_model(cls, model: str) -> ApiError:
        message = f"The model `{model}` does not exist or you do not have access to it."
        return cls(404, message, code="model_not_found")


@dataclass(frozen=True)
class Failure:
    """What goes wrong with a request; made by the functions below."""

    error: ApiError | None = None
    hangs: bool = False
    malformed: bool = False
    not_numbers: bool = False
    missing_vectors: int = 0
    extra_dimensions: int = 0


def invalid_key() -> Failure:
    return Failure(ApiError.invalid_key("sk-wrong-key"))


def rate_limited(retry_after_s: float | None = 1.0) -> Failure:
    """None: without a word on how long to wait."""
    message = (
        "Rate limit reached for text-embedding-3-small in organization org-fake on requests per min (RPM): "
        f"Limit 3000, Used 3000, Requested 1. Please try again in {retry_after_s or 1:g}s."
    )
    headers = (
        {}
        if retry_after_s is None
        else {"retry-after": f"{retry_after_s:g}", "retry-after-ms": str(int(retry_after_s * 1000))}
    )
    return Failure(ApiError(429, message, kind="requests", code="rate_limit_exceeded", headers=headers))


def insufficient_quota() -> Failure:
    message = "You exceeded your current quota, please check your plan and billing details."
    return Failure(ApiError(429, message, kind="insufficient_quota", code="insufficient_quota"))


def server_error(status: int = 500) -> Failure:
    message = "The server had an error while processing your request. Sorry about that!"
    return Failure(ApiError(status, message, kind="server_error"))


def hang() -> Failure:
    """No answer until the client gives up."""
    return Failure(hangs=True)


def malformed() -> Failure:
    """A 200 whose JSON breaks off."""
    return Failure(malformed=True)


def wrong_dimensions(extra: int = 1) -> Failure:
    return Failure(extra_dimensions=extra)


def missing_vectors(fewer: int = 1) -> Failure:
    return Failure(missing_vectors=fewer)


def not_numbers() -> Failure:
    """Vectors of NaN."""
    return Failure(not_numbers=True)
