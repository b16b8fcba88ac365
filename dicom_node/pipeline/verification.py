"""Is an instance really on disk now? Index row, file, SOP class, and the digest of the data set read from the file."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dicom_node.domain.commitments import FailureReason, InstanceReference
from dicom_node.ops.logs import get_logger
from dicom_node.storage import Database, commitments
from dicom_node.storage.commitments import IndexedCopy

_CHUNK = 100
_BLOCK_BYTES = 1 << 20
_GROUP_LENGTH_AT = 128 + 4 + 8
_META_BEGINS = _GROUP_LENGTH_AT + 4


def verify(database: Database, references: Sequence[InstanceReference], keep_going: Callable[[], bool]) -> dict[int, FailureReason] | None:
    """Check every instance.

    Args:
        database: The index is asked in short transactions, so that receiving goes on.
        references: What to check.
        keep_going: Asked between instances.

    Returns:
        Failure reasons by position; instances not named are on disk as they arrived. None if it was told to stop.

    Raises:
        StorageError: the database failed.
    """
    failures: dict[int, FailureReason] = {}
    for start in range(0, len(references), _CHUNK):
        chunk = references[start : start + _CHUNK]
        with database.transaction() as session:
            copies = commitments.indexed_copies(session, [r.sop_instance_uid for r in chunk])
        for position, reference in enumerate(chunk, start):
            if not keep_going():
                return None
            failure = check_instance(reference, copies.get(reference.sop_instance_uid, ()))
            if failure is not None:
                failures[position] = failure
    return failures


def check_instance(reference: InstanceReference, copies: Sequence[IndexedCopy]) -> FailureReason | None:
    """Say why an instance cannot be committed, or None.

    Args:
        reference: What the peer named.
        copies: What the index has under its SOP Instance UID; one unaltered file of the class suffices.
    """
    if not copies:
        return FailureReason.NO_SUCH_INSTANCE
    of_class = [copy for copy in copies if copy.sop_class_uid == reference.sop_class_uid]
    if not of_class:
        return FailureReason.CLASS_INSTANCE_CONFLICT
    failures = [_check_file(reference, copy) for copy in of_class]
    return None if None in failures else failures[0]


def data_set_sha256(path: Path) -> str:
    """Digest the data set of a Part 10 file, its file meta left out; reads block by block.

    Raises:
        OSError: the file is absent or cannot be read.
        ValueError: it is too short to be one.
    """
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as stream:
        head = stream.read(_META_BEGINS)
        if len(head) < _META_BEGINS:
            raise ValueError("no Part 10 file")
        stream.seek(_META_BEGINS + struct.unpack_from("<I", head, _GROUP_LENGTH_AT)[0])
        for block in _blocks(stream.readinto):
            digest.update(block)
    return digest.hexdigest()


def _blocks(readinto: Callable[[memoryview], int | None]) -> Iterator[memoryview]:
    view = memoryview(bytearray(_BLOCK_BYTES))
    while size := readinto(view):
        yield view[:size]


def _check_file(reference: InstanceReference, copy: IndexedCopy) -> FailureReason | None:
    log = get_logger()
    try:
        if data_set_sha256(copy.path) == copy.sha256:
            return None
    except FileNotFoundError:
        log.error("instance_missing_on_disk", sop_uid=reference.sop_instance_uid, file=str(copy.path))
        return FailureReason.NO_SUCH_INSTANCE
    except (OSError, ValueError) as error:
        log.error("instance_unreadable_on_disk", sop_uid=reference.sop_instance_uid, file=str(copy.path), error=type(error).__name__)
        return FailureReason.PROCESSING_FAILURE
    log.error("instance_altered_on_disk", sop_uid=reference.sop_instance_uid, file=str(copy.path))
    return FailureReason.PROCESSING_FAILURE
