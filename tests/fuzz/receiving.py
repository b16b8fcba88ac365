"""What arrives on an association, without its socket: the receiver's own parts and a second, simple reader to compare with.

After any stream whatever: only `MalformedPduError` ends it, every answered success is one file with exactly that data set, nothing
else is kept, no partial file and no descriptor is left, and what waits in memory stays within its limits.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pynetdicom.pdu import A_ASSOCIATE_RQ

from dicom_node.domain.durability import Durability
from dicom_node.domain.instances import AssociationPeer
from dicom_node.scp.contexts import service_contexts
from dicom_node.scp.demultiplex import LONGEST_FOREIGN_MESSAGE, Demultiplexer, Foreign
from dicom_node.scp.door import Door, DoorSettings
from dicom_node.scp.negotiation import Accepted, prepare_negotiation
from dicom_node.scp.pdata import MalformedPduError
from dicom_node.scp.policy import Limits
from dicom_node.scp.store_service import Client, StoreService
from dicom_node.storage import InstanceFiles
from tests.integration.raw_peer import BIG_ENDIAN, CT, DEFLATED, EXPLICIT, IMPLICIT, VERIFICATION, status_of

CONTEXTS = {1: (CT, EXPLICIT), 3: (CT, IMPLICIT), 5: (CT, DEFLATED), 7: (CT, BIG_ENDIAN), 9: (VERIFICATION, IMPLICIT)}
_BUFFER_BYTES = 1 << 18
_MAX_INSTANCE = 1 << 20


class Outcome(NamedTuple):
    """What one stream came to: its error, the statuses in order, the data sets kept."""

    error: MalformedPduError | None
    statuses: list[int]
    kept: list[bytes]


class _Service(StoreService):
    """A defect that would cost one instance in production ends the run here."""

    def _fail(self, error: Exception) -> None:
        raise error


class Reception:
    """Receives streams one after the other into a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._files = InstanceFiles(folder)
        self._files.prepare()
        self._door = Door(self._files, DoorSettings("fuzz", Durability.NONE, 0, _MAX_INSTANCE))
        self._client = Client(AssociationPeer("PACS", "AINODE", "127.0.0.1"), Limits())

    def receive(self, stream: bytes, step: int, contexts: Mapping[int, tuple[str, str]] = CONTEXTS) -> Outcome:
        """Feed a stream in pieces of `step` bytes, as the association's socket does, and look at what is left.

        Args:
            stream: What the peer sends after the association was accepted.
            step: Longest piece, bytes.
            contexts: Accepted presentation contexts.
        """
        descriptor = _lowest_free_descriptor()
        service, error, responses = _Service(self._door, self._client, contexts), None, list[bytes]()
        try:
            self._feed(stream, step, Demultiplexer(contexts), service, responses)
        except MalformedPduError as found:
            error = found
        service.drop()
        assert _lowest_free_descriptor() == descriptor, "a descriptor is left open"
        return Outcome(error, [status_of(r) for r in responses], self._take_files())

    def _feed(self, stream: bytes, step: int, splitter: Demultiplexer, service: StoreService, responses: list[bytes]) -> None:
        buffer, foreign_bytes = b"", 0
        for start in range(0, len(stream), step):
            buffer += stream[start : start + step]
            taken = 1
            while taken and buffer:
                events, taken = splitter.feed(memoryview(buffer))
                for event in events:
                    if isinstance(event, Foreign):
                        foreign_bytes += len(event.pdu)
                    elif response := service.serve(event):
                        responses.append(response)
                buffer = buffer[taken:]
            assert len(buffer) < _BUFFER_BYTES, "the socket's buffer would be full and nothing taken from it"
        assert foreign_bytes <= 4 * len(stream) + LONGEST_FOREIGN_MESSAGE

    def _take_files(self) -> list[bytes]:
        """Return the data sets kept, and empty the folder."""
        kept = []
        for path in sorted(self._files.incoming.iterdir()):
            assert path.suffix == ".dcm", f"{path.name} is left"
            content = path.read_bytes()
            assert content[128:132] == b"DICM"
            [length] = struct.unpack_from("<I", content, 140)
            kept.append(content[144 + length :])
            path.unlink()
        return kept


def data_sets_of(stream: bytes, contexts: Mapping[int, object] = CONTEXTS) -> list[bytes]:
    """Read a whole stream the simple way: the data set of each C-STORE that ends, up to the first contradiction."""
    found: list[bytes] = []
    command, content, storing = b"", b"", False
    for context, control, data in pdvs_of(stream):
        if context not in contexts:
            return found
        if control & 1:
            command += data
            if control & 2:
                storing, content, command = b"\0\0\0\1\2\0\0\0\1\0" in command, b"", b""
        else:
            content += data
            if control & 2 and storing:
                found.append(content)
                storing, content = False, b""
    return found


def pdvs_of(stream: bytes) -> list[tuple[int, int, bytes]]:
    """Take a stream apart into context ID, control header and content of each PDV, up to the first one that does not fit."""
    pdvs: list[tuple[int, int, bytes]] = []
    while len(stream) >= 6:
        length = int.from_bytes(stream[2:6], "big")
        content, kind = stream[6 : 6 + length], stream[0]
        stream = stream[6 + length :]
        while kind == 4 and len(content) >= 6:
            size = int.from_bytes(content[:4], "big")
            if len(content) < 4 + size or size < 2:
                return pdvs
            pdvs.append((content[4], content[5], content[6 : 4 + size]))
            content = content[4 + size :]
    return pdvs


def check(reception: Reception, stream: bytes, step: int) -> Outcome:
    """Receive a stream and compare with the simple reader.

    Raises:
        AssertionError: acknowledged is not what was kept, or what was kept is not what was sent.
    """
    outcome = reception.receive(stream, step)
    assert len(outcome.kept) == outcome.statuses.count(0), "acknowledged and kept differ"
    sent = data_sets_of(stream)
    assert all(content in sent for content in outcome.kept), "a data set was kept that nobody sent"
    return outcome


def negotiate(request: bytes) -> None:
    """Decode an A-ASSOCIATE-RQ as pynetdicom does, and prepare what is accepted; what pynetdicom cannot decode it aborts itself."""
    try:
        request_pdu = A_ASSOCIATE_RQ()
        request_pdu.decode(request)
        primitive = request_pdu.to_primitive()
        requested = primitive.presentation_context_definition_list
    except Exception:  # noqa: BLE001 - anything it raises ends in an abort
        return
    prepare_negotiation(requested, service_contexts(), Accepted())


def _lowest_free_descriptor() -> int:
    descriptor = os.open("/dev/null", os.O_RDONLY)
    os.close(descriptor)
    return descriptor
