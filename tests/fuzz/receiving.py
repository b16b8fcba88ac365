"""What arrives on an association, without its socket: the receiver's own parts and a second, simple reader to compare with.

After any stream whatever: only `MalformedPduError` ends it, every answered success is one file with exactly that data set, nothing
else is kept, no partial file and no descriptor is left, and what waits in memory stays within its limits.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pynetdicom.pdu import A_ASSOCIATE_RQ

from dicom_node.domain.durability import Durability
from dicom_node.domain.instances import AssociationPeer
from dicom_node.ops.pdata import MalformedPduError
from dicom_node.scp.contexts import service_contexts
from dicom_node.scp.demultiplex import LONGEST_FOREIGN_MESSAGE
from dicom_node.scp.door import Client, Door, DoorSettings
from dicom_node.scp.negotiation import Accepted, prepare_negotiation
from dicom_node.scp.policy import Limits
from dicom_node.scp.store_service import StoreService
from dicom_node.storage import InstanceFiles
from tests.exchange import Exchange
from tests.integration.raw_peer import BIG_ENDIAN, CT, DEFLATED, EXPLICIT, IMPLICIT, VERIFICATION, status_of

CONTEXTS = {1: (CT, EXPLICIT), 3: (CT, IMPLICIT), 5: (CT, DEFLATED), 7: (CT, BIG_ENDIAN), 9: (VERIFICATION, IMPLICIT)}
_MAX_INSTANCE = 1 << 20


class Outcome(NamedTuple):
    """What one stream came to.

    Attributes:
        error: The association was to be aborted.
        statuses: Of the responses, in order.
        kept: Data sets, in order.
        responses: Whole PDUs.
        files: Whole files.
        by_hand: Bytes that the Python path was given.
    """

    error: MalformedPduError | None
    statuses: list[int]
    kept: list[bytes]
    responses: list[bytes]
    files: list[bytes]
    by_hand: int


class _Service(StoreService):
    """A defect that would cost one instance in production ends the run here."""

    def _fail(self, error: Exception) -> None:
        raise error


class Reception:
    """Receives streams one after the other into a folder of its own."""

    def __init__(self, folder: Path, *, accelerated: bool = False, durability: Durability = Durability.NONE) -> None:
        self._accelerated = accelerated
        self._files = InstanceFiles(folder)
        self._files.prepare()
        self._door = Door(self._files, DoorSettings("fuzz", durability, 0, _MAX_INSTANCE))
        self._client = Client(AssociationPeer("PACS", "AINODE", "127.0.0.1"), Limits())

    def receive(self, stream: bytes, step: int, contexts: Mapping[int, tuple[str, str]] = CONTEXTS) -> Outcome:
        """Feed a stream in pieces of `step` bytes, as the association's socket does, and look at what is left.

        Args:
            stream: What the peer sends after the association was accepted.
            step: Longest piece, bytes.
            contexts: Accepted presentation contexts.
        """
        descriptor = _lowest_free_descriptor()
        error = None
        with Exchange(_Service(self._door, self._client, contexts), accelerated=self._accelerated) as exchange:
            try:
                exchange.send(stream, step)
            except MalformedPduError as found:
                error = found
        assert _lowest_free_descriptor() <= descriptor, "a descriptor is left open"  # an earlier door may have closed its own
        assert sum(map(len, exchange.foreign)) <= 4 * len(stream) + LONGEST_FOREIGN_MESSAGE
        files = self._take_files()
        kept = [content[144 + int.from_bytes(content[140:144], "little") :] for content in files]
        return Outcome(error, [status_of(r) for r in exchange.answers], kept, exchange.answers, files, exchange.by_hand)

    def _take_files(self) -> list[bytes]:
        """Return the files kept, and empty the folder."""
        kept = []
        for path in sorted(self._files.incoming.iterdir()):
            assert path.suffix == ".dcm", f"{path.name} is left"
            content = path.read_bytes()
            assert content[128:132] == b"DICM"
            kept.append(content)
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
