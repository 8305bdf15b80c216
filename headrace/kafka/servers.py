"""Which brokers, and how they are connected to: told to each kind of client in its own words."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from headrace.secret import Secret

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True, kw_only=True)
class Security:
    """`ca_file`: who signed the brokers' certificates; the system's authorities without it. Files are PEM.

    `cert_file` and `key_file`: who we are, where brokers ask for a certificate.
    """

    protocol: str = "PLAINTEXT"
    mechanism: str = "PLAIN"
    username: str | None = None
    password: Secret | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    key_password: Secret | None = None

    @property
    def encrypted(self) -> bool:
        return self.protocol in ("SSL", "SASL_SSL")

    @property
    def signs_in(self) -> bool:
        return self.protocol.startswith("SASL_")

    def misfit(self) -> str | None:
        """What can't be, by the variable that says it; None where all fits."""
        if self.signs_in and not (self.username and self.password):
            return f"KAFKA_SECURITY_PROTOCOL is {self.protocol}: set KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
        if not self.signs_in and (self.username or self.password):
            return f"KAFKA_SASL_… is not used by KAFKA_SECURITY_PROTOCOL={self.protocol}: set it to SASL_SSL"
        files = {"CAFILE": self.ca_file, "CERTFILE": self.cert_file, "KEYFILE": self.key_file}
        for name, path in files.items():
            if path is not None and not self.encrypted:
                return f"KAFKA_SSL_{name} is not used by KAFKA_SECURITY_PROTOCOL={self.protocol}: set SSL or SASL_SSL"
            if path is not None and not path.is_file():
                return f"KAFKA_SSL_{name} names {path}, which is no file"
        if (self.cert_file is None) != (self.key_file is None):
            return "KAFKA_SSL_CERTFILE and KAFKA_SSL_KEYFILE go together"
        return None

    def context(self) -> ssl.SSLContext | None:
        """Host names are checked."""
        if not self.encrypted:
            return None
        made = ssl.create_default_context(cafile=self.ca_file)
        if self.cert_file is not None:
            password = self.key_password.reveal() if self.key_password else None
            made.load_cert_chain(self.cert_file, self.key_file, password)
        return made


_PLAIN = Security()


class Servers(str):
    """`host:port[,host:port]`, with how they are connected to. Printed, it is the addresses alone.

    A plain string in its place means: neither encrypted nor signed in. Where it stays a string by mistake, mypy tells.
    """

    security: Security

    def __new__(cls, addresses: str, security: Security | None = None) -> Self:
        made = super().__new__(cls, addresses)
        made.security = security or (addresses.security if isinstance(addresses, Servers) else _PLAIN)
        return made

    def librdkafka(self) -> dict[str, Any]:
        """For confluent-kafka's clients."""
        by = self.security
        given = {
            "bootstrap.servers": str(self),
            "security.protocol": by.protocol,
            "sasl.mechanism": by.mechanism if by.signs_in else None,
            "sasl.username": by.username,
            "sasl.password": by.password.reveal() if by.password else None,
            "ssl.ca.location": _text(by.ca_file),
            "ssl.certificate.location": _text(by.cert_file),
            "ssl.key.location": _text(by.key_file),
            "ssl.key.password": by.key_password.reveal() if by.key_password else None,
        }
        return {name: value for name, value in given.items() if value is not None}

    def aiokafka(self) -> dict[str, Any]:
        by = self.security
        given = {"bootstrap_servers": str(self), "security_protocol": by.protocol, "ssl_context": by.context()}
        if by.signs_in and by.password is not None:
            given |= {
                "sasl_mechanism": by.mechanism,
                "sasl_plain_username": by.username,
                "sasl_plain_password": by.password.reveal(),
            }
        return given

    def java(self) -> dict[str, str]:
        """Properties for Kafka's own tools."""
        by = self.security
        given = {"security.protocol": by.protocol}
        if by.signs_in and by.username is not None and by.password is not None:
            module = "scram.ScramLoginModule" if by.mechanism.startswith("SCRAM") else "plain.PlainLoginModule"
            given["sasl.mechanism"] = by.mechanism
            given["sasl.jaas.config"] = (
                f"org.apache.kafka.common.security.{module} required "
                f"username={_quoted(by.username)} password={_quoted(by.password.reveal())};"
            )
        if by.ca_file is not None:
            given |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": str(by.ca_file)}
        if by.cert_file is not None and by.key_file is not None:
            given |= {
                "ssl.keystore.type": "PEM",
                "ssl.keystore.certificate.chain": by.cert_file.read_text(),
                "ssl.keystore.key": by.key_file.read_text(),
            }
            if by.key_password is not None:
                given["ssl.key.password"] = by.key_password.reveal()
        return given


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _quoted(text: str) -> str:
    """A value of a JAAS entry."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
