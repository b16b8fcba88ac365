"""Authorities and certificates, made while the tests run."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@cache
def rsa_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    """The n-th key of this run: making one takes a tenth of a second."""
    return rsa.generate_private_key(65537, bits)


def name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Hospital"), x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def write_key(path: Path, key: Key) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    return path


@dataclass(frozen=True)
class Pair:
    certificate: Path
    key: Path
    content: x509.Certificate


class Authority:
    """One that signs; its own certificate lies in `ca`."""

    def __init__(self, folder: Path, common_name: str, number: int = 1) -> None:
        self.folder = folder
        self._key = rsa_key(number)
        self._name = name(common_name)
        folder.mkdir(parents=True, exist_ok=True)
        own = self._sign(self._name, self._key, days=3650, authority=True)
        self.ca = folder / f"{common_name}.pem"
        self.ca.write_bytes(own.public_bytes(Encoding.PEM))

    def issue(self, common_name: str, *, days: float = 365, key: Key | None = None, usage: x509.ObjectIdentifier | None = None) -> Pair:
        """Write a certificate for 127.0.0.1 that ends in so many days, for one use or all; replaces files of the same name."""
        key = key or rsa_key(2)
        content = self._sign(name(common_name), key, days=days, usage=usage)
        certificate = self.folder / f"{common_name}.crt"
        certificate.write_bytes(content.public_bytes(Encoding.PEM))
        return Pair(certificate, write_key(self.folder / f"{common_name}.key", key), content)

    def _sign(
        self, subject: x509.Name, key: Key, *, days: float, authority: bool = False, usage: x509.ObjectIdentifier | None = None
    ) -> x509.Certificate:
        end = datetime.now(UTC) + timedelta(days=days)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - timedelta(days=3700))
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if not authority:
            host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
            builder = builder.add_extension(host, critical=False)
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return builder.sign(self._key, hashes.SHA256())
