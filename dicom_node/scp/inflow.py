"""What an association's peer sends, from the socket's buffer to the service that keeps it: by the accelerator, or by hand.

By hand is the Python path, which can do everything. The accelerator takes over between two messages, and gives back whatever is not a
plain C-STORE.
"""

from __future__ import annotations

from collections.abc import Callable

from dicom_node.scp.accelerator import accelerator
from dicom_node.scp.demultiplex import Demultiplexer, Foreign
from dicom_node.scp.haste import Haste
from dicom_node.scp.pump import InstancePump, Run
from dicom_node.scp.store_service import StoreService


class Inflow:
    """One association's buffer after the association was accepted."""

    def __init__(self, buffer: memoryview, service: StoreService, *, accelerated: bool) -> None:
        """Begin with an empty buffer.

        Args:
            buffer: Large enough for the longest control PDU.
            service: Serves C-STORE.
            accelerated: Use the accelerator if it is there; the bytes then come from a plain socket.
        """
        self._buffer = buffer
        self._head = self._tail = 0
        self._service = service
        self._demultiplexer = Demultiplexer(service.contexts)
        wanted = accelerated and accelerator().pump is not None
        self._pump = InstancePump(buffer, service, self._demultiplexer) if wanted else None
        self._by_hand = self._pump is None

    @property
    def accelerated(self) -> bool:
        """Whether `run` is next; otherwise bytes are put into `room` and taken by `digest`."""
        return not self._by_hand

    @property
    def between_messages(self) -> bool:
        """Whether the stream stands between two messages, as far as it was taken from the buffer."""
        return self._demultiplexer.between_messages and not (self._pump and self._pump.within_instance)

    @property
    def at_rest(self) -> bool:
        """Whether all is taken, and no message is under way."""
        return self._head == self._tail and self.between_messages

    def run(self, connection: int, haste: Haste, longest_wait_us: int) -> Run:
        """Have the accelerator receive and store for a moment; only while `accelerated`. Arguments as for `InstancePump.run`."""
        if self._pump is None:
            raise ValueError("not accelerated")
        result = self._pump.run(connection, self._head, self._tail, haste, longest_wait_us)
        self._head, self._tail, self._by_hand = result.head, result.tail, result.by_hand
        return result

    def take_by_hand(self) -> None:
        """Have the Python path go on, at least to the end of the message under way."""
        if not self._by_hand and self._pump is not None:
            self._pump.hand_over()
        self._by_hand = True

    def room(self) -> memoryview:
        """Return where the next bytes go; what is left over moves to the front."""
        if self._head == self._tail:
            self._head = self._tail = 0
        elif self._head:
            left = self._tail - self._head
            self._buffer[:left] = bytes(self._buffer[self._head : self._tail])
            self._head, self._tail = 0, left
        return self._buffer[self._tail :]

    def received(self, size_bytes: int) -> None:
        """Tell how many bytes were put into `room`."""
        self._tail += size_bytes

    def digest(self, send: Callable[[bytes], None], foreign: Callable[[bytes], None]) -> None:
        """Take what is in the buffer.

        Args:
            send: Takes each response PDU.
            foreign: Takes each whole PDU that is not ours to serve.

        Raises:
            MalformedPduError: the peer contradicts itself or breaks a limit; abort.
        """
        while self._head < self._tail:
            events, taken = self._demultiplexer.feed(self._buffer[self._head : self._tail])
            for event in events:
                if isinstance(event, Foreign):
                    foreign(event.pdu)
                elif response := self._service.serve(event):
                    send(response)
            self._head += taken
            if not taken:
                break
            self._by_hand = self._pump is None or not self._demultiplexer.between_messages

    def drop(self) -> None:
        """Throw away what is in the buffer and what has arrived of an instance; from any thread, harmless when done before."""
        if self._pump is not None:
            self._pump.discard()
        self._service.drop()
        self._head = self._tail = 0
