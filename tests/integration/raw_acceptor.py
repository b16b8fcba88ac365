"""A storage SCP that answers what a test likes: PDUs by hand over a bare socket, read by a strict parser."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.integration.raw_peer import (
    ASSOCIATE_AC,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    command_set,
    element,
    item,
    p_data,
    pdu,
    pdv,
)

RELEASED = pdu(RELEASE_RP, bytes(4))


class Stored(NamedTuple):
    """A C-STORE as it came: its command elements, its data set, and the sizes of its PDUs."""

    context_id: int
    command: dict[int, bytes]
    data_set: bytes
    pdus: list[int]

    @property
    def message_id(self) -> int:
        return int.from_bytes(self.command[0x0110], "little")


def response(message_id: int, status: int = 0, *, field: int = 0x8001, extra: bytes = b"") -> bytes:
    """The command set of a C-STORE-RSP."""
    return command_set(
        element(0x0100, struct.pack("<H", field)),
        element(0x0120, struct.pack("<H", message_id)),
        element(0x0800, b"\x01\x01"),
        element(0x0900, struct.pack("<H", status)),
        extra,
    )


class Conversation:
    """One accepted association."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.contexts: dict[int, tuple[str, str]] = {}

    def accept(self, max_pdu: int, *, takes: Callable[[str, str], bool] = lambda _sop_class, _syntax: True) -> None:
        """Read the request, and accept what `takes` says of SOP class and transfer syntax."""
        kind, request = self.pdu()
        assert kind == 1
        results = b""
        for number, content in _items(request[68:]):
            if number == 0x20:
                parts = dict(_items(content[4:]))
                context = parts[0x30].decode(), parts[0x40].decode()
                accepted = takes(*context)
                if accepted:
                    self.contexts[content[0]] = context
                results += item(0x21, bytes([content[0], 0, 0 if accepted else 3, 0]) + item(0x40, parts[0x40]))
        user = item(0x50, item(0x51, struct.pack(">I", max_pdu)) + item(0x52, b"1.2.3.4"))
        name = item(0x10, b"1.2.840.10008.3.1.1.1")
        self.send(pdu(ASSOCIATE_AC, struct.pack(">HH", 1, 0) + request[4:36] + bytes(32) + name + results + user))

    def send(self, content: bytes) -> None:
        self.connection.sendall(content)

    def pdu(self) -> tuple[int, bytes]:
        """The next PDU; type 0 at the end of the connection."""
        head = self.read(6)
        if not head:
            return 0, b""
        kind, size = struct.unpack(">BxI", head)
        content = self.read(size)
        assert len(content) == size
        return kind, content

    def stored(self) -> Stored:
        """Read one C-STORE; whatever is not exactly as the standard has it fails."""
        command, data, sizes, context_id = bytearray(), bytearray(), [], 0
        ended = False
        while True:
            kind, content = self.pdu()
            assert kind == P_DATA
            sizes.append(len(content))
            length, number, control = struct.unpack(">IBB", content[:6])
            assert length + 4 == len(content), "one PDV a PDU, of exactly its length"
            assert context_id in (0, number)
            assert control in ((0, 2) if ended else (1, 3))
            context_id = number
            (data if ended else command).extend(content[6:])
            if control == 2:
                return Stored(context_id, _elements(bytes(command)), bytes(data), sizes)
            ended = ended or control == 3

    def answer(self, stored: Stored, status: int = 0) -> None:
        self.send(p_data(pdv(response(stored.message_id, status), context=stored.context_id, command=True)))

    def serve(self) -> list[Stored]:
        """Store everything until the requestor releases."""
        found: list[Stored] = []
        while True:
            kind = self.connection.recv(1, socket.MSG_PEEK)[0]
            if kind == RELEASE_RQ:
                self.pdu()
                self.send(RELEASED)
                return found
            found.append(self.stored())
            self.answer(found[-1])

    def end(self) -> tuple[int, bytes]:
        """The last PDU before the connection ends, data left out."""
        last = (0, b"")
        try:
            while (found := self.pdu())[0]:
                if found[0] != P_DATA:
                    last = found
        except (ConnectionError, AssertionError):
            pass
        return last

    def read(self, size: int) -> bytes:
        content = bytearray()
        while len(content) < size and (piece := self.connection.recv(size - len(content))):
            content += piece
        return bytes(content)


class RawAcceptor:
    """Listens; each association is handed to the next script, in a thread whose failure the test sees."""

    def __init__(self, *scripts: Callable[[Conversation], None], receive_buffer: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        if receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.settimeout(20)
        self.port = int(self._listener.getsockname()[1])
        self._errors: list[Exception] = []
        self._thread = threading.Thread(target=self._run, args=(scripts,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait for the scripts.

        Raises:
            Exception: of the first script that failed.
        """
        self._thread.join(20)
        self._listener.close()
        assert not self._thread.is_alive(), "a script did not end"
        if self._errors:
            raise self._errors[0]

    def _run(self, scripts: tuple[Callable[[Conversation], None], ...]) -> None:
        try:
            for script in scripts:
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.settimeout(20)
                with connection:
                    script(Conversation(connection))
        except Exception as error:  # noqa: BLE001 - the test sees it
            self._errors.append(error)


def _items(content: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(content):
        kind, size = struct.unpack(">BxH", content[at : at + 4])
        yield kind, content[at + 4 : at + 4 + size]
        at += 4 + size
    assert at == len(content)


def _elements(encoded: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at, last = 0, -1
    while at < len(encoded):
        group, number, size = struct.unpack("<HHI", encoded[at : at + 8])
        assert group == 0
        assert number > last, "ascending"
        assert size % 2 == 0
        found[number], last = encoded[at + 8 : at + 8 + size], number
        at += 8 + size
    assert at == len(encoded)
    assert int.from_bytes(found[0], "little") == len(encoded) - 12
    return found
