"""The OpenAPI 3.1 document, made from the route table and the types."""

import re
from functools import cache
from http import HTTPStatus
from typing import Any

import msgspec

import headrace
from control.answers import KbAnswer
from control.api import ROUTES, Route
from control.problems import CONTENT_TYPE, ProblemDetails
from control.roles import Need, need_of
from control.sessions import COOKIE

DESCRIPTION = """\
Headrace crawls web sites into knowledge bases that can be searched. `PUT /kb/{kb}` defines one,
`POST /kb/{kb}/start` starts a job that crawls and indexes it, `GET /kb/{kb}/status` and `GET /events` tell how it goes,
`POST /kb/{kb}/search` searches what was published; all under `/api/ingestion`.

A command answers 202 with its revision as soon as it is on the log; `GET /kb/{kb}/status?after=` waits until it is
carried out. Pausing, resuming or cancelling again does no harm; a start that is sent again with the same
`Idempotency-Key` starts nothing more.

Where there are tokens, a call that names a role takes one: `Authorization: Bearer hr_…`. Errors are problems of RFC
9457 (`application/problem+json`): `detail` says what to do, `type` is for programs, and `Retry-After`, where it is
known, when to come again. A request that is no HTTP gets 400 and plain text.
"""

_REF = "#/components/schemas/{name}"
_IN_PATH = {
    "kb": "id of a knowledge base", "job": "id of a job", "partition": "partition of the topic dead-letters",
    "offset": "offset in it", "host": "host, or host:port, as the URLs name it", "name": "name of a webhook",
}  # fmt: skip
_ALWAYS = (403, 500, 503)
"""Problems that any call may answer with."""
_CONDITIONS = {
    "If-Match": "only where the knowledge base is there and its definition has this ETag; else 412. `*`: has any",
    "If-None-Match": "`*`: only where there is no such knowledge base; else 412",
}
_ETAG = {"description": "names the definition, not the rest of the answer", "schema": {"type": "string"}}
_BOUNDS = {
    "path": ", and a scope with the knowledge base", "answer": "; what is out of the token's scope is left out",
    "whole": ", and a scope of all knowledge bases", "none": "",
}  # fmt: skip
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "an API token, made by `headrace token create`"},
    "login": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "what POST /login gives to a browser"},
}


@cache
def document() -> bytes:
    kinds = [route.answer for route in ROUTES] + [r.body for r in ROUTES if r.body is not None] + [ProblemDetails]
    kinds += [kind for route in ROUTES for kind in route.others.values()]
    kinds = list(dict.fromkeys(kinds))
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    refs = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, refs)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "Headrace", "version": headrace.__version__, "description": DESCRIPTION},
            "paths": paths,
            "components": {"schemas": components, "securitySchemes": _SECURITY},
        }
    )


def _operation(route: Route, refs: dict[Any, Any]) -> dict[str, Any]:
    answered = {
        str(status): _content(
            route.text or "application/json",
            {"type": "string"} if route.text else refs[kind],
            HTTPStatus(status).phrase,
        )
        for status, kind in sorted({route.status: route.answer, **route.others}.items())
    }
    if route.answer is KbAnswer:
        answered[str(route.status)]["headers"] = {"ETag": _ETAG}
    for kind in route.files:
        answered[str(route.status)]["content"][kind] = {"schema": {"type": "string", "format": "binary"}}
    need = need_of(route.method, route.path)
    for status in sorted(_problems(route, need)):
        answered[str(status)] = _content(CONTENT_TYPE, refs[ProblemDetails], HTTPStatus(status).phrase)
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "description": f"Takes the role `{need.role}`{_BOUNDS[need.bound]}." if need.role else "Asks for no token.",
        "security": [{}, {"bearer": []}, {"login": []}] if need.role else [],
        "parameters": _parameters(route),
        "responses": answered,
    }
    if route.body is not None:
        content = {"application/json": {"schema": refs[route.body]}}
        operation["requestBody"] = {"required": route.body_required, "content": content}
    return operation


def _problems(route: Route, need: Need) -> set[int]:
    """What the route names, and what any caller, parameter or body can be refused for."""
    refused = {401} if need.role else set()
    limited = {429} if need.counted else set()
    unread = {400, 413, 415, 422} if route.body is not None else set()
    unfit = {422} if "{kb}" in route.path or route.query else set()
    unmet = {412} if route.conditional else set()
    return {*route.problems, *_ALWAYS, *refused, *limited, *unread, *unfit, *unmet}


def _operation_id(route: Route) -> str:
    return route.handler.__name__ + ("_of_kb" if "/kb/{kb}/jobs/{job}" in route.path else "")


def _parameters(route: Route) -> list[dict[str, Any]]:
    text = {"type": "string"}
    found = [
        {"name": name, "in": "path", "required": True, "description": _IN_PATH[name], "schema": text}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    found += [
        {"name": name, "in": "query", "required": False, "description": says, "schema": text}
        for name, says in route.query.items()
    ]
    if route.idempotent_by_key:
        says = "the same key gives the same answer again, over restarts too"
        found.append(_header("Idempotency-Key", says))
    if route.conditional:
        found += [_header(name, says) for name, says in _CONDITIONS.items()]
    return found


def _header(name: str, says: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": says, "schema": {"type": "string"}}


def _content(kind: str, schema: Any, description: str) -> dict[str, Any]:
    return {"description": description, "content": {kind: {"schema": schema}}}
