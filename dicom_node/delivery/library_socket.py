"""The requestor's socket as pynetdicom sees it: it can be lent out, and no wait on it is without an end.

pynetdicom's DUL thread asks its socket object again and again whether something can be read, and it does nothing else meanwhile. While the
socket is lent, this question is not answered: the thread rests in it, so that it neither reads nor writes. What the borrower read
and did not use goes back with the socket and is what the thread reads first.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
from typing import Final

from pynetdicom.transport import AssociationSocket

from dicom_node.errors import DeliveryError
from dicom_node.ops.tls import hang_up

_ESTABLISHED: Final = "Sta6"
_LONGEST_PDU: Final = 1 << 20
_LOOK_S: Final = 0.02


class LibrarySocket(AssociationSocket):
    """Replaces the socket that pynetdicom made, once it is connected."""

    def __init__(self, made: AssociationSocket, timeout_s: float) -> None:
        """Take the place of another one.

        Args:
            made: Connected; not used any more.
            timeout_s: Longest wait for a peer that neither reads nor writes, seconds.
        """
        vars(self).update(vars(made))  # its own constructor would report a new connection
        self._timeout_s = timeout_s
        self._turn = threading.Condition()
        self._lent = self._resting = self._broken = False
        self._inbox = bytearray()
        if self.socket is not None:
            self.socket.settimeout(timeout_s)

    def lend(self) -> socket.socket:
        """Give the connection to the caller, who gives it back; it does not block.

        Raises:
            DeliveryError: the association has ended meanwhile.
        """
        dul = self.assoc.dul
        with self._turn:
            self._lent = True
            while not self._resting and dul.is_alive():
                self._turn.wait(_LOOK_S)
        if not self._resting or self.socket is None or dul.state_machine.current_state != _ESTABLISHED or dul.event_queue.queue:
            self.give_back(b"")
            raise DeliveryError("association ended before anything was sent")
        self.socket.settimeout(0)
        return self.socket

    def give_back(self, rest: bytes) -> None:
        """Return it.

        Args:
            rest: What was read and is the library's to read.
        """
        self._inbox += rest
        with contextlib.suppress(OSError):  # closed already
            if self.socket is not None:
                self.socket.settimeout(self._timeout_s)
        self.assoc.dul._idle_timer.restart()
        with self._turn:
            self._lent = False
            self._turn.notify_all()

    def break_off(self) -> None:
        """Reset the connection, as nothing can be said on it any more; while it is lent."""
        self._broken = True
        if self.socket is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    # pynetdicom's interface

    @property
    def ready(self) -> bool:
        """Whether something can be read; waits while the connection is lent."""
        with self._turn:
            while self._lent:
                self._resting = True
                self._turn.notify_all()
                self._turn.wait()
            self._resting = False
        if self.socket is None or not self._is_connected:
            return False
        if self._inbox or self._broken:
            return True
        try:
            return _readable(self.socket)
        except (OSError, ValueError):
            self.event_queue.put("Evt17")
            return False

    def recv(self, nr_bytes: int) -> bytearray:
        """Read as many bytes; fewer at the end of the stream.

        Raises:
            OSError: they did not come, or are more than any PDU of ours has.
        """
        if nr_bytes > _LONGEST_PDU:
            raise OSError(f"PDU of {nr_bytes} bytes")
        taken = self._inbox[:nr_bytes]
        del self._inbox[:nr_bytes]
        while len(taken) < nr_bytes and self.socket is not None and not self._broken:
            received = self.socket.recv(nr_bytes - len(taken))
            if not received:
                break
            taken += received
        return taken

    def send(self, bytestream: bytes) -> None:
        """Send a whole PDU; a peer that does not read ends the association."""
        try:
            if self.socket is None or self._broken:
                raise OSError
            self.socket.sendall(bytestream)
        except OSError:
            self.event_queue.put("Evt17")

    def _shutdown_socket(self) -> None:
        """Close it even where the peer was faster."""
        if self.socket is not None:
            if not self._broken:
                hang_up(self.socket)
            self.socket.close()


def _readable(connection: socket.socket) -> bool:
    if isinstance(connection, ssl.SSLSocket) and connection.pending():
        return True
    poll = select.poll()  # select() ends at 1,024 descriptors
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
