"""A Kafka that speaks to nobody in plain, and a Weaviate that asks for a key: what a guarded installation has."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from headrace.embedded import EmbeddedKafka, EmbeddedWeaviate, SilentReporter
from headrace.embedded.kafka import Listener
from headrace.embedded.ports import free_ports
from headrace.settings import Settings
from tests.support.certificates import Authority

USER = "headrace"


class KeyedWeaviate(EmbeddedWeaviate):
    """One that anonymous clients can't read."""

    key = secrets.token_hex(16)

    def _places(self) -> dict[str, str]:
        return super()._places() | {
            "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "false",
            "AUTHENTICATION_APIKEY_ENABLED": "true",
            "AUTHENTICATION_APIKEY_ALLOWED_KEYS": self.key,
            "AUTHENTICATION_APIKEY_USERS": USER,
        }

    def _serves(self) -> bool:
        headers = {"Authorization": f"Bearer {self.key}"}
        try:
            cluster = httpx.get(f"{self.url}/v1/cluster/statistics", headers=headers, timeout=2.0, trust_env=False)
        except httpx.TransportError:
            return False
        return cluster.is_success and bool(cluster.json().get("synchronized"))


class Secured:
    """Both servers. `environment(way)`: how clients connect by `plain` (SASL_SSL, PLAIN), `scram` (SASL_SSL,
    SCRAM-SHA-512) or `certificate` (SSL, both sides show one)."""

    def __init__(self, directory: Path) -> None:
        cache = Settings.from_env().cache_dir
        self.authority = Authority(directory / "certificates")
        self.password = f'{secrets.token_hex(16)}"\\;='
        inside, self._sasl, self._mutual, http, grpc = free_ports(5)
        self.kafka = EmbeddedKafka(directory / "kafka", cache, SilentReporter(), port=inside)
        self.weaviate = KeyedWeaviate(directory / "weaviate", cache, SilentReporter(), port=http, grpc_port=grpc)
        shown = self._shown("broker")
        escaped = self.password.replace("\\", "\\\\").replace('"', '\\"')
        signs_in = {
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "plain.sasl.jaas.config": "org.apache.kafka.common.security.plain.PlainLoginModule required "
            f'user_{USER}="{escaped}";',
            "scram-sha-512.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
        }
        asks_back = {
            "ssl.client.auth": "required",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.certificate),
        }
        self.kafka.listeners = (
            Listener("SIGNED_IN", self._sasl, self._sasl, "SASL_SSL", shown | signs_in),
            Listener("MUTUAL", self._mutual, self._mutual, "SSL", shown | asks_back),
        )

    def environment(self, way: str) -> dict[str, str]:
        known = {
            "KAFKA_SSL_CAFILE": str(self.authority.certificate),
            "WEAVIATE_URL": self.weaviate.url,
            "WEAVIATE_API_KEY": self.weaviate.key,
            "HEADRACE_WEAVIATE_GRPC_PORT": str(self.weaviate.grpc_port),
            "HEADRACE_CACHE_DIR": str(Settings.from_env().cache_dir),
        }
        if way == "certificate":
            certificate, key = self.authority.sign("client")
            return known | {
                "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{self._mutual}",
                "KAFKA_SECURITY_PROTOCOL": "SSL",
                "KAFKA_SSL_CERTFILE": str(certificate),
                "KAFKA_SSL_KEYFILE": str(key),
            }
        return known | {
            "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{self._sasl}",
            "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": {"plain": "PLAIN", "scram": "SCRAM-SHA-512"}[way],
            "KAFKA_SASL_USERNAME": USER,
            "KAFKA_SASL_PASSWORD": self.password,
        }

    def start(self) -> None:
        self.kafka.start()
        self.weaviate.start()
        self._admit()

    def stop(self) -> None:
        self.weaviate.stop()
        self.kafka.stop()

    def _admit(self) -> None:
        """SCRAM's users are stored by the broker."""
        from confluent_kafka.admin import (
            AdminClient,
            ScramCredentialInfo,
            ScramMechanism,
            UserScramCredentialUpsertion,
        )

        admin = AdminClient({"bootstrap.servers": self.kafka.bootstrap_servers})
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        upsertion = UserScramCredentialUpsertion(USER, info, self.password.encode())
        admin.alter_user_scram_credentials([upsertion])[USER].result(timeout=30)

    def _shown(self, name: str) -> dict[str, str]:
        certificate, key = self.authority.sign(name)
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.certificate.chain": certificate.read_text(),
            "ssl.keystore.key": key.read_text(),
        }


@contextmanager
def secured(directory: Path) -> Iterator[Secured]:
    servers = Secured(directory)
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()
