"""A sender that costs little: pre-encoded headers, files by sendfile, and no wait but for each response.

A program of its own without any import outside the standard library. It takes one task a line on stdin, answers `ready` when
its association stands, sends on the line `go`, and prints when it began and ended (monotonic clock, shared by all processes).
Source: PS3.8 section 9.3 (PDUs), PS3.7 section 9.3.1 (C-STORE).
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
from collections.abc import Sequence
from typing import Any

_EXPLICIT_VR_LE = b"1.2.840.10008.1.2.1"
_APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
_IMPLEMENTATION = b"1.2.826.0.1.3680043.8.498.1"
_CONTEXT_ID = 1
_LARGEST_PDU = 131072
_TIMEOUT_S = 120.0


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


def associate_request(calling: str, called: str, sop_class_uid: str) -> bytes:
    """Encode an A-ASSOCIATE-RQ with one presentation context."""
    context = struct.pack(">BBBB", _CONTEXT_ID, 0, 0, 0) + _item(0x30, sop_class_uid.encode()) + _item(0x40, _EXPLICIT_VR_LE)
    user = _item(0x51, struct.pack(">I", _LARGEST_PDU)) + _item(0x52, _IMPLEMENTATION)
    body = struct.pack(">HH16s16s32x", 1, 0, called.encode().ljust(16), calling.encode().ljust(16))
    body += _item(0x10, _APPLICATION_CONTEXT) + _item(0x20, context) + _item(0x50, user)
    return struct.pack(">BBI", 1, 0, len(body)) + body


def largest_pdu(accept: bytes) -> int:
    """Read the acceptor's maximum length from the body of an A-ASSOCIATE-AC.

    Raises:
        ValueError: the context was not accepted.
    """
    at, maximum = 68, 0
    while at < len(accept):
        kind, length = struct.unpack_from(">BxH", accept, at)
        value = accept[at + 4 : at + 4 + length]
        if kind == 0x21 and value[2] != 0:
            raise ValueError(f"presentation context refused, result {value[2]}")
        if kind == 0x50 and value[0] == 0x51:
            maximum = struct.unpack_from(">I", value, 4)[0]
        at += 4 + length
    return min(maximum or _LARGEST_PDU, _LARGEST_PDU)


def store_request(message_id: int, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """Encode the P-DATA-TF of a C-STORE-RQ command set."""

    def element(number: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HHI", 0, number, len(value)) + value

    body = element(0x0002, sop_class_uid.encode()) + element(0x0100, b"\1\0") + element(0x0110, struct.pack("<H", message_id))
    body += element(0x0700, b"\0\0") + element(0x0800, b"\1\0") + element(0x1000, sop_instance_uid.encode())
    command = element(0x0000, struct.pack("<I", len(body))) + body
    return struct.pack(">BBIIBB", 4, 0, len(command) + 6, len(command) + 2, _CONTEXT_ID, 0x03) + command


def status_of(command: bytes) -> int:
    """Read Status (0000,0900) from a command set."""
    at = 0
    while at + 8 <= len(command):
        _group, number, length = struct.unpack_from("<HHI", command, at)
        if number == 0x0900:
            return int.from_bytes(command[at + 8 : at + 8 + length], "little")
        at += 8 + length
    raise ValueError("response without a status")


class Sender:
    """One association as requestor."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._socket = socket.create_connection(("127.0.0.1", task["port"]), timeout=_TIMEOUT_S)
        self._socket.settimeout(None)  # sendfile wants a blocking socket
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(_TIMEOUT_S), 0))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._left = b""
        self._socket.sendall(associate_request(task["calling"], task["called"], task["sop_class_uid"]))
        kind, body = self._read_pdu()
        if kind != 2:
            raise ValueError(f"association refused: PDU type {kind} {body.hex()}")
        self._fragment_bytes = (largest_pdu(body) - 6) & ~1
        self._sop_class_uid: str = task["sop_class_uid"]

    def send(self, files: Sequence[tuple[str, str, int, int]]) -> None:
        """Send files (path, SOP Instance UID, offset and length of the data set), each after the response to the one before.

        Raises:
            ValueError: a status other than Success.
        """
        for number, (path, uid, offset, size) in enumerate(files):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                self._socket.sendall(store_request(number % 65535 + 1, self._sop_class_uid, uid), socket.MSG_MORE)
                self._send_data_set(descriptor, offset, size)
            finally:
                os.close(descriptor)
            self._expect_success()

    def release(self) -> None:
        """Release the association and wait for the answer."""
        self._socket.sendall(struct.pack(">BBII", 5, 0, 4, 0))
        self._read_pdu()
        self._socket.close()

    def _send_data_set(self, descriptor: int, offset: int, size: int) -> None:
        end = offset + size
        while offset < end:
            length = min(self._fragment_bytes, end - offset)
            last = 0x02 if offset + length == end else 0x00
            self._socket.sendall(struct.pack(">BBIIBB", 4, 0, length + 6, length + 2, _CONTEXT_ID, last), socket.MSG_MORE)
            stop = offset + length
            while offset < stop:
                offset += os.sendfile(self._socket.fileno(), descriptor, offset, stop - offset)

    def _expect_success(self) -> None:
        command = b""
        while True:
            kind, body = self._read_pdu()
            if kind != 4:
                raise ValueError(f"PDU type {kind} instead of a response")
            command += body[6:]
            if body[5] & 0x02:
                break
        if (status := status_of(command)) != 0:
            raise ValueError(f"status {status:04X}")

    def _read_pdu(self) -> tuple[int, bytes]:
        while len(self._left) < 6 or len(self._left) < 6 + struct.unpack_from(">I", self._left, 2)[0]:
            if not (more := self._socket.recv(65536)):
                raise ValueError("the receiver closed the connection")
            self._left += more
        end = 6 + struct.unpack_from(">I", self._left, 2)[0]
        pdu, self._left = self._left[:end], self._left[end:]
        return pdu[0], pdu[6:]


def _answer(**figures: object) -> None:
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


def _serve(task: dict[str, Any]) -> None:
    try:
        sender = Sender(task)
        _answer(ready=True)
        sys.stdin.readline()
        began = time.monotonic()
        sender.send(task["files"])
        ended = time.monotonic()
        sender.release()
        _answer(began=began, ended=ended)
    except (OSError, ValueError) as error:
        _answer(error=f"{type(error).__name__}: {error}")


def main() -> None:
    """Serve tasks until stdin ends."""
    for line in iter(sys.stdin.readline, ""):
        if line.strip() != "go":  # left over from a task that failed before it was ready
            _serve(json.loads(line))


if __name__ == "__main__":
    main()
