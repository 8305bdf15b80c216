"""How brokers are connected to: from variables to what each kind of client is told."""

import os
from pathlib import Path
from typing import Any

import faust
import pytest

from consumer.stream import credentials, make_app
from headrace.embedded import kafka_tools
from headrace.embedded.kafka_tools import KafkaInstallation, exec_tool, properties
from headrace.kafka.servers import Servers
from headrace.settings import InvalidSetting, Settings
from tests.support.certificates import Authority

SIGNED_IN = {
    "KAFKA_BOOTSTRAP_SERVERS": "a:9092, b:9092",
    "KAFKA_SECURITY_PROTOCOL": "sasl_ssl",
    "KAFKA_SASL_MECHANISM": "scram-sha-512",
    "KAFKA_SASL_USERNAME": "me",
    "KAFKA_SASL_PASSWORD": 'se"cr\\et',
}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def signed_in(authority: Authority) -> Settings:
    return Settings.from_env(SIGNED_IN | {"KAFKA_SSL_CAFILE": str(authority.certificate)})


def test_what_each_client_is_told(authority: Authority) -> None:
    servers = signed_in(authority).bootstrap_servers
    assert servers.librdkafka() == {
        "bootstrap.servers": "a:9092, b:9092",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "me",
        "sasl.password": 'se"cr\\et',
        "ssl.ca.location": str(authority.certificate),
    }
    asyncio_ = servers.aiokafka()
    assert (asyncio_["security_protocol"], asyncio_["sasl_plain_password"]) == ("SASL_SSL", 'se"cr\\et')
    assert asyncio_["ssl_context"].check_hostname
    java = servers.java()
    assert java["sasl.jaas.config"].endswith(r'ScramLoginModule required username="me" password="se\"cr\\et";')
    assert java["ssl.truststore.location"] == str(authority.certificate)
    told = credentials(servers.security)
    assert isinstance(told, faust.SASLCredentials) and told.protocol.value == "SASL_SSL"


def test_a_certificate_of_our_own(authority: Authority) -> None:
    certificate, key = authority.sign("client")
    given = {"KAFKA_BOOTSTRAP_SERVERS": "a:1", "KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CERTFILE": str(certificate)}
    servers = Settings.from_env(given | {"KAFKA_SSL_KEYFILE": str(key)}).bootstrap_servers
    assert servers.librdkafka()["ssl.key.location"] == str(key)
    assert isinstance(credentials(servers.security), faust.SSLCredentials)
    assert "\\n" in properties(servers.java()) and "BEGIN PRIVATE KEY" in properties(servers.java())
    with pytest.raises(InvalidSetting, match="go together"):
        Settings.from_env(given)


def test_without_all_that_it_is_plain_and_a_string_will_do() -> None:
    for servers in (Settings.from_env({}).bootstrap_servers, Servers("127.0.0.1:9092")):
        assert servers.librdkafka() == {"bootstrap.servers": "127.0.0.1:9092", "security.protocol": "PLAINTEXT"}
        assert servers.aiokafka()["ssl_context"] is None
        assert credentials(servers.security) is None


def test_faust_knows_each_broker(tmp_path: Path) -> None:
    settings = Settings.from_env({"KAFKA_BOOTSTRAP_SERVERS": "a:9092, b:9093"})
    assert [str(url) for url in make_app(settings).conf.broker] == ["kafka://a:9092", "kafka://b:9093"]


def test_it_is_kept_and_never_shown(authority: Authority) -> None:
    settings = signed_in(authority)
    servers = settings.bootstrap_servers
    assert Servers(servers).security == servers.security
    assert f"{servers}" == str(servers) == "a:9092, b:9092"
    assert "cr" not in repr(servers.security.password) and "se" + '"' not in repr(settings) + repr(servers.security)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"KAFKA_SASL_PASSWORD": ""}, "set KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL"}, "set it to SASL_SSL"),
        ({"KAFKA_SECURITY_PROTOCOL": ""}, "set it to SASL_SSL"),
        ({"KAFKA_SECURITY_PROTOCOL": "TLS"}, "KAFKA_SECURITY_PROTOCOL does not fit: write one of"),
        ({"KAFKA_SASL_MECHANISM": "GSSAPI"}, "KAFKA_SASL_MECHANISM does not fit: write one of"),
        ({"KAFKA_SSL_CAFILE": "/nowhere/ca.pem"}, "KAFKA_SSL_CAFILE names /nowhere/ca.pem, which is no file"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SSL_CAFILE": "/x"}, "set SSL or SASL_SSL"),
        ({"KAFKA_BOOTSTRAP_SERVERS": ""}, "goes with KAFKA_BOOTSTRAP_SERVERS"),
    ],
)
def test_what_does_not_fit_is_told(changes: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidSetting, match=says) as refused:
        Settings.from_env(SIGNED_IN | changes)
    assert SIGNED_IN["KAFKA_SASL_PASSWORD"] not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (["--list"], True), (["--command-config", "mine", "--list"], False), (["--command-config=mine"], False),
        (["--bootstrap-server", "other:1", "--list"], False), (["--help"], False),
    ],
)  # fmt: skip
def test_a_tool_reads_how_to_connect_from_a_pipe(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, arguments: list[str], given: bool
) -> None:
    run: list[list[str]] = []
    monkeypatch.setattr(kafka_tools.os, "execv", lambda _, command: run.append(command))
    installation: Any = KafkaInstallation.__new__(KafkaInstallation)
    monkeypatch.setattr(KafkaInstallation, "tool_command", lambda self, tool, words, **_: ["java", *words])
    exec_tool(installation, "topics", arguments, signed_in(authority).bootstrap_servers)
    (command,) = run
    piped = [word for word in command if word.startswith("/dev/fd/")]
    assert len(piped) == given and not any("cr" in word for word in command if word not in piped)
    for each in piped:
        descriptor = int(each.rpartition("/")[2])
        assert os.get_inheritable(descriptor)
        assert b"sasl.jaas.config=" in os.read(descriptor, 65_536)
        assert os.read(descriptor, 1) == b""
        os.close(descriptor)
