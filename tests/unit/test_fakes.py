"""The fakes keep to what they stand in for: the official SDK talks to one, aiohttp to the other."""

import asyncio
import re
from collections.abc import AsyncIterator

import aiohttp
import numpy as np
import openai
import pytest

from tests.fakes import openai_errors, site_behaviours
from tests.fakes.openai_server import OpenAIServer, count_tokens, vector_of
from tests.fakes.site import FakeSite
from tests.fakes.site_pages import Shape, page_html
from tests.support.waiting import until

SMALL, LARGE = "text-embedding-3-small", "text-embedding-3-large"


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer(latency_s=0.0, api_key="sk-right") as running:
        yield running


@pytest.fixture
async def client(server: OpenAIServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key="sk-right", base_url=server.url, max_retries=0, timeout=5) as made:
        yield made


@pytest.fixture
async def site() -> AsyncIterator[FakeSite]:
    async with FakeSite(pages=30) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_both_encodings_give_the_same_unit_vectors(server: OpenAIServer, client: openai.AsyncOpenAI) -> None:
    as_floats = await client.embeddings.create(model=SMALL, input=["a", "b"], encoding_format="float")
    by_default = await client.embeddings.create(model=SMALL, input=["a", "b"])  # the SDK asks for base64
    for one, other in zip(as_floats.data, by_default.data, strict=True):
        np.testing.assert_allclose(one.embedding, other.embedding, rtol=1e-6)
        assert np.linalg.norm(one.embedding) == pytest.approx(1, abs=1e-5)
    assert len(as_floats.data[0].embedding) == 1536
    assert server.calls == 2
    assert server.texts == {"a": 2, "b": 2}


async def test_usage_counts_tokens_as_tiktoken_does(server: OpenAIServer, client: openai.AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model=SMALL, input=["hello world", "hello"])
    assert answer.usage.prompt_tokens == 3
    assert server.tokens == {"hello world": 2, "hello": 1}


@pytest.mark.parametrize(("model", "asked", "given"), [(SMALL, 256, 256), (LARGE, openai.omit, 3072)])
async def test_dimensions(client: openai.AsyncOpenAI, model: str, asked: int, given: int) -> None:
    answer = await client.embeddings.create(model=model, input="x", dimensions=asked)
    assert len(answer.data[0].embedding) == given


async def test_too_many_dimensions_are_refused(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="dimensions"):
        await client.embeddings.create(model=SMALL, input="x", dimensions=2_000)


async def test_an_unknown_model_is_not_found(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.embeddings.create(model="no-such", input="x")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["x"] * 2_049, "array too long"),
        ([" hello" * 8_193], "maximum input length is 8192 tokens"),
        ([" hello" * 8_000] * 38, "max 300000 tokens per request"),
        ([], "input"),
        (["fine", ""], "input"),
    ],
    ids=["inputs", "tokens of one", "tokens of all", "none", "empty"],
)
async def test_the_real_limits_hold(client: openai.AsyncOpenAI, texts: list[str], says: str) -> None:
    with pytest.raises(openai.BadRequestError, match=says):
        await client.embeddings.create(model=SMALL, input=texts)


async def test_what_is_just_within_the_limits_passes(server: OpenAIServer, client: openai.AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model=SMALL, input=["x"] * 2_048)
    assert len(answer.data) == 2_048
    await client.embeddings.create(model=SMALL, input=[" hello" * 8_192])
    assert server.tokens[" hello" * 8_192] == 8_192


async def test_another_key_is_refused(server: OpenAIServer) -> None:
    async with openai.AsyncOpenAI(api_key="sk-wrong", base_url=server.url, max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError) as caught:
            await stranger.embeddings.create(model=SMALL, input="x")
    assert caught.value.code == "invalid_api_key"
    assert not server.texts


@pytest.mark.parametrize(
    ("failure", "error", "code"),
    [
        (openai_errors.invalid_key(), openai.AuthenticationError, "invalid_api_key"),
        (openai_errors.rate_limited(2), openai.RateLimitError, "rate_limit_exceeded"),
        (openai_errors.insufficient_quota(), openai.RateLimitError, "insufficient_quota"),
        (openai_errors.server_error(), openai.InternalServerError, None),
        (openai_errors.server_error(503), openai.InternalServerError, None),
    ],
    ids=["key", "rate", "quota", "500", "503"],
)
async def test_an_injected_error_comes_once(
    server: OpenAIServer,
    client: openai.AsyncOpenAI,
    failure: openai_errors.Failure,
    error: type[openai.APIStatusError],
    code: str | None,
) -> None:
    server.fail_next(failure)
    with pytest.raises(error) as caught:
        await client.embeddings.create(model=SMALL, input="x")
    assert caught.value.code == code
    await client.embeddings.create(model=SMALL, input="x")
    assert server.calls == 2
    assert server.texts == {"x": 1}


async def test_a_rate_limit_says_when_to_come_back(server: OpenAIServer, client: openai.AsyncOpenAI) -> None:
    server.fail_next(openai_errors.rate_limited(2))
    with pytest.raises(openai.RateLimitError) as caught:
        await client.embeddings.create(model=SMALL, input="x")
    assert caught.value.response.headers["retry-after"] == "2"


async def test_a_failure_stays_until_healed(server: OpenAIServer, client: openai.AsyncOpenAI) -> None:
    server.fail(openai_errors.server_error())
    for _ in range(2):
        with pytest.raises(openai.InternalServerError):
            await client.embeddings.create(model=SMALL, input="x")
    server.heal()
    await client.embeddings.create(model=SMALL, input="x")


async def test_a_hanging_server_lets_the_client_time_out(server: OpenAIServer, client: openai.AsyncOpenAI) -> None:
    server.fail_next(openai_errors.hang())
    with pytest.raises(openai.APITimeoutError):
        await client.with_options(timeout=0.2).embeddings.create(model=SMALL, input="x")
    assert server.calls == 1


async def test_wrong_dimensions_and_broken_json(server: OpenAIServer, client: openai.AsyncOpenAI) -> None:
    server.fail_next(openai_errors.wrong_dimensions())
    answer = await client.embeddings.create(model=SMALL, input="x")
    assert len(answer.data[0].embedding) == 1537
    server.fail_next(openai_errors.malformed())
    with pytest.raises((ValueError, openai.OpenAIError)):
        await client.embeddings.create(model=SMALL, input="x")


async def test_a_marked_text_is_refused_for_good(server: OpenAIServer, client: openai.AsyncOpenAI) -> None:
    server.refused_marker = "POISON"
    with pytest.raises(openai.BadRequestError):
        await client.embeddings.create(model=SMALL, input=["fine", "some POISON here"])
    await client.embeddings.create(model=SMALL, input=["fine"])
    assert server.texts == {"fine": 1}


def test_vectors_are_fixed() -> None:
    assert vector_of("hello", 4) == pytest.approx(vector_of("hello", 4))
    assert abs(float(vector_of("hello", 1536) @ vector_of("world", 1536))) < 0.2
    assert count_tokens("<|endoftext|>") > 1


async def test_every_page_is_linked_from_the_start(site: FakeSite, http: aiohttp.ClientSession) -> None:
    frontier, seen = [site.url], {site.url}
    while frontier:
        url = frontier.pop()
        async with http.get(url) as response:
            main = (await response.text()).split("<main>")[1].split("</main>")[0]
        links = {site.root + path for path in re.findall(r'href="([^"#]+)"', main)} - seen
        seen |= links
        frontier += sorted(links)
    assert seen == {site.root + path for path in site.paths}
    assert site.fetched == dict.fromkeys(site.paths, 1)


def test_pages_are_the_same_every_time_and_of_the_wanted_size() -> None:
    shape = Shape(pages=40)
    sizes = [len(page_html(shape, number)) for number in range(40)]
    assert page_html(shape, 7) == page_html(shape, 7)
    assert min(sizes) >= 8 * 1024
    assert max(sizes) <= 90 * 1024


async def test_an_unchanged_page_is_304_and_an_edited_one_is_not(site: FakeSite, http: aiohttp.ClientSession) -> None:
    async with http.get(site.url) as first:
        validators = {"If-None-Match": first.headers["ETag"]}
    async with http.get(site.url, headers=validators) as second:
        assert second.status == 304
    site.edit("/docs/")
    async with http.get(site.url, headers=validators) as third:
        assert third.status == 200
        assert "Edited 1" in await third.text()
    assert site.requests["/docs/"] == 3
    assert site.fetched["/docs/"] == 2
    assert [visit.status for visit in site.visits] == [200, 304, 200]


async def test_pages_come_and_go(site: FakeSite, http: aiohttp.ClientSession) -> None:
    site.put("/docs/new.txt", "plain", "text/plain")
    site.remove("/docs/part-1/page-00001.html")
    async with http.get(site.root + "/docs/new.txt") as response:
        assert (await response.text(), response.content_type) == ("plain", "text/plain")
    async with http.get(site.root + "/docs/part-1/page-00001.html") as response:
        assert response.status == 404


async def test_robots_txt(site: FakeSite, http: aiohttp.ClientSession) -> None:
    async with http.get(site.root + "/robots.txt") as response:
        assert response.status == 404
    site.robots = "User-agent: *\nDisallow: /docs/part-3/\n"
    async with http.get(site.root + "/robots.txt") as response:
        assert "part-3" in await response.text()


async def test_a_status_for_some_requests(site: FakeSite, http: aiohttp.ClientSession) -> None:
    site.behave("/docs/", site_behaviours.status(503, retry_after="1"), times=2)
    answers = []
    for _ in range(3):
        async with http.get(site.url) as response:
            answers.append((response.status, response.headers.get("Retry-After")))
    assert answers == [(503, "1"), (503, "1"), (200, None)]


async def test_held_pages_wait_until_released(site: FakeSite, http: aiohttp.ClientSession) -> None:
    async def status(number: int) -> int:
        async with http.get(site.root + site.paths[number]) as response:
            return response.status

    site.hold(after=1)
    assert await status(0) == 200
    waiting = asyncio.create_task(status(1))
    with pytest.raises(TimeoutError):
        await http.get(site.root + site.paths[2], timeout=aiohttp.ClientTimeout(total=0.1))
    assert not waiting.done()

    async def given_up() -> bool:
        return 0 in (visit.status for visit in site.visits)

    await until(given_up, what="the site knows that one gave up")
    site.release()
    assert (await waiting, await status(2)) == (200, 200)
    assert site.fetched[site.paths[2]] == 1, "one that gave up was sent nothing"
    site.hold(after=0, each_s=0.01)
    assert await status(3) == 200


async def test_redirects(site: FakeSite, http: aiohttp.ClientSession) -> None:
    site.behave("/old", site_behaviours.redirect("/docs/"))
    async with http.get(site.root + "/old") as response:
        assert str(response.url) == site.url
        assert response.history[0].status == 301


async def test_a_reset_and_a_hang_are_what_they_say(site: FakeSite, http: aiohttp.ClientSession) -> None:
    site.behave("/reset", site_behaviours.reset())
    with pytest.raises(aiohttp.ClientOSError):
        await http.get(site.root + "/reset")
    site.behave("/hang", site_behaviours.hang())
    with pytest.raises(TimeoutError):
        await http.get(site.root + "/hang", timeout=aiohttp.ClientTimeout(total=0.2))


async def test_a_huge_page_is_streamed(site: FakeSite, http: aiohttp.ClientSession) -> None:
    site.behave("/huge", site_behaviours.huge(megabytes=5))
    async with http.get(site.root + "/huge") as response:
        assert response.content_length is None
        size = 0
        async for block in response.content.iter_any():
            size += len(block)
    assert size > 4_500_000


@pytest.mark.parametrize("declared", ["header", "meta", None])
async def test_odd_charsets(site: FakeSite, http: aiohttp.ClientSession, declared: str | None) -> None:
    site.behave("/jp", site_behaviours.encoded("日本語の文書", "shift_jis", declared=declared))
    async with http.get(site.root + "/jp") as response:
        assert "日本語の文書" in (await response.read()).decode("shift_jis")
        assert ("shift_jis" in response.headers["Content-Type"]) == (declared == "header")


async def test_binary_and_broken_pages(site: FakeSite, http: aiohttp.ClientSession) -> None:
    site.behave("/bin", site_behaviours.binary("image/png"))
    site.behave("/lie", site_behaviours.binary_as_html())
    site.behave("/broken", site_behaviours.broken_html())
    async with http.get(site.root + "/bin") as response:
        assert response.content_type == "image/png"
    async with http.get(site.root + "/lie") as response:
        assert b"\x00" in await response.read()
    async with http.get(site.root + "/broken") as response:
        assert b"survivor" in await response.read()


async def test_pooled_vectors_come_in_the_same_shape() -> None:
    async with OpenAIServer(latency_s=0, dimensions=8, pooled=True) as pooled:
        async with openai.AsyncOpenAI(api_key="sk-test", base_url=pooled.url, max_retries=0) as client:
            answer = await client.embeddings.create(model="text-embedding-3-small", input=["a"] * 70)
    assert [row.index for row in answer.data] == list(range(70)) and {len(row.embedding) for row in answer.data} == {8}
    assert answer.usage.prompt_tokens == 70
