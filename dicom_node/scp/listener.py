"""The listening socket and what happens to a connection before it is an association."""

from __future__ import annotations

import errno
import gc
import socket
import threading
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, cast

from pynetdicom.association import Association
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from dicom_node.errors import place_of
from dicom_node.ops.logs import get_logger
from dicom_node.ops.tls import hang_up
from dicom_node.scp.fast_socket import FastSocket
from dicom_node.scp.last_resort import guard
from dicom_node.scp.tls import TlsHandshakes
from dicom_node.scp.waiting_room import NoRequestError, read_request, refuse

_MOST_WAITING: Final = 256
"""Connections that have not asked for an association yet; of more, the one that waits longest gives way: a good peer asks at once."""
_NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_FULL_WAIT_S = 0.1
_COLLECT_EVERY: Final = 16
_TELL_FULL_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class ListenOn:
    """Where and how to listen.

    Attributes:
        port: 0 takes a free one.
        acse_timeout_s: ARTIM: longest wait for an association request, seconds.
        network_timeout_s: Longest silence on an open association, seconds.
        descriptor: A socket that listens already, shared with other receivers; None binds host and port.
    """

    host: str
    port: int
    max_pdu_bytes: int
    acse_timeout_s: float
    network_timeout_s: float
    descriptor: int | None = None


def listening_socket(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Bind and listen.

    Args:
        host: Address.
        port: TCP port; 0 takes a free one.
        shared: Receivers that were not started by one supervisor share the port; the kernel then deals connections out by a hash,
            whoever is busy.

    Raises:
        OSError: the port is taken or not allowed.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


class AssociationListener(ThreadedAssociationServer):
    """Accepts connections and makes associations of those that ask for one.

    Each connection waits in a thread of its own until its A-ASSOCIATE-RQ is whole; the accept loop never waits for a peer.
    """

    daemon_threads = True

    def __init__(self, *arguments: Any, listen: ListenOn, handshakes: TlsHandshakes | None = None, **named: Any) -> None:
        """See `ThreadedAssociationServer`; `listen` says where, `handshakes` puts TLS before every association."""
        self.listen = listen
        self._handshakes = handshakes
        self._waiting: dict[socket.socket, None] = {}  # in order of arrival
        self._tell_full_at = 0.0
        self._ended = 0  # associations since the last garbage collection
        self._room = threading.Event()  # never set
        self._sockets: dict[socket.socket, FastSocket] = {}
        self._guard = threading.Lock()
        super().__init__(*arguments, **named)

    def server_bind(self) -> None:
        """Bind, or take over the inherited socket. Accepting never blocks: another receiver may have been faster."""
        if self.listen.descriptor is None:
            fresh = listening_socket(self.listen.host, self.listen.port, shared=True)
        else:
            fresh = socket.socket(fileno=self.listen.descriptor)
        cast(socket.socket, self.socket).close()
        fresh.settimeout(0.0)
        self.socket = fresh
        self.server_address = fresh.getsockname()

    def server_activate(self) -> None:
        """Listens since `server_bind`."""

    def server_close(self) -> None:
        """Stop accepting; connections that wait for nothing any more are closed. A socket that others share is not shut down."""
        cast(socket.socket, self.socket).close()
        with self._guard:
            waiting = list(self._waiting)
        if self._handshakes is not None:
            self._handshakes.close()
        for connection in waiting:
            hang_up(connection)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Do the TLS handshake, then wait for the association request; in this connection's thread."""
        connection: socket.socket | None = request
        if self._handshakes is not None:
            connection = self._handshakes.secure(request, str(client_address[0]))
        if connection is not None:
            self._await_request(connection, client_address)

    def _await_request(self, connection: socket.socket, client_address: Any) -> None:
        self._make_room()
        with self._guard:
            self._waiting[connection] = None
        try:
            request_pdu = read_request(connection, self.listen.acse_timeout_s)
            with self._guard:
                self._waiting.pop(connection, None)
            handler = _Handler(connection, client_address, self, request_pdu=request_pdu)
            handler.begin()
        except NoRequestError as error:
            log = get_logger().debug if error.quiet else get_logger().warning
            log("connection_without_association", reason=str(error), address=client_address[0])
            refuse(connection, error)
            self.shutdown_request(connection)
        except OSError as error:
            get_logger().warning("connection_lost", reason=error.strerror, address=client_address[0])
            self.shutdown_request(connection)
        except Exception as error:  # noqa: BLE001 - this is the connection's main loop
            get_logger().error("connection_failed", error=type(error).__name__, place=place_of(error), address=client_address[0])
            self.shutdown_request(connection)
        finally:
            with self._guard:
                self._waiting.pop(connection, None)

    def _make_room(self) -> None:
        with self._guard:
            full = len(self._waiting) >= _MOST_WAITING
            longest = next(iter(self._waiting), None) if full else None
            if longest is not None:
                del self._waiting[longest]
            tell = longest is not None and monotonic() >= self._tell_full_at
            if tell:
                self._tell_full_at = monotonic() + _TELL_FULL_EVERY_S
        if tell:
            get_logger().warning("waiting_room_full", reason=f"{_MOST_WAITING} connections ask for no association; the oldest are closed")
        if longest is not None:
            hang_up(longest)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept; without a free descriptor wait a moment, or the loop would take a whole core to fail."""
        try:
            return cast(tuple[socket.socket, Any], super().get_request())
        except OSError as error:
            if error.errno in _NO_DESCRIPTORS:
                get_logger().error("connection_not_accepted", reason=error.strerror, hint="raise the limit on open files")
                self._room.wait(_FULL_WAIT_S)
            raise

    def shutdown_request(self, request: Any) -> None:
        """Close a connection, whoever ends it, and let its association clean up."""
        with self._guard:
            fast = self._sockets.pop(request, None)
        if fast is not None:
            self._ended += 1
            fast.clean_up()
        super().shutdown_request(request)

    def register(self, connection: socket.socket, fast: FastSocket) -> None:
        """Remember an association's socket until its connection is closed."""
        with self._guard:
            self._sockets[connection] = fast

    def service_actions(self) -> None:
        """Collect what ended associations leave, half a megabyte each in cycles; the library's own does so every 60 turns, idle or not."""
        if self._ended >= _COLLECT_EVERY:
            self._ended = 0
            gc.collect()

    def forget(self, connection: socket.socket) -> None:
        """The association closed the connection itself."""
        with self._guard:
            self._ended += self._sockets.pop(connection, None) is not None

    def handle_error(self, _request: object, client_address: Any) -> None:
        """A connection could not even get a thread; socketserver would print a traceback."""
        get_logger().error("connection_failed", address=client_address[0])


class _Handler(RequestHandler):
    """Makes the association; pynetdicom's own handler does so in its constructor, before the request is read."""

    def __init__(self, connection: socket.socket, client_address: Any, server: AssociationListener, *, request_pdu: bytes) -> None:
        self.request, self.client_address, self.server = connection, client_address, server
        self._request_pdu = request_pdu

    def begin(self) -> None:
        """Create the association and start its threads."""
        listener = cast(AssociationListener, self.server)
        association: Association = self._create_association()
        connection = cast(socket.socket, self.request)
        fast = FastSocket(association, connection, self._request_pdu, listener.listen.network_timeout_s)
        association.dul.event_queue.get_nowait()  # the indication of the socket that is replaced
        association.dul.socket = fast
        fast.at_end(lambda: listener.forget(connection))
        listener.register(connection, fast)
        guard(association, lambda: listener.shutdown_request(connection))
        association.start()
