"""A real Prometheus beside the whole house, as the files in observability/ set it up."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from headrace.embedded.ports import free_ports
from headrace.tokens import create, revoke
from tests.e2e.conftest import House
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.site import FakeSite
from tests.support.prometheus import FILES, Prometheus, alerts, panels, watching
from tests.support.waiting import until

SCRAPED = ("prometheus.yml", "prometheus.production.yml")
NOT_OF_EVERY_JOB = {"headrace_consumer_stalled_jobs"}


async def test_it_sees_a_job_and_what_goes_away(
    environment: dict[str, str], tmp_path: Path, openai: OpenAIServer
) -> None:
    async with FakeSite(pages=8, min_kb=2, max_kb=4) as site:
        house = watched_house(environment, tmp_path, site, openai)
        try:
            configs = [scraping(name, house, tmp_path / "token") for name in SCRAPED]
            assert configs[0] == configs[1], "but for where targets are found"
            await house.start()
            hasten_rules(tmp_path)
            async with watching(configs[0], tmp_path) as prometheus:
                await is_up(prometheus)
                await house.api.start(house.kb(), house.definition())
                await house.api.until_status(house.kb(), "completed")
                await shows_the_job(prometheus, pages=8)
                await answers_the_dashboard(prometheus)
                await tells_what_goes(prometheus, house)
        except BaseException:
            print(house.said())
            raise
        finally:
            await house.close()


def watched_house(environment: dict[str, str], directory: Path, site: FakeSite, openai: OpenAIServer) -> House:
    """One that asks for tokens, with one for Prometheus."""
    producer, consumer = map(str, free_ports(2))
    ports = {"HEADRACE_PRODUCER_HEALTH_PORT": producer, "HEADRACE_CONSUMER_HEALTH_PORT": consumer}
    house = House(environment | ports, directory / "services", site, openai)
    _, house.api.token = create(house.settings.tokens, "me", "admin")
    _, token = create(house.settings.tokens, "prometheus", "read")
    (directory / "token").write_text(token + "\n", encoding="utf-8")
    return house


def scraping(name: str, house: House, token: Path) -> dict[str, Any]:
    """One of our files, with the token as it says, and the house's ports."""
    text = (FILES / name).read_text(encoding="utf-8").replace("# authorization:", "authorization:")
    config: dict[str, Any] = yaml.safe_load(text)
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    ports = {
        "headrace-control": house.settings.http_port,
        "headrace-producer": house.settings.producer_health_port,
        "headrace-consumer": house.settings.consumer_health_port,
    }
    for job in config["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": [f"127.0.0.1:{ports[job['job_name']]}"]}]
        if "authorization" in job:
            job["authorization"]["credentials_file"] = str(token)
    return config


def hasten_rules(directory: Path) -> None:
    """Ours, in the directory, with nothing waited for longer than a second."""
    shutil.copy(FILES / "alerts.yml", directory)
    rules = yaml.safe_load((directory / "alerts.yml").read_text(encoding="utf-8"))
    for rule in rules["groups"][0]["rules"]:
        rule["for"] = "1s"
    (directory / "alerts.yml").write_text(yaml.safe_dump(rules), encoding="utf-8")


async def is_up(prometheus: Prometheus) -> None:
    """Every service answers it, and it takes every rule."""

    async def all_up() -> bool:
        return set((await prometheus.up()).values()) == {"up"} and len(await prometheus.up()) == 3

    await until(all_up, within_s=30, what="every target is up")

    async def judged() -> bool:
        rules = [rule for group in (await prometheus.get("rules"))["groups"] for rule in group["rules"]]
        return {rule["name"] for rule in rules if rule["health"] == "ok"} == {rule["alert"] for rule in alerts()}

    await until(judged, within_s=30, what="every rule is evaluated without an error")


async def shows_the_job(prometheus: Prometheus, *, pages: int) -> None:
    async def counted() -> bool:
        found = (await prometheus.get("query", query="sum(headrace_producer_pages_total)"))["result"]
        return bool(found) and int(found[0]["value"][1]) >= pages

    await until(counted, within_s=30, what=f"{pages} pages are counted")


async def answers_the_dashboard(prometheus: Prometheus) -> None:
    """Each query, and with a series, once a rate is known; but for what only some jobs have."""
    for panel in panels():
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "1m")

            async def answered(query: str = query) -> bool:
                found = (await prometheus.get("query", query=query))["result"]
                return bool(found) or any(name in query for name in NOT_OF_EVERY_JOB)

            await until(answered, within_s=30, what=f"{query} has a series")


async def tells_what_goes(prometheus: Prometheus, house: House) -> None:
    """A service that was killed, and a control that does not take the token any more."""

    async def quiet() -> bool:
        return await prometheus.state("HeadraceServiceDown") == []

    await until(quiet, within_s=30, what="no service is down")
    house.service("producer").kill()

    async def fires() -> bool:
        return await prometheus.state("HeadraceServiceDown") == ["firing"]

    await until(fires, within_s=30, what="HeadraceServiceDown fires")
    revoke(house.settings.tokens, "prometheus")

    async def refused() -> bool:
        return "401" in (await prometheus.up())["headrace-control"]

    await until(refused, within_s=30, what="control refuses the token")
