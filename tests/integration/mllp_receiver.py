"""An HL7 interface: python-hl7's own MLLP server, strict about structure, which answers as a test wants."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import hl7
from hl7.mllp import HL7StreamReader, HL7StreamWriter, start_hl7_server

from tests.unit.messages.parsed import oru

Answer = Callable[[hl7.Message], list[bytes]]
"""What is written, piece by piece; an empty piece closes the connection."""


def framed(text: str) -> bytes:
    return b"\x0b" + text.encode() + b"\x1c\r"


def ack(code: str, *more: str, control_id: str = "") -> Answer:
    def answer(message: hl7.Message) -> list[bytes]:
        about = control_id or str(message.segment("MSH")[10])
        head = "MSH|^~\\&|RIS|HOSPITAL|AINODE||20260101||ACK^R01^ACK|1|P|2.5.1"
        return [framed("\r".join([head, f"MSA|{code}|{about}", *more, ""]))]

    return answer


def raw(*pieces: bytes) -> Answer:
    return lambda _: list(pieces)


def in_pieces(answer: Answer) -> Answer:
    def split(message: hl7.Message) -> list[bytes]:
        return [bytes([byte]) for byte in b"".join(answer(message))]

    return split


@dataclass(eq=False)
class MllpReceiver:
    """Runs its own event loop in a thread.

    Attributes:
        answers: For the next messages; when none is left, AA.
        got: Every message that came, as it came.
        strict: Each is validated by hl7apy, which takes half a second.
    """

    tls: ssl.SSLContext | None = None
    port: int = 0
    strict: bool = False

    def __post_init__(self) -> None:
        self.answers: deque[Answer] = deque()
        self.got: list[bytes] = []
        self.connections = 0
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="mllp-receiver")

    @contextmanager
    def serving(self) -> Iterator[MllpReceiver]:
        self._thread.start()
        assert self._started.wait(10)
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda *_: None)  # a refused handshake is what a test is about
        server = self._loop.run_until_complete(
            start_hl7_server(self._serve, "127.0.0.1", self.port, limit=1 << 24, encoding="utf-8", ssl=self.tls)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: HL7StreamReader, writer: HL7StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                content = await reader.readblock()
                self.got.append(content)
                answer = self.answers.popleft() if self.answers else ack("AA")
                for piece in answer(oru(content) if self.strict else hl7.parse(content.decode())):
                    if not piece:
                        return
                    writer.write(piece)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.close()
