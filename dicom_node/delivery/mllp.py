"""HL7 v2 messages over MLLP, plain or TLS.

Source: HL7 MLLP release 1 (blocks: VT, message, FS, CR); IHE ITI TF-2 3.19 for TLS with certificates of both sides.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from dicom_node.delivery.acknowledgment import (
    Acknowledgment,
    NoAcknowledgmentError,
    control_id_of,
    outcome_of,
    read_acknowledgment,
)
from dicom_node.delivery.outcomes import Outcome, Verdict
from dicom_node.domain.destinations import Hl7Receiver
from dicom_node.errors import ConfigError, DeliveryError
from dicom_node.ops.tls import client_context, reason_of

START, END = b"\x0b", b"\x1c\r"
_LONGEST_ANSWER = 1 << 20
_BLOCK = 65_536


class MllpChannel:
    """Messages over one connection, each acknowledged before the next. See `dicom_node.delivery.channel.Channel`."""

    def __init__(self, destination: Hl7Receiver) -> None:
        """Connect nothing yet."""
        self._destination = destination

    def probe(self) -> str:
        """Connect, and do the handshake of TLS; MLLP has no question to ask. See `Channel`."""
        with self._connected():
            return f"{self._destination.name} at {self._destination.host}:{self._destination.port} takes connections"

    def send(self, paths: Sequence[Path], answered: Callable[[int, Outcome], None]) -> None:
        """See `Channel`."""
        messages: dict[int, bytes] = {}
        for index, path in enumerate(paths):
            content = _read(path)
            if control_id_of(content):
                messages[index] = content
            else:
                answered(index, Outcome(Verdict.REFUSED, None, f"{path.name} is missing or no HL7 message"))
        if not messages:
            return
        with self._connected() as connection:
            exchange = _Exchange(self._destination, connection)
            for index, content in messages.items():
                answered(index, exchange.send(content))

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        """Connect.

        Raises:
            DeliveryError: why not; also when the connection breaks or falls silent while it is used.
        """
        to = self._destination
        tls = None
        try:
            tls = client_context(to.tls) if to.tls else None
            with socket.create_connection((to.host, to.port), timeout=to.timeout_s) as plain:
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if tls is None:
                    yield plain
                    return
                with tls.wrap_socket(plain, server_hostname=to.host) as encrypted:
                    yield encrypted
        except ConfigError as error:
            raise DeliveryError(f"{to.name}: TLS: {error}", hint=error.hint) from error
        except OSError as error:
            if tls is not None and tls.failure:
                raise DeliveryError(f"{to.name}: TLS: {tls.failure}") from error
            raise DeliveryError(f"{to.name}: {_words(error, to.timeout_s)}", hint="check host, port and firewall") from error


class _Exchange:
    """Messages and their acknowledgments on one connection."""

    def __init__(self, destination: Hl7Receiver, connection: socket.socket) -> None:
        self._destination = destination
        self._connection = connection
        self._received = b""
        self._accepted: set[str] = set()

    def send(self, content: bytes) -> Outcome:
        """Send a message and wait for the answer to it.

        The application's answer to an earlier message, which a receiver may send after its accept acknowledgment, is passed over.

        Raises:
            DeliveryError: no answer in time, none that can be read, or one to another message: the connection is of no use any more.
            OSError: it broke.
        """
        wanted = control_id_of(content)
        self._connection.sendall(START + content + END)
        deadline = monotonic() + self._destination.timeout_s
        while (answer := self._answer(deadline)).control_id != wanted:
            if answer.control_id not in self._accepted:
                raise DeliveryError(f"{self._destination.name}: the acknowledgment is for another message")
        if answer.code == "CA":
            self._accepted.add(wanted)
        return outcome_of(answer)

    def _answer(self, deadline: float) -> Acknowledgment:
        try:
            return read_acknowledgment(self._block(deadline))
        except NoAcknowledgmentError as error:
            raise DeliveryError(f"{self._destination.name}: what came is no HL7 acknowledgment: {error}") from error

    def _block(self, deadline: float) -> bytes:
        """Read a block; what comes after it is kept for the next."""
        name = self._destination.name
        while END not in self._received:
            if self._received.lstrip(b"\r\n")[:1] not in (b"", START):
                raise DeliveryError(f"{name}: what came is no MLLP block", hint="does an HL7 interface listen at host and port?")
            if len(self._received) > _LONGEST_ANSWER:
                raise DeliveryError(f"{name}: the answer is longer than {_LONGEST_ANSWER} bytes")
            left = deadline - monotonic()
            if left <= 0:
                raise DeliveryError(f"{name}: no acknowledgment within {self._destination.timeout_s:g} s")
            self._connection.settimeout(left)
            try:
                more = self._connection.recv(_BLOCK)
            except TimeoutError as error:
                raise DeliveryError(f"{name}: no acknowledgment within {self._destination.timeout_s:g} s") from error
            if not more:
                raise DeliveryError(f"{name}: the connection was closed before the acknowledgment")
            self._received += more
        block, _, self._received = self._received.partition(END)
        self._connection.settimeout(self._destination.timeout_s)
        before, start, content = block.partition(START)
        if not start or before.strip():
            raise DeliveryError(f"{name}: what came is no MLLP block")
        return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _words(error: OSError, timeout_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no connection, or nothing taken, within {timeout_s:g} s"
    if isinstance(error, ConnectionRefusedError | socket.gaierror):
        return "nobody listens there"
    return f"the connection broke ({reason_of(error)})"
