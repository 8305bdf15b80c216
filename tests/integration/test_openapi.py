"""Whatever is sent to control, it answers as its OpenAPI document says: with a token, with a narrow one, with none.

Cases are made from the document (schemathesis), the same ones each time, and sent to a control of its own.
"""

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)

from control.openapi import document
from control.roles import need_of
from headrace.client import ControlClient
from headrace.embedded.ports import free_ports
from headrace.settings import Secret, Settings
from headrace.tokens import create
from tests.conftest import Servers
from tests.support.services import Service
from tests.support.waiting import until

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
KB = "docs"
DEFINITION = {"source": {"urls": ["https://example.org/docs/"]}}
ENDLESS = "GET /api/ingestion/events"
ABROAD = ("dry_run", "sample")
"""What makes a start ask a web site."""

schema = schemathesis.openapi.from_dict(msgspec.json.decode(document())).exclude(path_regex="/preview$")


@dataclass(frozen=True)
class Asked:
    """A control that has a job of `docs`, and who may ask it."""

    url: str
    job: str
    tokens: dict[str, str]


@pytest.fixture(scope="module")
def asked(stack: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    (port,) = free_ports(1)
    directory = tmp_path_factory.mktemp("openapi")
    environment = stack.environment() | {
        "HEADRACE_TOPIC_PREFIX": f"t{secrets.token_hex(4)}.",
        "HEADRACE_PARTITIONS": "1",
        "HEADRACE_DATA_DIR": str(directory),
        "HEADRACE_HTTP_PORT": str(port),
        "HEADRACE_HTTP_RATE": "0",
    }
    path = Settings.from_env(environment).tokens
    tokens = {"all": create(path, "all", "admin")[1], "narrow": create(path, "narrow", "read", kbs=["other"])[1]}
    control = Service("control", environment, directory).start()
    client = ControlClient(f"http://127.0.0.1:{port}", token=Secret(tokens["all"]))

    async def ready() -> bool:
        assert control.alive, control.said()
        return await asyncio.to_thread(client.ready)

    try:
        asyncio.run(until(ready, within_s=60, what="control is ready"))
        yield Asked(client.url, client.start(KB, DEFINITION)["job_id"], tokens)
    finally:
        control.close()


@schema.parametrize()
@settings(
    max_examples=5,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_it_answers_as_it_says(case: Case, asked: Asked) -> None:
    operation = f"{case.method} {case.path}"
    need = need_of(case.method, case.path)
    _tame(case)
    for known in (False, True):
        if known and not _made_known(case, asked):
            continue
        if operation != ENDLESS:
            _sent(case, asked, "all")
            narrow = _sent(case, asked, "narrow")
            assert narrow in (403, 404, 422) or need.role in (None, "read"), narrow
        assert need.role is None or _sent(case, asked, None) in (401, 429)


def _sent(case: Case, asked: Asked, token: str | None) -> int:
    headers = {"Authorization": f"Bearer {asked.tokens[token]}"} if token else {}
    response = case.call(base_url=asked.url, headers=headers, timeout=60)
    case.validate_response(response, checks=CHECKS)
    return response.status_code


def _tame(case: Case) -> None:
    """No web site is asked, and nothing is waited for."""
    if isinstance(case.body, dict):
        for name in ABROAD:
            case.body.pop(name, None)
    if case.query and "after" in case.query and case.path.endswith("/status"):
        case.query["wait_s"] = "0"


def _made_known(case: Case, asked: Asked) -> bool:
    """The case once more, of what there is; not where it would be gone then."""
    given = case.path_parameters or {}
    if case.method == "DELETE" or not {"kb", "job"} & set(given):
        return False
    given.update({name: value for name, value in (("kb", KB), ("job", asked.job)) if name in given})
    return True
