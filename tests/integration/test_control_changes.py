"""What changed between two generations, from the manifests that a played producer writes."""

from headrace.kafka.publisher import Publisher
from headrace.settings import Settings
from tests.integration.control_play import API, DEFINITION, Api, Json, Played, control, kb_name

SITE = "https://example.org/docs/"


async def begun(api: Api, settings: Settings, publisher: Publisher, kb: str, pages: dict[str, str]) -> Played:
    """A job with its manifest: page name to the names of its chunks; one without any is gone."""
    job = Played(settings, publisher, await api.start(kb, DEFINITION))
    for name, chunks in pages.items():
        state, reason = ("fetched", None) if chunks else ("gone", "404")
        await job.page(SITE + name, *chunks.split(), state=state, reason=reason)
    return job


async def published(api: Api, settings: Settings, publisher: Publisher, kb: str, pages: dict[str, str]) -> Played:
    job = await begun(api, settings, publisher, kb, pages)
    await job.complete()
    await api.until(kb, "completed")
    return job


async def changes(api: Api, kb: str, query: str = "") -> Json:
    return await api.ok("GET", f"{API}/kb/{kb}/changes{query}")


def told(answer: Json) -> dict[str, tuple[str, int, int, int]]:
    return {
        page["url"].removeprefix(SITE): (
            page["change"], page["chunks_added"], page["chunks_removed"], page["chunks_kept"],
        )
        for page in answer["pages"]
    }  # fmt: skip


async def test_pages_and_chunks_by_what_became_of_them(settings: Settings, publisher: Publisher) -> None:
    kb = kb_name()
    async with control(settings) as api:
        await published(api, settings, publisher, kb, {"a": "a0 a1", "b": "b0", "c": "c0 c1", "none": ""})
        status, problem = await api.call("GET", f"{API}/kb/{kb}/changes")
        assert status == 409 and "no two generations" in problem["detail"]
        await published(api, settings, publisher, kb, {"a": "a0 a2", "b": "b0", "c": "", "d": "d0", "none": ""})
        answer = await changes(api, kb)
        assert (answer["from_generation"], answer["to_generation"], answer["provisional"]) == (1, 2, False)
        assert answer["totals"] == {
            "pages_added": 1, "pages_changed": 1, "pages_removed": 1, "pages_unchanged": 1,
            "chunks_added": 2, "chunks_removed": 3, "chunks_kept": 2,
        }  # fmt: skip
        assert told(answer) == {"a": ("changed", 1, 1, 1), "c": ("removed", 0, 2, 0), "d": ("added", 1, 0, 0)}
        gone = next(page for page in answer["pages"] if page["url"] == SITE + "c")
        assert (gone["state"], gone["reason"]) == ("gone", "404")
        assert told(await changes(api, kb, "?change=unchanged")) == {"b": ("unchanged", 0, 0, 1)}
        page = await changes(api, kb, "?limit=2")
        rest = await changes(api, kb, f"?limit=2&after={page['next_after']}")
        assert ([*told(page)], [*told(rest)], rest["next_after"]) == (["a", "c"], ["d"], None)
        assert told(await changes(api, kb, "?from=2&to=1"))["d"] == ("removed", 0, 1, 0)

        await published(api, settings, publisher, kb, {"a": "a0 a1"})
        assert (await changes(api, kb))["from_generation"] == 2
        assert told(await changes(api, kb, "?from=1")) == {"b": ("removed", 0, 1, 0), "c": ("removed", 0, 2, 0)}


async def test_what_publishing_would_change_is_shown_in_a_review(settings: Settings, publisher: Publisher) -> None:
    kb = kb_name()
    async with control(settings) as api:
        await published(api, settings, publisher, kb, {"a": "a0", "b": "b0"})
        await published(api, settings, publisher, kb, {"a": "a0", "b": "b0"})
        job = await begun(api, settings, publisher, kb, {"a": "a0", "b": ""})
        await job.generation("open", base=2)
        await job.crawl("finished", 1)
        await job.index("running", 1)
        assert (await changes(api, kb))["to_generation"] == 2
        await job.review(1)
        await api.until(kb, "needs_review")
        answer = await changes(api, kb)
        assert (answer["from_generation"], answer["to_generation"], answer["provisional"]) == (2, 3, True)
        assert told(answer) == {"b": ("removed", 0, 1, 0)}


async def test_what_can_t_be_compared(settings: Settings, publisher: Publisher) -> None:
    kb = kb_name()
    async with control(settings) as api:
        for _ in range(3):
            await published(api, settings, publisher, kb, {"a": "a0"})
        undone = await begun(api, settings, publisher, kb, {"a": "a0"})
        revision = (await api.command(kb, "cancel"))["revision"]
        await undone.generation("undone")
        await undone.index("undone", revision)
        await api.until(kb, "cancelled")
        await api.command(kb, "vacuum", {"keep": 2})
        for query, status in {
            "?from=1": 410, "?to=1": 409, "?from=7": 404, "?to=4": 404, "?from=2&to=2": 422, "?from=x": 422,
            "?to=0": 422, "?change=some": 422, "?limit=0": 422,
        }.items():  # fmt: skip
            assert (await api.call("GET", f"{API}/kb/{kb}/changes{query}"))[0] == status, query
        assert (await api.call("GET", f"{API}/kb/nobody/changes"))[0] == 404
