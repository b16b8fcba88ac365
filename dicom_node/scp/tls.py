"""TLS handshakes of a listener, each in its connection's own thread."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic

from dicom_node.ops.logs import Logger, get_logger
from dicom_node.ops.tls import hang_up, reason_of

_MOST_HANDSHAKES = 128


@dataclass(slots=True, eq=False)
class _Handshake:
    """A connection that is not an association yet; `dropped` says why the node ended it."""

    connection: socket.socket
    dropped: str = ""

    def drop(self, why: str) -> None:
        """Make its thread's next read or write fail."""
        self.dropped = why
        hang_up(self.connection)


class TlsHandshakes:
    """Puts TLS before the associations of one listener.

    A handshake has a time limit and runs in the thread that socketserver starts for the connection, so that a silent or slow
    client holds up nobody. What fails is logged once and leaves neither thread nor descriptor. With very many handshakes at once
    the oldest gives way: it is the likeliest to be a client that will never finish.
    """

    def __init__(self, context: Callable[[], ssl.SSLContext], timeout_s: float) -> None:
        """Begin with none under way.

        Args:
            context: Gives the context of each new handshake, for example `ServerTls.current`.
            timeout_s: Longest time from connection to the end of the handshake, seconds (ARTIM).
        Source: PS3.8 9.1.5 (ARTIM).
        """
        self._context = context
        self._timeout_s = timeout_s
        self._pending: dict[_Handshake, None] = {}
        self._guard = threading.Lock()
        self._log: Logger = get_logger()

    def secure(self, connection: socket.socket, address: str) -> ssl.SSLSocket | None:
        """Do the handshake; blocks.

        Args:
            connection: As accepted; this takes it over, use only what is returned.
            address: For the log.

        Returns:
            The connection once TLS stands, in blocking mode; None if it did not come to that, and it is closed.
        """
        handshake = _Handshake(connection)
        with self._watched(handshake):
            secured = self._shake(handshake, address)
        if secured is None:
            handshake.connection.close()
        return secured

    def close(self) -> None:
        """End the handshakes under way."""
        with self._guard:
            for handshake in self._pending:
                handshake.drop("the node stops")

    @contextlib.contextmanager
    def _watched(self, handshake: _Handshake) -> Iterator[None]:
        with self._guard:
            self._pending[handshake] = None
            if len(self._pending) > _MOST_HANDSHAKES:
                oldest = next(iter(self._pending))
                del self._pending[oldest]
                oldest.drop(f"more than {_MOST_HANDSHAKES} handshakes at once")
        try:
            yield
        finally:
            with self._guard:
                self._pending.pop(handshake, None)

    def _shake(self, handshake: _Handshake, address: str) -> ssl.SSLSocket | None:
        plain, deadline = handshake.connection, monotonic() + self._timeout_s
        try:
            plain.settimeout(self._timeout_s)
            if not plain.recv(1, socket.MSG_PEEK) and not handshake.dropped:
                self._log.debug("connection_left", address=address)  # a load balancer's health check
                return None
            secured = self._context().wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
            handshake.connection = secured
            secured.settimeout(max(0.001, deadline - monotonic()))
            secured.do_handshake()
            secured.settimeout(None)
        except OSError as error:
            self._log.warning("tls_handshake_failed", address=address, reason=handshake.dropped or reason_of(error))
            return None
        return secured
