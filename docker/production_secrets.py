"""What the services of docker-compose.production.yml know each other by.

`python docker/production_secrets.py DIRECTORY` makes it, or as root `docker compose … run --rm secrets`: an authority
of the installation's own, a certificate for each broker, passwords and keys drawn at random. What is there already is
kept, so a second run makes only what was deleted. Whoever has an authority puts its files in their place:

| folder | read by | holds |
|---|---|---|
| `authority/` | nobody: keep it away from the machine | `ca.pem` and its key |
| `kafka/` | the brokers | `ca.pem`, `kafka-N.pem` (key, certificate), `users.properties`; `client.properties` |
| `headrace/` | producers, consumers and control | `ca.pem` |
| `headrace.env`, `weaviate.env` | compose | passwords and keys as variables |
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import secrets
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

BROKERS = ("kafka-1", "kafka-2", "kafka-3")
AUTHORITY_DAYS, BROKER_DAYS = 3650, 730
#: The images' users; files are theirs alone where this runs as root.
KAFKA_UID, HEADRACE_UID = 1000, 10001
USER = "headrace"
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"


def make(directory: Path) -> None:
    for folder in ("authority", "kafka", "headrace"):
        (directory / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
    certificate, key = authority_in(directory / "authority")
    for folder in ("kafka", "headrace"):
        _write(directory / folder / "ca.pem", _pem(certificate))
    for broker in BROKERS:
        if not (directory / "kafka" / f"{broker}.pem").exists():
            _write(directory / "kafka" / f"{broker}.pem", signed(broker, certificate, key))
    if not (directory / "headrace.env").exists():
        _passwords(directory)
    _give(directory / "kafka", KAFKA_UID)
    _give(directory / "headrace", HEADRACE_UID)


def authority_in(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Made where there is none."""
    if not (folder / "ca.pem").exists():
        key, name = ec.generate_private_key(ec.SECP256R1()), _name("Headrace's own authority")
        made = _certificate(name, name, key.public_key(), AUTHORITY_DAYS)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        _write(folder / "ca.key", _private(key))
        _write(folder / "ca.pem", _pem(made.sign(key, hashes.SHA256())))
    loaded = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise SystemExit(f"{folder / 'ca.key'} is not a key that this program made")
    return x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes()), loaded


def signed(host: str, authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey) -> bytes:
    """Key and certificates in one file, as Kafka reads them; for the host's name, and localhost for health checks."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName(
        [x509.DNSName(host), x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    made = _certificate(_name(host), authority.subject, key.public_key(), BROKER_DAYS)
    made = made.add_extension(names, critical=False)
    return _private(key) + _pem(made.sign(authority_key, hashes.SHA256())) + _pem(authority)


def _passwords(directory: Path) -> None:
    password, api_key = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    users = f'{_PLAIN} user_{USER}="{password}";'
    client = f'{_PLAIN} username="{USER}" password="{password}";'
    _write(directory / "kafka" / "users.properties", f"users={users}\n".encode())
    told = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.jaas.config": client,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": "/etc/kafka/secrets/ca.pem",
    }
    _write(directory / "kafka" / "client.properties", "".join(f"{k}={v}\n" for k, v in told.items()).encode())
    _write(
        directory / "weaviate.env",
        f"AUTHENTICATION_APIKEY_ALLOWED_KEYS={api_key}\nAUTHENTICATION_APIKEY_USERS={USER}\n".encode(),
    )
    _write(
        directory / "headrace.env",
        f"KAFKA_SASL_USERNAME={USER}\nKAFKA_SASL_PASSWORD={password}\nWEAVIATE_API_KEY={api_key}\n".encode(),
    )


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _write(path: Path, content: bytes) -> None:
    """Never readable by others, not even while it is written; whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    part.replace(path)


def _give(folder: Path, uid: int) -> None:
    if os.geteuid() == 0:
        for path in (folder, *folder.iterdir()):
            os.chown(path, uid, uid)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python docker/production_secrets.py DIRECTORY")
    make(Path(sys.argv[1]))
    print(f"{sys.argv[1]}: authority, certificates and passwords are there")
