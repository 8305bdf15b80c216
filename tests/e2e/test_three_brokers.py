"""Three brokers with three replicas of everything, as in production: one is lost in the middle of a job."""

import asyncio
from pathlib import Path

from headrace.kafka.admin import admin_client, differences
from schemas.commands import JobCommand
from tests.e2e.conftest import House
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.site import FakeSite
from tests.support.brokers import three_brokers
from tests.support.log import read_all
from tests.support.waiting import until


async def test_a_broker_is_lost_and_comes_back(
    environment: dict[str, str], tmp_path: Path, site: FakeSite, openai: OpenAIServer
) -> None:
    site.hold(after=12, each_s=2)
    with three_brokers(tmp_path / "brokers") as cluster:
        three = {"KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap_servers, "HEADRACE_REPLICATION": "3"}
        house = House(environment | three, tmp_path / "services", site, openai)
        house.slow_consumer()
        try:
            await house.start()
            kb = house.kb()
            await house.api.start(kb, house.definition(crawl={"concurrency_per_host": 2}))
            await house.api.until_metric(kb, "chunks_processed", 1)
            (command,) = await read_all(house.settings, JobCommand, house.settings.partitions)
            lost = cluster.brokers[cluster.leader(house.settings.topic("chunks"), command.partition)]
            await asyncio.to_thread(lost.kill)
            await house.api.ok("POST", f"/kb/{kb}/pause")
            paused = await house.api.until_status(kb, "paused", within_s=60)
            assert paused["crawl"]["pages_crawled"] < 60
            site.release()
            await house.api.ok("POST", f"/kb/{kb}/resume")
            done = await house.api.until_status(kb, "completed", within_s=120)
            assert house.fetched_once() == done["crawl"]["pages_crawled"] == 60
            assert done["metrics"]["chunks_processed"] == done["metrics"]["chunks_total"]
            assert len(await house.objects(kb)) == done["metrics"]["chunks_total"]
            behind = cluster.behind()
            assert any(name.startswith(house.settings.topic("chunks")) for name in behind)
            await asyncio.to_thread(lost.start)

            async def healed() -> bool:
                return not await asyncio.to_thread(cluster.behind)

            await until(healed, within_s=60, what="every replica is in sync")
            assert set().union(*cluster.replicas().values()) == {3}, "the brokers' own topics too"
            found = differences(
                admin_client(house.settings.bootstrap_servers),
                prefix=house.settings.topic_prefix,
                partitions=house.settings.partitions,
                replication=3,
                min_insync=2,
            )
            assert found == []
        except BaseException:
            print(house.said())
            raise
        finally:
            await house.close()
