"""Certificates and keys that node.yaml names: read, checked, and their days counted."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from dicom_node.config.faults import Fault
from dicom_node.config.node_schema import NodeFile
from dicom_node.config.yaml_lines import YamlFile, path_text
from dicom_node.errors import ConfigError

_LEAST_RSA_BITS = 2048
_LEAST_EC_BITS = 256


@dataclass(frozen=True, slots=True)
class CertificateInUse:
    """One certificate that the node shows or believes.

    Attributes:
        option: Where node.yaml names its file, for example `dicom.tls.certificate`.
        subject: RFC 4514.
        expires_at: Its last moment, UTC.
    """

    option: str
    path: Path
    subject: str
    expires_at: datetime

    def days_left(self, now: datetime) -> int:
        """Count whole days until it expires; negative once it has."""
        return (self.expires_at - now).days


def read_certificates(path: Path) -> list[x509.Certificate]:
    """Read every certificate of a PEM file.

    Raises:
        ConfigError: not readable, or no PEM certificate in it.
    """
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint="the node's user must be able to read it") from error
    except ValueError as error:
        hint = "PEM is text that begins with -----BEGIN CERTIFICATE-----; DER becomes PEM by `openssl x509 -inform DER -in FILE`"
        raise ConfigError(f"{path} holds no PEM certificate", hint=hint) from error


def certificates_in_use(node: NodeFile) -> list[CertificateInUse]:
    """List the certificates that node.yaml names, the authorities too; unreadable files are left to `check`."""
    found = []
    for location, _section, paths in _sections(node):
        for option, path in paths.items():
            try:
                certificates = read_certificates(path)
            except ConfigError:
                continue
            shown = certificates[:1] if option == "certificate" else certificates
            found += [
                CertificateInUse(path_text([*location, option]), path, c.subject.rfc4514_string(), c.not_valid_after_utc) for c in shown
            ]
    return found


def check_tls(node: NodeFile, source: YamlFile) -> Iterator[Fault]:
    """Find what would make handshakes fail: files, permissions, dates, keys that do not fit, subjects without TLS."""
    now = datetime.now(UTC)
    for location, key, paths in _sections(node):
        place = _Place(source, location)
        if "ca" in paths:
            yield from _check_authorities(place, paths["ca"])
        if "certificate" in paths and key is not None:
            yield from _check_own(place, paths["certificate"], key, now)
    tls = node.dicom.tls
    if tls is not None and tls.port == node.dicom.port:
        yield source.fault(["dicom", "tls", "port"], f"port {tls.port} is dicom.port too", "plain and TLS listeners need a port each")
    for number, peer in enumerate(node.peers):
        if peer.tls_subject is not None and (tls is None or tls.ca is None):
            yield source.fault(
                ["peers", number, "tls_subject"],
                "no peer can show a certificate: dicom.tls with ca is missing",
                "add dicom.tls, or take tls_subject out",
            )


@dataclass(frozen=True, slots=True)
class _Place:
    source: YamlFile
    location: tuple[str | int, ...]

    def fault(self, option: str, message: str, hint: str = "") -> Fault:
        return self.source.fault([*self.location, option], message, hint)


def _sections(node: NodeFile) -> Iterator[tuple[tuple[str | int, ...], Path | None, dict[str, Path]]]:
    """Yield each TLS section: where it stands, its key, its files with certificates by option."""
    named = [(("dicom", "tls"), node.dicom.tls), *((("destinations", n, "tls"), d.tls) for n, d in enumerate(node.destinations))]
    for location, section in named:
        if section is not None:
            paths = {"certificate": section.certificate, "ca": section.ca}
            yield location, section.key, {option: path for option, path in paths.items() if path is not None}


def _check_authorities(place: _Place, path: Path) -> Iterator[Fault]:
    try:
        read_certificates(path)
    except ConfigError as error:
        yield place.fault("ca", str(error), error.hint)


def _check_own(place: _Place, path: Path, key: Path, now: datetime) -> Iterator[Fault]:
    try:
        own = read_certificates(path)[0]
    except ConfigError as error:
        yield place.fault("certificate", str(error), error.hint)
        own = None
    if own is not None:
        yield from _check_leaf(place, path, own, now)
    yield from _check_key(place, key, own)


def _check_leaf(place: _Place, path: Path, own: x509.Certificate, now: datetime) -> Iterator[Fault]:
    if own.not_valid_before_utc > now:
        moment = f"{own.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        yield place.fault("certificate", f"{path} is not valid before {moment}", "wait until then, or set this machine's clock")
    public = own.public_key()
    if isinstance(public, rsa.RSAPublicKey) and public.key_size < _LEAST_RSA_BITS:
        yield place.fault(
            "certificate", f"its RSA key has {public.key_size} bits, {_LEAST_RSA_BITS} are needed", "make a new key and certificate"
        )
    if isinstance(public, ec.EllipticCurvePublicKey) and public.key_size < _LEAST_EC_BITS:
        yield place.fault(
            "certificate", f"its EC key has {public.key_size} bits, {_LEAST_EC_BITS} are needed", "make a new key and certificate"
        )


def _check_key(place: _Place, path: Path, own: x509.Certificate | None) -> Iterator[Fault]:
    try:
        mode = path.stat().st_mode
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        yield place.fault("key", f"{path} cannot be read: {error.strerror}", "the node's user must be able to read it, and nobody else")
        return
    except TypeError:
        yield place.fault(
            "key", f"{path} is encrypted", "write it without a passphrase: openssl pkey -in FILE -out NEW, then chmod 0600 NEW"
        )
        return
    except (ValueError, UnsupportedAlgorithm):
        yield place.fault("key", f"{path} holds no PEM private key", "it begins with -----BEGIN PRIVATE KEY-----")
        return
    if mode & stat.S_IRWXO:
        yield place.fault("key", f"{path} can be read by every user of this machine (mode {stat.S_IMODE(mode):04o})", f"chmod 0640 {path}")
    if own is not None and _public_bytes(key.public_key()) != _public_bytes(own.public_key()):
        yield place.fault(
            "key", f"{path} is not the key of this section's certificate", "a certificate and its key are made and replaced together"
        )


def _public_bytes(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined,no-any-return]
