"""The files for production: what the services know each other by, and that what one file names the other has."""

import ipaddress
import runpy
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from headrace.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.production.yml").read_text())
make = runpy.run_path(str(ROOT / "docker" / "production_secrets.py"))["make"]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    make(tmp_path)
    return tmp_path


def contents(directory: Path) -> dict[str, bytes]:
    return {str(each.relative_to(directory)): each.read_bytes() for each in directory.rglob("*") if each.is_file()}


def test_each_broker_has_a_certificate_of_the_authority_in_its_name(made: Path) -> None:
    authority = x509.load_pem_x509_certificate((made / "headrace" / "ca.pem").read_bytes())
    for broker in ("kafka-1", "kafka-2", "kafka-3"):
        assert broker in COMPOSE["services"]
        certificate = x509.load_pem_x509_certificates((made / "kafka" / f"{broker}.pem").read_bytes())[0]
        certificate.verify_directly_issued_by(authority)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert broker in names.get_values_for_type(x509.DNSName)


def test_nobody_else_may_read_any_of_it(made: Path) -> None:
    others = {path: stat.filemode(path.stat().st_mode) for path in made.rglob("*") if path.stat().st_mode & 0o077}
    assert not others


def test_a_second_run_keeps_what_is_there_and_makes_what_was_deleted(made: Path) -> None:
    before = contents(made)
    make(made)
    assert contents(made) == before
    (made / "kafka" / "kafka-2.pem").unlink()
    make(made)
    after = contents(made)
    assert {name for name in before if before[name] != after[name]} == {"kafka/kafka-2.pem"}


def test_the_services_settings_fit(made: Path) -> None:
    lines = (made / "headrace.env").read_text().splitlines()
    told = dict(line.split("=", 1) for line in lines)
    environment = {**COMPOSE["x-environment"], **told, "KAFKA_SSL_CAFILE": str(made / "headrace" / "ca.pem")}
    given = {name: value for name, value in environment.items() if value and not value.startswith("${")}
    settings = Settings.from_env(given)
    assert (settings.replication, settings.min_insync) == (3, 2)
    assert settings.bootstrap_servers.security.protocol == "SASL_SSL"
    users = (made / "kafka" / "users.properties").read_text()
    assert f'user_{told["KAFKA_SASL_USERNAME"]}="{told["KAFKA_SASL_PASSWORD"]}"' in users
    assert f"KEYS={told['WEAVIATE_API_KEY']}\n" in (made / "weaviate.env").read_text()


def test_what_is_mounted_is_there() -> None:
    mounts = [mount for service in COMPOSE["services"].values() for mount in service.get("volumes", [])]
    files = [mount.split(":")[0] for mount in mounts if mount.startswith("./")]
    assert files and not [each for each in files if not (ROOT / each).exists()]


def test_the_proxy_says_who_asks_whatever_network_docker_chose() -> None:
    name = "HEADRACE_HTTP_PROXIES"
    proxies = Settings.from_env({name: COMPOSE["services"]["control"]["environment"][name]}).http_proxies
    for address in ("10.1.2.3", "172.18.0.9", "192.168.96.4"):  # of Docker's default pools, and what is often set
        assert any(ipaddress.ip_address(address) in network for network in proxies)


def test_prometheus_asks_the_ports_that_are_served() -> None:
    scraped = yaml.safe_load((ROOT / "observability" / "prometheus.production.yml").read_text())["scrape_configs"]
    plain = yaml.safe_load((ROOT / "observability" / "prometheus.yml").read_text())["scrape_configs"]
    assert [each["job_name"] for each in scraped] == [each["job_name"] for each in plain], "alerts go by these names"
    for each in scraped[1:]:
        (found,) = each["dns_sd_configs"]
        (name,) = found["names"]
        assert COMPOSE["services"][name]["environment"][f"HEADRACE_{name.upper()}_HEALTH_PORT"] == str(found["port"])
