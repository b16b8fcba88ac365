"""The association's socket: C-STORE goes straight from a reusable buffer to the instance's file, the rest to pynetdicom.

pynetdicom keeps the listener, the negotiation, the state machine and every service but C-STORE. It asks its socket object whether a
PDU is ready and reads it; this one answers from a buffer in which C-STORE was served already. Reading never waits for a slow peer
for longer than `_TURN_S`, so that pynetdicom's timers keep running.

While nothing but C-STORE happens, the association's second thread is parked at pynetdicom's own checkpoint; it would wake a thousand
times a second to find nothing.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

from dicom_node.ops.checkpoint import Checkpoint
from dicom_node.ops.logs import Logger, get_logger
from dicom_node.ops.pdata import MalformedPduError
from dicom_node.ops.tls import hang_up, peer_certificate
from dicom_node.scp.haste import Haste
from dicom_node.scp.inflow import Inflow
from dicom_node.scp.outgoing import OutgoingMessages
from dicom_node.scp.rate import RateLimit
from dicom_node.scp.store_service import StoreService

_BUFFER_BYTES = 1 << 18
_TURN_S = 0.1
_TURN_US = 100_000
_POLL_S = 0.001
_DRAIN_S, _DRAIN_BYTES = 1.0, 1 << 14
_LEAST_BYTES_PER_S = 1024
_ESTABLISHED, _CLOSING = "Sta6", "Sta13"
_NOTHING_YET = (BlockingIOError, TimeoutError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


@dataclass(frozen=True, slots=True)
class Established:
    """What serves an association once it is accepted.

    Attributes:
        service: Serves C-STORE.
        rate: Throttle of the peer, or None.
        haste: What is known of the peer's need for acknowledgements.
        silence_s: A peer slower than 1 KiB/s for this long within an instance is aborted, seconds.
    """

    service: StoreService
    rate: RateLimit | None
    haste: Haste
    silence_s: float


class FastSocket(AssociationSocket):
    """Replaces the socket that pynetdicom made for an accepted connection."""

    def __init__(self, association: Association, connection: socket.socket, request_pdu: bytes, send_timeout_s: float) -> None:
        """Take over a connection.

        Args:
            association: pynetdicom's acceptor, its thread not yet started.
            connection: The accepted socket, a TLS one after its handshake.
            request_pdu: The A-ASSOCIATE-RQ that was read from it.
            send_timeout_s: Longest wait for a peer that does not read, seconds.
        """
        super().__init__(association, client_socket=connection)
        self._tls = isinstance(connection, ssl.SSLSocket)
        self._send_timeout_s = send_timeout_s
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls:
            connection.settimeout(_TURN_S)
        else:  # the kernel's own time-outs: a socket of Python's with a time-out polls before every call
            connection.settimeout(None)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(_TURN_S))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(send_timeout_s))
        self._inbox = bytearray(request_pdu)
        self._ended = False
        self._checkpoint = Checkpoint()
        association._reactor_checkpoint = self._checkpoint
        self._answer_owed = False
        self._outgoing = OutgoingMessages()
        self._sleepless = False
        self._at_end: list[Callable[[], None]] = []
        self._has_ended = False
        self._guard = threading.Lock()
        self._drain_until = 0.0
        self._established: Established | None = None
        self._inflow: Inflow | None = None
        self._window_begin, self._window_bytes = monotonic(), 0
        self._log: Logger = get_logger()

    def establish(self, established: Established) -> None:
        """Begin to serve C-STORE; nothing is read between the request and this."""
        buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._inflow = Inflow(buffer, established.service, accelerated=not self._tls and established.rate is None)
        self._established = established

    @property
    def certificate(self) -> bytes | None:
        """The peer's TLS certificate, DER; None without one."""
        return peer_certificate(self.socket)

    # pynetdicom's interface

    @property
    def ready(self) -> bool:
        """Whether a whole PDU, or the end of the stream, waits for `recv`; serves C-STORE meanwhile."""
        if self.socket is None or not self._is_connected:
            return False
        if self._inbox or self._ended:
            return True
        if self.event_queue.queue:
            return False
        try:
            self._receive()
        except MalformedPduError as error:
            self._malformed(error)
            return False
        except (OSError, ValueError):
            self._ended = True
        if self._inbox or self._ended:
            self._checkpoint.unpark()
            return True
        return False

    def recv(self, nr_bytes: int) -> bytearray:
        """Hand over bytes of whole PDUs; fewer than asked for only at the end of the stream."""
        taken = self._inbox[:nr_bytes]
        del self._inbox[:nr_bytes]
        return taken

    def send(self, bytestream: bytes) -> None:
        """Send a whole PDU; a peer that does not read ends the association."""
        self._answer_owed = False
        self._outgoing.sent(bytestream)
        try:
            self._send(bytestream)
        except OSError:
            self.event_queue.put("Evt17")

    def stay_awake(self, *, awake: bool) -> None:
        """Keep the association's other thread awake while it has something to send by itself."""
        self._sleepless = awake

    def at_end(self, action: Callable[[], None]) -> None:
        """Have something done once, when the connection ends, or now if it has ended."""
        with self._guard:
            if not self._has_ended:
                self._at_end.append(action)
                return
        action()

    def clean_up(self) -> None:
        """Drop an instance under way and do what was asked for at the end; harmless when done before."""
        with self._guard:
            self._has_ended = True
            actions, self._at_end = self._at_end, []
        inflow, self._inflow = self._inflow, None  # its buffer must not wait for the garbage collector
        if inflow is not None:
            inflow.drop()
        self._checkpoint.unpark()
        for action in actions:
            action()

    def hang_up(self) -> None:
        """End the connection both ways without closing it: whoever reads or writes it comes back at once."""
        self._checkpoint.unpark()
        if self.socket is not None:
            hang_up(self.socket)

    def _shutdown_socket(self) -> None:
        """Clean up and close whichever way pynetdicom ends the connection; its own does not close what a peer has reset."""
        self.clean_up()
        self.hang_up()
        connection = self.socket
        if connection is not None:
            connection.close()

    # receiving

    def _receive(self) -> None:
        state = self.assoc.dul.state_machine.current_state
        if state == _CLOSING:
            self._drain()
            return
        established, inflow = self._established, self._inflow
        if state != _ESTABLISHED or established is None or inflow is None or self._outgoing.open:
            return
        if self.assoc.dul.idle_timer_expired():
            self._checkpoint.unpark()
        if self.assoc.dimse.msg_queue.queue:
            return  # a peer that does not wait for its answers waits in the network, not in our memory
        parked = self._park()
        while not (self._inbox or self._ended or self._is_asked_to_stop()):
            if parked and inflow.accelerated:
                filled = self._run(established, inflow)
            else:
                inflow.take_by_hand()
                filled = self._fill(established, inflow, wait_s=_TURN_S if parked else _POLL_S)
                if filled:
                    self._digest(inflow)
            if filled:
                self.assoc.dul._idle_timer.restart()
            self._check_progress(established, inflow)
            if not filled:
                return

    def _is_asked_to_stop(self) -> bool:
        """Whether our side has something to say, for example an abort; a peer that never pauses must not hold that up."""
        return bool(self.assoc._kill or self.assoc.dul.to_provider_queue.queue)

    def _run(self, established: Established, inflow: Inflow) -> bool:
        """Let the accelerator serve for a moment; False if nothing came in time."""
        if self.socket is None:
            return False
        run = inflow.run(self.socket.fileno(), established.haste, _TURN_US)
        if run.rested:
            self._window_begin, self._window_bytes = monotonic(), 0
        self._window_bytes += run.received_bytes
        self._ended = run.ended
        if run.response:
            self._send(run.response)
        if run.by_hand:
            self._digest(inflow)
        return not run.idle

    def _fill(self, established: Established, inflow: Inflow, wait_s: float) -> bool:
        """Read what is there into the buffer; False if nothing came in time."""
        connection, rate = self.socket, established.rate
        if connection is None:
            return False
        if rate is not None and not rate.may_read(_TURN_S):
            return False
        pending = self._tls and connection.pending()  # type: ignore[attr-defined]  # an SSLSocket
        if wait_s < _TURN_S and not pending and not _readable(connection, wait_s):
            return False
        received = self._receive_some(connection, established, inflow)
        if received is None:
            return False
        if not received:
            self._ended = True
        inflow.received(received)
        self._window_bytes += received
        if rate is not None:
            rate.spend(received)
        return True

    def _receive_some(self, connection: socket.socket, established: Established, inflow: Inflow) -> int | None:
        """Wait for bytes at most for `_TURN_S`; None if none came."""
        room = inflow.room()
        if self._tls:
            return _received(connection, room)
        if established.haste.needed:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            return _received(connection, room)
        begin = monotonic()
        received = _received(connection, room)
        if not inflow.between_messages:
            established.haste.waited(monotonic() - begin)
        return received

    def _digest(self, inflow: Inflow) -> None:
        inflow.digest(self._send, self._hand_on)

    def _hand_on(self, pdu: bytes) -> None:
        self._inbox += pdu
        self._answer_owed = True

    def _send(self, pdu: bytes) -> None:
        connection = self.socket
        if connection is None:
            return
        if self._tls:
            connection.settimeout(self._send_timeout_s)
            connection.sendall(pdu)
            connection.settimeout(_TURN_S)
        else:
            connection.sendall(pdu)

    def _check_progress(self, established: Established, inflow: Inflow) -> None:
        """Abort a peer that keeps a message open and all but stops sending; between messages pynetdicom's idle timer counts."""
        now = monotonic()
        if inflow.at_rest:
            self._window_begin, self._window_bytes = now, 0
            return
        self.assoc.dul._idle_timer.restart()
        if established.rate is not None and established.rate.holds_back:
            self._window_begin, self._window_bytes = now, 0
        elif now - self._window_begin > established.silence_s:
            if self._window_bytes < _LEAST_BYTES_PER_S * established.silence_s:
                raise MalformedPduError(f"message stalled: {self._window_bytes} bytes in {established.silence_s:g} s")
            self._window_begin, self._window_bytes = now, 0

    def _drain(self) -> None:
        """Throw away what a peer still sends after the association ended, so that it gets to read why; not for long."""
        connection = self.socket
        self._drain_until = self._drain_until or monotonic() + _DRAIN_S
        thrown_away = bytearray(_DRAIN_BYTES)
        while connection is not None and monotonic() < self._drain_until and _readable(connection, _POLL_S):
            try:
                if not connection.recv_into(thrown_away):
                    return
            except _NOTHING_YET:
                return

    def _malformed(self, error: MalformedPduError) -> None:
        if self._inflow is not None:
            self._inflow.drop()
        requestor = self.assoc.requestor
        self._log.warning("association_malformed", reason=str(error), calling_ae=printable(requestor.ae_title), address=requestor.address)
        self.assoc.dul._idle_timer.restart()  # one reason to end is enough
        self._checkpoint.unpark()
        self.event_queue.put("Evt19")

    def _park(self) -> bool:
        """Let the association's other thread wait if it has nothing to do; True if it waits."""
        dul = self.assoc.dul
        if self._sleepless or self._is_asked_to_stop():
            self._checkpoint.unpark()
            return False
        if not self._checkpoint.parked:
            busy = dul.to_user_queue.queue or self.assoc.dimse.msg_queue.queue or dul.idle_timer_expired()
            if busy or self._answer_owed or not self.assoc.is_established:
                return False
            self._checkpoint.park()
        return True


def _received(connection: socket.socket, buffer: memoryview) -> int | None:
    try:
        return connection.recv_into(buffer)
    except _NOTHING_YET:
        return None


def _readable(connection: socket.socket, wait_s: float) -> bool:
    poll = select.poll()  # select() ends at 1,024 descriptors
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(wait_s * 1000))


def _timeval(seconds: float) -> bytes:
    return struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))


def printable(title: str | None) -> str:
    """Replace what could break a log line."""
    return "".join(c if c.isprintable() else "?" for c in (title or ""))
