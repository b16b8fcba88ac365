"""A peer that sends what it likes: PDUs built by hand over a bare socket."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Sequence
from types import TracebackType

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
Context = tuple[int, str, Sequence[str]]
CONTEXTS: tuple[Context, ...] = ((1, CT, [EXPLICIT]), (3, VERIFICATION, [IMPLICIT]))
RELEASE = struct.pack(">BBI4s", RELEASE_RQ, 0, 4, bytes(4))
ABORTING = struct.pack(">BBI4s", ABORT, 0, 4, bytes(4))


def pdu(kind: int, content: bytes, length: int | None = None) -> bytes:
    """A PDU; `length` is what its header claims."""
    return struct.pack(">BBI", kind, 0, len(content) if length is None else length) + content


def item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(content)) + content


def associate_request(
    calling: str = "PACS", called: str = "AINODE", contexts: Sequence[Context] = CONTEXTS, max_pdu: int = 16384, user: bytes = b""
) -> bytes:
    titles = called.encode().ljust(16) + calling.encode().ljust(16)
    proposals = b"".join(
        item(0x20, bytes([number, 0, 0, 0]) + item(0x30, abstract.encode()) + b"".join(item(0x40, s.encode()) for s in syntaxes))
        for number, abstract, syntaxes in contexts
    )
    information = item(0x51, struct.pack(">I", max_pdu)) + item(0x52, b"1.2.3.4") + user
    return pdu(
        ASSOCIATE_RQ,
        struct.pack(">HH", 1, 0) + titles + bytes(32) + item(0x10, b"1.2.840.10008.3.1.1.1") + proposals + item(0x50, information),
    )


def pdv(data: bytes, *, context: int = 1, command: bool = False, last: bool = True, length: int | None = None) -> bytes:
    return struct.pack(">IBB", len(data) + 2 if length is None else length, context, command | last << 1) + data


def p_data(*pdvs: bytes) -> bytes:
    return pdu(P_DATA, b"".join(pdvs))


def element(number: int, value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHI", 0, number, len(value) if length is None else length) + value


def uid_bytes(uid: str | bytes) -> bytes:
    encoded = uid if isinstance(uid, bytes) else uid.encode()
    return encoded + b"\0" * (len(encoded) % 2)


def command_set(*elements: bytes) -> bytes:
    body = b"".join(elements)
    return element(0, struct.pack("<I", len(body))) + body


def store_command(uid: str | bytes, message: int = 1, *, sop_class: str = CT, data_set: bool = True, extra: bytes = b"") -> bytes:
    return command_set(
        element(0x0002, uid_bytes(sop_class)),
        element(0x0100, b"\x01\x00"),
        element(0x0110, struct.pack("<H", message)),
        element(0x0700, b"\x02\x00"),
        element(0x0800, b"\x01\x00" if data_set else b"\x01\x01"),
        element(0x1000, uid_bytes(uid)),
        extra,
    )


def echo_command(message: int = 1) -> bytes:
    return command_set(
        element(0x0002, uid_bytes(VERIFICATION)),
        element(0x0100, b"\x30\x00"),
        element(0x0110, struct.pack("<H", message)),
        element(0x0800, b"\x01\x01"),
    )


def data_set(uid: str | bytes, size: int = 64, *, study: bytes = b"1.2.3", series: bytes = b"1.2.3.4", sop_class: str = CT) -> bytes:
    """A data set in Explicit VR Little Endian that holds little but its identity; its pixels tell it from others."""

    def ui(group: int, number: int, value: bytes) -> bytes:
        value = uid_bytes(value)
        return struct.pack("<HH2sH", group, number, b"UI", len(value)) + value

    name = uid if isinstance(uid, bytes) else uid.encode()
    pixels = (name * (size // len(name) + 1))[: size // 2 * 2]
    head = ui(8, 0x16, sop_class.encode()) + ui(8, 0x18, name) + ui(0x20, 0x0D, study) + ui(0x20, 0x0E, series)
    return head + struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, len(pixels)) + pixels


def store(uid: str | bytes, content: bytes | None = None, message: int = 1, *, context: int = 1, fragment: int = 16000) -> bytes:
    """A whole C-STORE request, one PDV a PDU."""
    content = data_set(uid) if content is None else content
    starts = range(0, max(len(content), 1), fragment)
    pieces = [p_data(pdv(content[s : s + fragment], context=context, last=s + fragment >= len(content))) for s in starts]
    return p_data(pdv(store_command(uid, message), context=context, command=True)) + b"".join(pieces)


def status_of(response: bytes) -> int:
    """Status (0000,0900) of a response PDU.

    Raises:
        ValueError: it is none.
    """
    at = 12
    while response[at : at + 4] != b"\0\0\0\x09":
        if at >= len(response):
            raise ValueError(f"no status in {response[:16].hex()}")
        at += 8 + int.from_bytes(response[at + 4 : at + 8], "little")
    return int.from_bytes(response[at + 8 : at + 10], "little")


class RawPeer:
    """One connection; nothing is sent that is not asked for."""

    def __init__(self, port: int, timeout_s: float = 10.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.socket.close()

    def send(self, content: bytes) -> None:
        self.socket.sendall(content)

    def receive(self) -> bytes:
        """The next PDU; fewer bytes, or none, when the connection ends."""
        head = self._read(6)
        return head if len(head) < 6 else head + self._read(int.from_bytes(head[2:6], "big"))

    def rest(self) -> bytes:
        """All that comes until the connection ends."""
        content = b""
        with contextlib.suppress(ConnectionError):
            while piece := self.socket.recv(65536):
                content += piece
        return content

    def associate(self, **request: object) -> bytes:
        self.send(associate_request(**request))  # type: ignore[arg-type]
        return self.receive()

    def store(self, uid: str, content: bytes | None = None, message: int = 1) -> int:
        self.send(store(uid, content, message))
        return status_of(self.receive())

    def echo(self) -> int:
        self.send(p_data(pdv(echo_command(), context=3, command=True)))
        return status_of(self.receive())

    def release(self) -> bytes:
        self.send(RELEASE)
        return self.receive()

    def reset(self) -> None:
        """Leave with RST in place of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def _read(self, size: int) -> bytes:
        content = b""
        with contextlib.suppress(ConnectionError):
            while len(content) < size and (piece := self.socket.recv(size - len(content))):
                content += piece
        return content
