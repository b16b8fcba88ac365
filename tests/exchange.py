"""Both ends of an association without network and pynetdicom: what a peer sends takes the receive path, its answers come back."""

from __future__ import annotations

import contextlib
import socket
from types import TracebackType

from dicom_node.scp.haste import Haste
from dicom_node.scp.inflow import Inflow
from dicom_node.scp.store_service import StoreService

BUFFER_BYTES = 1 << 18
_MOST_AT_ONCE = 1 << 16  # less than a socket holds


class Exchange:
    """One association as the socket object serves it.

    Attributes:
        answers: Response PDUs, in order.
        foreign: PDUs for pynetdicom, in order.
        by_hand: How many bytes the Python path was given.
    """

    def __init__(self, service: StoreService, *, accelerated: bool) -> None:
        self._service = service
        self._ours, self._theirs = socket.socketpair()
        self._theirs.setblocking(False)
        self._inflow = Inflow(memoryview(bytearray(BUFFER_BYTES)), service, accelerated=accelerated)
        self._haste = Haste()
        self._answered = b""
        self.answers: list[bytes] = []
        self.foreign: list[bytes] = []
        self.by_hand = 0

    def __enter__(self) -> Exchange:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._inflow.drop()
        self._ours.close()
        self._theirs.close()

    def send(self, stream: bytes, step: int = _MOST_AT_ONCE) -> None:
        """Let the peer send in pieces of `step` bytes, each served before the next.

        Raises:
            MalformedPduError: the association is to be aborted.
        """
        step = min(step, _MOST_AT_ONCE)
        for start in range(0, len(stream), step):
            self._theirs.sendall(stream[start : start + step])
            try:
                while self._serve():
                    pass
            finally:
                self._read_answers()

    def _serve(self) -> bool:
        inflow = self._inflow
        if inflow.accelerated:
            run = inflow.run(self._ours.fileno(), self._haste, 0)
            self._ours.sendall(run.response)
            if run.by_hand:
                self.by_hand += run.tail - run.head
                inflow.digest(self._ours.sendall, self.foreign.append)
            return not run.idle
        room = inflow.room()
        assert room, "the buffer is full and nothing was taken from it"
        try:
            received = self._ours.recv_into(room, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        self.by_hand += received
        inflow.received(received)
        inflow.digest(self._ours.sendall, self.foreign.append)
        return True

    def _read_answers(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while piece := self._theirs.recv(1 << 16):
                self._answered += piece
        while len(self._answered) >= 6:
            size = 6 + int.from_bytes(self._answered[2:6], "big")
            self.answers.append(self._answered[:size])
            self._answered = self._answered[size:]
