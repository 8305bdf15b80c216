"""The ledger of requests: every one in one record, told by the second or by 200."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from producer import ledger as telling
from producer.client import Client
from producer.fetch import Fetcher, FetchError, Timeouts
from producer.hosts import Hosts
from producer.ledger import Ledger, describing
from producer.robots import RobotsCache
from producer.urls import host_key
from schemas.codec import encode
from schemas.events import Event, Place
from schemas.facts import HostRequests, Request, RequestsMade
from tests.fakes.site import FakeSite
from tests.fakes.site_behaviours import hang, huge, redirect, reset, status
from tests.support.waiting import until
from tests.unit.producer.test_publication import COMMAND

LOOPBACK = ("127.0.0.0/8",)


class Log:
    """Stands for a publisher; `away`, it takes nothing until it is back."""

    def __init__(self) -> None:
        self.records: list[RequestsMade] = []
        self.partitions: list[int] = []
        self.here = asyncio.Event()
        self.here.set()

    async def publish(self, event: Event, *, partition: int) -> Any:
        await self.here.wait()
        assert isinstance(event, RequestsMade)
        self.records.append(event)
        self.partitions.append(partition)
        future: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        future.set_result(Place(partition, len(self.records)))
        return future

    async def told(self) -> bool:
        return bool(self.records)

    @property
    def requests(self) -> list[Request]:
        return [request for record in self.records for host in record.hosts for request in host.requests]


def a_ledger(log: Log, describe: Any = None) -> Ledger:
    plain = lambda host, requests: HostRequests(host=host, concurrency=2, requests=requests)  # noqa: E731
    return Ledger(log, COMMAND, epoch=7, owner="producer/x", describe=describe or plain)  # type: ignore[arg-type]


def request(n: int, host: str = "a.example") -> Request:
    return Request(at="t", url=f"https://{host}/{n}", purpose="page", status=200)


async def test_what_is_noted_is_told_once_after_a_while_by_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "TOLD_AFTER_S", 0.05)
    log = Log()
    ledger = a_ledger(log)
    ledger.start()
    for n in range(6):
        ledger.note(request(n, f"{'ab'[n % 2]}.example"))
    assert log.records == []
    await until(log.told, every_s=0.01, what="a record")
    await ledger.stop()
    (record,) = log.records
    assert (record.job_id, record.epoch, record.owner, log.partitions) == ("job", 7, "producer/x", [COMMAND.partition])
    assert [(each.host, [r.url[-1] for r in each.requests]) for each in record.hosts] == [
        ("a.example", ["0", "2", "4"]), ("b.example", ["1", "3", "5"]),
    ]  # fmt: skip


async def test_many_are_told_at_once_in_records_of_200() -> None:
    log = Log()
    ledger = a_ledger(log)
    ledger.start()
    for n in range(450):
        ledger.note(request(n))
    for _ in range(20):
        await asyncio.sleep(0)
    assert [len(record.hosts[0].requests) for record in log.records][:2] == [200, 200]
    await ledger.stop()
    assert [r.url for r in log.requests] == [request(n).url for n in range(450)]


async def test_stopping_tells_what_is_left_and_waits_for_kafka_no_longer_than_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(telling, "LAST_WORD_S", 0.1)
    log = Log()
    ledger = a_ledger(log)
    ledger.start()
    ledger.note(request(1))
    log.here.clear()
    async with asyncio.timeout(30):
        await ledger.stop()
    assert log.records == []
    log.here.set()
    await ledger.stop()
    assert len(log.requests) == 1


async def test_nothing_is_lost_or_told_twice_by_a_stop_while_kafka_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "TOLD_AFTER_S", 0.0)
    log = Log()
    ledger = a_ledger(log)
    log.here.clear()
    ledger.start()
    for n in range(300):
        ledger.note(request(n))
    await asyncio.sleep(0.01)
    log.here.set()
    await ledger.stop()
    assert sorted(r.url for r in log.requests) == sorted(request(n).url for n in range(300))


def test_the_longest_urls_fit_into_a_record() -> None:
    longest = tuple(request(0, "a.example/" + "x" * 2_048) for _ in range(telling.REQUESTS_AT_ONCE))
    record = a_ledger(Log())._record(longest)
    assert len(encode(record)) < 900_000


class Asked:
    """A client of a real site, and what it noted."""

    def __init__(self, site: FakeSite) -> None:
        self.site, self.hosts, self.robots = site, Hosts(), RobotsCache()
        self.requests: list[Request] = []
        self.share = self.hosts.share(4, 0.0)
        fetcher = Fetcher("Headrace/test", LOOPBACK, timeouts=Timeouts(read_s=0.3))
        self.client = Client(fetcher, self.share, frozenset(LOOPBACK), self.requests.append)

    async def get(self, path: str, **more: Any) -> Request:
        try:
            await self.client.get(self.site.root + path, "page", **more)
        except FetchError:
            pass
        return self.requests[-1]


@pytest.fixture
async def asked(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Asked]:
    monkeypatch.setattr("producer.hosts.FIRST_BACK_OFF_S", 0.05)
    async with FakeSite(pages=3, min_kb=1, max_kb=2) as site:
        asked = Asked(site)
        await asked.client.start()
        yield asked
        await asked.client.stop()


async def test_every_outcome_is_an_entry(asked: Asked) -> None:
    site = asked.site
    site.behave("/moved", redirect("/docs/"))
    site.behave("/refused", status(429, retry_after="0"))
    site.behave("/hangs", hang())
    site.behave("/reset", reset())
    site.behave("/large", huge(1))
    site.behave("/nowhere", redirect("ftp://elsewhere.example/"))
    paths = ("/docs/", "/moved", "/nothing", "/refused", "/hangs", "/large", "/nowhere")
    got = [await asked.get(path, attempt=2, max_bytes=500_000) for path in paths]
    assert [(entry.status, entry.error) for entry in got] == [
        (200, None), (301, None), (404, None), (429, None), (None, "timeout"), (200, "too_large"),
        (301, "bad_redirect"),
    ]  # fmt: skip
    assert {(entry.method, entry.purpose, entry.attempt) for entry in got} == {("GET", "page", 2)}
    assert got[0].bytes > 500
    assert 300 <= got[4].duration_ms < 3_000
    assert got[5].bytes > 500_000, "what came before it was too much"
    assert len(asked.requests) == len(paths) == asked.site.requests.total()


async def test_what_the_http_client_asks_again_by_itself_is_an_entry_too(asked: Asked) -> None:
    asked.site.behave("/reset", reset())
    await asked.get("/reset")
    asked.site.behave("/once", reset(), times=1)
    asked.site.put("/once", "here")
    await asked.get("/once")
    told = Counter(entry.url.removeprefix(asked.site.root) for entry in asked.requests)
    assert told == asked.site.requests
    assert [(entry.status, entry.error) for entry in asked.requests if entry.url.endswith("/once")] == [
        (None, "connect"), (200, None),
    ]  # fmt: skip


async def test_waiting_for_the_host_is_told_apart_from_the_request(asked: Asked) -> None:
    asked.share.set_crawl_delay(asked.site.url, 0.2)
    await asyncio.gather(*(asked.get("/docs/") for _ in range(2)))
    first, second = sorted(entry.waited_ms for entry in asked.requests)
    assert first < 50
    assert 150 <= second < 2_000


async def test_a_request_that_is_cut_off_was_made_all_the_same(asked: Asked) -> None:
    asked.site.behave("/hangs", hang())
    task = asyncio.create_task(asked.get("/hangs"))

    async def arrived() -> int:
        return asked.site.requests["/hangs"]

    await until(arrived, every_s=0.01, what="the request")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [(entry.status, entry.error) for entry in asked.requests] == [(None, "cut_off")]


async def test_a_record_says_how_the_host_is_treated(asked: Asked) -> None:
    asked.site.robots = "user-agent: *\ncrawl-delay: 0.1\n"
    await asked.robots.verdict(asked.site.url, asked.client)
    await asked.get("/docs/")
    asked.site.behave("/refused", status(503, retry_after="100"))
    await asked.get("/refused")
    describe = describing(asked.share, asked.robots, asked.client.reach)
    found = describe(host_key(asked.site.url), tuple(asked.requests))
    assert (found.robots, found.crawl_delay_s, found.concurrency) == ("found", 0.1, 1)
    assert found.closed_until is not None
    assert found.closed_until > found.requests[-1].at
    assert [entry.purpose for entry in found.requests] == ["robots", "page", "page"]


async def test_no_credentials_of_a_redirect_stand_in_it(asked: Asked) -> None:
    asked.site.behave("/robots.txt", redirect(asked.site.root.replace("//", "//user:secret@") + "/rules.txt"))
    verdict = await asked.robots.verdict(asked.site.url, asked.client)
    assert verdict.allowed
    assert [(entry.purpose, entry.status, entry.error) for entry in asked.requests] == [("robots", 301, "bad_redirect")]
    assert b"secret" not in encode(a_ledger(Log())._record(asked.requests))
    assert "secret" not in verdict.reason
