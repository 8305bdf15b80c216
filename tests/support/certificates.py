"""Certificates of a test, by the program that makes production's: an authority of its own, and what it signed."""

import runpy
from pathlib import Path

_PROGRAM = runpy.run_path(str(Path(__file__).parents[2] / "docker" / "production_secrets.py"))
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


class Authority:
    """`certificate` of the authority itself; `sign` for others."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory, self.certificate = directory, directory / "ca.pem"
        self._signer = _PROGRAM["authority_in"](directory)

    def sign(self, name: str) -> tuple[Path, Path]:
        """(certificate, key) of a name that is reached at 127.0.0.1."""
        key, begins, certificates = _PROGRAM["signed"](name, *self._signer).partition(_CERTIFICATE)
        certificate, private = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        certificate.write_bytes(begins + certificates)
        private.write_bytes(key)
        return certificate, private
