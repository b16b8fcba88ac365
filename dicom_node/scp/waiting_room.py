"""Between accept and association: a connection gets an association once its whole A-ASSOCIATE-RQ is here.

Load balancers that connect and leave, port scanners, and peers that send one byte a second cost one waiting thread for at most the
ARTIM time, and no association.

Source: PS3.8 9.1.5 (ARTIM), 9.3.2, 9.3.8.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
from time import monotonic
from typing import Final

from dicom_node.errors import PeerError

LONGEST_REQUEST: Final = 1 << 18
"""An A-ASSOCIATE-RQ with 128 contexts of 60 transfer syntaxes each has 190 kB; taking one apart costs a second a megabyte or more."""
_HEADER_BYTES = 6
_A_ASSOCIATE_RQ = 0x01
_KNOWN_TYPES = range(1, 8)


class NoRequestError(PeerError):
    """A connection that never became an association.

    Attributes:
        quiet: The peer only connected and left.
        abort_reason: Reason of the A-ABORT to send, or None to just close. Source: PS3.8 table 9-26.
    """

    code = "association-request-missing"

    def __init__(self, message: str, *, quiet: bool = False, abort_reason: int | None = None) -> None:
        super().__init__(message)
        self.quiet = quiet
        self.abort_reason = abort_reason


def read_request(connection: socket.socket, timeout_s: float) -> bytes:
    """Read the first PDU.

    Args:
        connection: The accepted socket, a TLS one after its handshake; its time-out is changed.
        timeout_s: ARTIM, for the whole PDU, seconds.

    Returns:
        A whole A-ASSOCIATE-RQ, and nothing behind it.

    Raises:
        NoRequestError: what came in its place.
    """
    deadline = monotonic() + timeout_s
    head = _read(connection, _HEADER_BYTES, deadline, b"")
    kind, _, length = struct.unpack(">BBI", head)
    if kind != _A_ASSOCIATE_RQ:
        reason = 2 if kind in _KNOWN_TYPES else 1
        raise NoRequestError(f"first PDU is of type {kind:02X}, not an A-ASSOCIATE-RQ", abort_reason=reason)
    if length > LONGEST_REQUEST:
        raise NoRequestError(f"A-ASSOCIATE-RQ of {length} bytes, {LONGEST_REQUEST} are allowed", abort_reason=6)
    return _read(connection, _HEADER_BYTES + length, deadline, head)


def refuse(connection: socket.socket, error: NoRequestError) -> None:
    """Send the A-ABORT that the error asks for; the caller closes."""
    if error.abort_reason is None:
        return
    try:
        connection.settimeout(1.0)
        connection.sendall(struct.pack(">BBIBBBB", 7, 0, 4, 0, 0, 2, error.abort_reason))
    except OSError:
        return


def _read(connection: socket.socket, size: int, deadline: float, begun: bytes) -> bytes:
    received = bytearray(begun)
    while len(received) < size:
        left_s = deadline - monotonic()
        if left_s <= 0 or not _wait(connection, left_s):
            raise NoRequestError(f"no whole A-ASSOCIATE-RQ in time, {len(received)} bytes came")
        connection.settimeout(max(0.001, left_s))  # a TLS record may be readable and not whole
        try:
            piece = connection.recv(size - len(received))
        except (TimeoutError, ssl.SSLWantReadError):
            continue
        except OSError as error:
            raise NoRequestError(f"connection lost after {len(received)} bytes: {error.strerror}", quiet=not received) from error
        if not piece:
            raise NoRequestError(f"peer left after {len(received)} bytes", quiet=not received)
        received += piece
    return bytes(received)


def _wait(connection: socket.socket, left_s: float) -> bool:
    if isinstance(connection, ssl.SSLSocket) and connection.pending():
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(left_s * 1000))
