"""The endpoints of webhooks. Who edits them is on control's machine: `headrace webhook`."""

from aiohttp import web

from control.answers.webhooks import WebhookList, WebhookTest
from control.engine import Engine
from control.problems import NotFound, Unavailable
from headrace.webhooks import InvalidWebhooks


async def webhooks(engine: Engine, request: web.Request) -> WebhookList:
    engine.check_ready()
    try:
        return WebhookList(webhooks=await engine.webhooks.all())
    except InvalidWebhooks as exc:
        raise Unavailable(str(exc), code="webhooks-unreadable") from exc


async def test(engine: Engine, request: web.Request) -> WebhookTest:
    engine.check_ready()
    name = request.match_info["name"]
    try:
        answer = await engine.webhooks.test(name)
    except InvalidWebhooks as exc:
        raise Unavailable(str(exc), code="webhooks-unreadable") from exc
    if answer is None:
        raise NotFound(f"there is no webhook {name!r}; `headrace webhook add` makes one", code="unknown-webhook")
    return WebhookTest(name=name, delivered=answer.kind == "taken", answer=answer.said)
