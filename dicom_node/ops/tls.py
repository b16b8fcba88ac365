"""TLS contexts by the DICOM profiles, and the server's, which follows its files."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

from dicom_node.domain.tls import TlsClient, TlsProfile, TlsServer, TlsVersion
from dicom_node.errors import ConfigError
from dicom_node.ops.logs import Logger, get_logger

_BCP195 = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
)
"""TLS 1.2 suites. Source: PS3.15 B.12, by RFC 9325 4.2."""
_MODIFIED = (
    *_BCP195,
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES256-CCM",
    "ECDHE-ECDSA-AES128-CCM",
    "ECDHE-ECDSA-AES256-CCM8",
    "ECDHE-ECDSA-AES128-CCM8",
)
"""TLS 1.2 suites that a server must have. Source: PS3.15 B.13; its DHE suites may be left out and are."""
_VERSIONS = {TlsVersion.TLS_1_2: ssl.TLSVersion.TLSv1_2, TlsVersion.TLS_1_3: ssl.TLSVersion.TLSv1_3}
_FileStates = tuple[tuple[int, int, int], ...]
_Context = TypeVar("_Context", bound=ssl.SSLContext)


class ClientContext(ssl.SSLContext):
    """A context for one connection that remembers why TLS failed.

    pynetdicom swallows the error of a handshake, and a server that refuses this node's certificate under TLS 1.3 says so only
    after it.

    Attributes:
        failure: Empty while nothing failed.
    """

    failure: str = ""

    def __new__(cls) -> Self:
        """Make a client's context."""
        made = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        made.sslsocket_class = _TellingSocket
        return made


class _ClosingSocket(ssl.SSLSocket):
    """Closes itself where pynetdicom forgets to: after a shutdown that fails because the other side is gone already."""

    def shutdown(self, how: int) -> None:
        try:
            super().shutdown(how)
        except OSError:
            self.close()
            raise


class _TellingSocket(_ClosingSocket):
    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature is ssl's
        try:
            super().do_handshake(block)
        except OSError as error:
            self._note(error)
            self.close()
            raise

    def read(self, len: int = 1024, buffer: Any = None) -> bytes:  # noqa: A002 - the name is ssl's
        try:
            return super().read(len, buffer)
        except ssl.SSLError as error:
            self._note(error)
            raise

    def _note(self, error: OSError) -> None:
        if isinstance(error, ssl.SSLWantReadError | ssl.SSLWantWriteError):
            return
        if isinstance(self.context, ClientContext) and not self.context.failure:
            self.context.failure = reason_of(error)


def client_context(client: TlsClient) -> ClientContext:
    """Build the context of one connection; the files are read now, so that a new certificate needs no reload.

    Raises:
        ConfigError: a file cannot be used.
    """
    context = _restricted(ClientContext(), client.profile, client.min_version)
    context.check_hostname = client.check_host
    _load(client.ca, lambda: context.load_verify_locations(client.ca))
    if client.certificate is not None and client.key is not None:
        certificate, key = client.certificate, client.key
        _load(certificate, lambda: context.load_cert_chain(certificate, key, password=_no_passphrase))
    return context


def server_context(server: TlsServer) -> ssl.SSLContext:
    """Build a listener's context.

    Raises:
        ConfigError: a file cannot be used.
    """
    context = _restricted(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), server.profile, server.min_version)
    context.sslsocket_class = _ClosingSocket
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_SINGLE_ECDH_USE
    # a session resumed by ticket would skip the check of a certificate that has expired meanwhile
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    _load(server.certificate, lambda: context.load_cert_chain(server.certificate, server.key, password=_no_passphrase))
    if server.ca is not None:
        ca = server.ca
        _load(ca, lambda: context.load_verify_locations(ca))
        context.verify_mode = ssl.CERT_REQUIRED if server.require_client_certificate else ssl.CERT_OPTIONAL
    return context


class ServerTls:
    """The context for the next handshake; open associations keep the one they began with."""

    def __init__(self, server: TlsServer) -> None:
        """Read the files.

        Raises:
            ConfigError: a file cannot be used.
        """
        self._lock = threading.Lock()
        self._server = server
        self._states = _states(server)
        self._context = server_context(server)
        self._log: Logger = get_logger()

    def current(self) -> ssl.SSLContext:
        """Return the context for a new handshake, built anew if a file changed; one that does not fit is logged and not used."""
        with self._lock:
            states = _states(self._server)
            if states != self._states:
                self._states = states
                self._build(self._server)
            return self._context

    def replace(self, server: TlsServer) -> bool:
        """Take other files or rules; False, and the old ones stay, if they cannot be used."""
        with self._lock:
            states = _states(server)
            if not self._build(server):
                return False
            self._server, self._states = server, states
            return True

    def _build(self, server: TlsServer) -> bool:
        try:
            self._context = server_context(server)
        except ConfigError as error:
            self._log.error("tls_reload_failed", reason=str(error), hint=error.hint, served="the certificate before")
            return False
        self._log.info("tls_reloaded", certificate=str(server.certificate))
        return True


def peer_certificate(connection: socket.socket | None) -> bytes | None:
    """Return the verified certificate that the other side showed, DER; None without TLS or without one.

    Args:
        connection: After its handshake.
    """
    return connection.getpeercert(binary_form=True) if isinstance(connection, ssl.SSLSocket) else None


def hang_up(connection: socket.socket) -> None:
    """End a connection both ways, plain or TLS, without closing it: the thread that reads or writes it comes back at once.

    SSLSocket's own shutdown would pull the TLS state from under that thread.
    """
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def reason_of(error: OSError) -> str:
    """Say in words why TLS failed, with OpenSSL's name for it, which docs/tls.md explains."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the other side's certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        name = error.reason.removeprefix("SSLV3_").removeprefix("TLSV1_").removeprefix("TLSV13_")
        return f"{_IN_WORDS.get(name, 'TLS failed')} ({error.reason})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLEOFError | ConnectionError):
        return "the other side closed the connection"
    return error.strerror or type(error).__name__


_IN_WORDS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the other side shows no certificate",
    "WRONG_VERSION_NUMBER": "the other side does not speak TLS",
    "HTTP_REQUEST": "the other side speaks HTTP without TLS",
    "UNSUPPORTED_PROTOCOL": "the other side offers only TLS versions that are not allowed",
    "ALERT_PROTOCOL_VERSION": "the other side allows none of our TLS versions",
    "NO_SHARED_CIPHER": "no cipher suite in common",
    "ALERT_HANDSHAKE_FAILURE": "the other side refuses: no cipher suite in common, or it wants a certificate",
    "ALERT_CERTIFICATE_REQUIRED": "the other side wants a certificate from us",
    "ALERT_UNKNOWN_CA": "the other side does not know the authority of our certificate",
    "ALERT_CERTIFICATE_EXPIRED": "the other side finds our certificate expired",
    "ALERT_CERTIFICATE_UNKNOWN": "the other side does not accept our certificate",
    "ALERT_BAD_CERTIFICATE": "the other side does not accept our certificate",
    "ALERT_UNSUPPORTED_CERTIFICATE": "the other side does not accept our certificate for this use",
    "ALERT_DECRYPT_ERROR": "the other side cannot verify our signature",
}


def _restricted(context: _Context, profile: TlsProfile, least: TlsVersion) -> _Context:
    """Restrict what is negotiated; curves are OpenSSL's own, none below 256 bits. Source: PS3.15 B.12, B.13; RFC 9325 3.3, 3.5, 4.2."""
    context.minimum_version = _VERSIONS[least]
    context.set_ciphers(":".join(_BCP195 if profile is TlsProfile.BCP195 else _MODIFIED))
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def _load(path: Path, load: Callable[[], None]) -> None:
    try:
        load()
    except ssl.SSLError as error:
        hint = "the certificate and its key must belong together; check them with `dicom-node check`"
        raise ConfigError(f"{path} cannot be used: {error.reason or error}", hint=hint) from error
    except OSError as error:
        raise ConfigError(
            f"{path} or its key cannot be read: {error.strerror}", hint="the node's user must be able to read both"
        ) from error


def _no_passphrase() -> str:
    """Answer OpenSSL, which would ask on the terminal."""
    return ""


def _states(server: TlsServer) -> _FileStates:
    return tuple(_state(path) for path in (server.certificate, server.key, server.ca) if path is not None)


def _state(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_size, found.st_ino
