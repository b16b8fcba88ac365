"""The accelerator of one association: what it may serve, what came of it, and how the Python path goes on where it stopped.

It stores plain instances by itself, within the limits given here: for a moment, and while free space counts as known. Everything else,
and every refusal, is the Python path's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import IntEnum
from time import monotonic, perf_counter
from typing import Final, NamedTuple, cast

from dicom_node.domain.durability import Durability
from dicom_node.domain.uids import is_safe_uid
from dicom_node.errors import OutOfResourcesError, StorageError
from dicom_node.ops.file_meta import DEFLATED
from dicom_node.ops.pdata import Fragment
from dicom_node.scp.accelerator import accelerator
from dicom_node.scp.command_set import StoreRequest
from dicom_node.scp.demultiplex import Demultiplexer
from dicom_node.scp.door import BegunInstance, InstanceKind, meta_around_instance
from dicom_node.scp.haste import Haste
from dicom_node.scp.header_scan import EXPLICIT_BIG_ENDIAN, IDENTIFYING, IMPLICIT_LITTLE_ENDIAN
from dicom_node.scp.metrics import of_peer
from dicom_node.scp.store_service import StoreService
from dicom_node.storage.commit import GroupSync
from dicom_node.storage.instance_writer import BegunFile, storage_error

_TURN_S: Final = 0.02
"""Longest time between two looks at metrics, free space and what our own side wants, while instances keep coming."""
_DURABILITIES: Final[Mapping[Durability, int]] = {Durability.NONE: 0, Durability.STRICT: 1, Durability.GROUP: 2}
_LAST = 0x02


class Why(IntEnum):
    """Why a run ended; the numbers of _pump.c."""

    NOTHING_CAME = 0
    TIME_IS_OVER = 1
    NOT_PLAIN = 2
    PEER_LEFT = 3
    FOLDER_SYNC_OWED = 4
    CREATE_FAILED = 5
    WRITE_FAILED = 6
    COMMIT_FAILED = 7


_FAILURES: Final = frozenset({Why.CREATE_FAILED, Why.WRITE_FAILED, Why.COMMIT_FAILED})


class Run(NamedTuple):
    """What came of one run.

    Attributes:
        head: Where in the buffer the bytes begin that were not taken.
        tail: Where they end.
        received_bytes: Since the stream was at rest, or since the run began.
        rested: Whether the stream stood between two messages with nothing left over.
        by_hand: The Python path goes on, with what is in the buffer first.
        ended: The peer has left.
        idle: Nothing at all came in time.
        response: To be sent.
    """

    head: int
    tail: int
    received_bytes: int = 0
    rested: bool = False
    by_hand: bool = False
    ended: bool = False
    idle: bool = False
    response: bytes = b""


class InstancePump:
    """Stores the plain instances of one association."""

    def __init__(self, buffer: memoryview, service: StoreService, demultiplexer: Demultiplexer) -> None:
        """Begin between two messages.

        Args:
            buffer: The association's.
            service: Goes on with, and answers, what the accelerator does not.
            demultiplexer: Stands between two messages while the accelerator serves; goes on where it stops.

        Raises:
            ValueError: the accelerator is not to be used; see `accelerator`.
        """
        made = accelerator().pump
        if made is None:
            raise ValueError("the accelerator is not there")
        self._service, self._demultiplexer, self._door = service, demultiplexer, service.door
        self._metrics = of_peer(service.client.origin.calling_ae_title)
        self._pump = made(
            buffer,
            _served_contexts(service),
            self._door.commit.folder,
            _DURABILITIES[self._door.settings.durability],
            self._door.unique_name(),
            self._door.narrower(service.client.limits.max_instance_bytes),
        )
        self.within_instance = False

    def run(self, connection: int, head: int, tail: int, haste: Haste, longest_wait_us: int) -> Run:
        """Receive and store for a moment.

        Args:
            connection: Descriptor of a socket whose receive time-out is `longest_wait_us`.
            head: Where in the buffer the bytes begin that nobody has taken.
            tail: Where they end.
            haste: What is known of the peer's need for acknowledgements.
            longest_wait_us: Microseconds; 0 never waits.
        """
        try:
            self._door.space.check()
        except (OutOfResourcesError, StorageError):
            self.hand_over()  # to the path that looks again, and refuses
            return Run(head, tail, by_hand=True)
        visit = self._service.client.visit
        self._pump.serve_study(visit.noted() if visit is not None else None)
        until = min(monotonic() + _TURN_S, self._door.space.known_until)
        code, head, tail, failed, received, rested, self.within_instance, stalled_s, size, durable_after_s = self._pump.run(
            connection, head, tail, longest_wait_us, haste.needed, until
        )
        haste.waited(stalled_s)
        why, response, by_hand = Why(code), b"", False
        if why is Why.FOLDER_SYNC_OWED:
            response, size, durable_after_s = self._share_folder_sync(size, durable_after_s)
            by_hand = not durable_after_s
        elif why is Why.NOT_PLAIN or why in _FAILURES:
            self.hand_over(_error(failed) if why in _FAILURES else None)
            response, by_hand = self._service.end() if why is Why.COMMIT_FAILED else b"", True
        if durable_after_s:
            self._metrics.stored_several(size, durable_after_s)
            self._door.kept()
        idle = why is Why.NOTHING_CAME and not received and not durable_after_s
        return Run(head, tail, received, rested, by_hand, why is Why.PEER_LEFT, idle, response)

    def hand_over(self, failure: OSError | None = None) -> None:
        """Have the Python path go on where the accelerator stopped; harmless when it stands between two messages.

        Args:
            failure: Of the file of the instance under way, which will be refused.
        """
        begun, control, pdu_left, pdv_left = self._pump.hand_over()
        self.within_instance = False
        context_id = 0
        if begun is not None:
            context_id, message_id, uid, study, series, unique, descriptor, size, file_size, written_out = begun
            uids = (self._service.contexts[context_id][0], *(part.decode("ascii") for part in (uid, study, series)))
            file = BegunFile(unique, descriptor, file_size, written_out)
            self._hand_over_instance(context_id, message_id, BegunInstance(file, dict(zip(IDENTIFYING, uids, strict=True)), size))
            if failure is not None:
                self._refuse(failure)
        storing = begun is not None and (pdv_left >= 0 or not control & _LAST)
        fragment = Fragment(context_id, is_command=False, ends=bool(control & _LAST), data=memoryview(b""))
        self._demultiplexer.resume(fragment, pdu_left, pdv_left, storing=storing)

    def discard(self) -> None:
        """Throw the instance under way away; nothing is stored afterwards. From any thread, harmless when done before."""
        self._pump.discard()
        self.within_instance = False

    def _hand_over_instance(self, context_id: int, message_id: int, begun: BegunInstance) -> None:
        sop_class_uid, transfer_syntax_uid = self._service.contexts[context_id]
        kind = InstanceKind(sop_class_uid, begun.found[IDENTIFYING[1]], transfer_syntax_uid)
        incoming = self._door.resume(begun, self._service.client, kind) if begun.file.descriptor >= 0 else None
        self._service.resume(StoreRequest(context_id, message_id, sop_class_uid, kind.sop_instance_uid, has_data_set=True), incoming)

    def _refuse(self, failure: OSError) -> None:
        try:
            with self._door.space:
                raise storage_error(failure)
        except StorageError as error:
            self._service.refuse(error)

    def _share_folder_sync(self, size: int, durable_after_s: tuple[float, ...]) -> tuple[bytes, int, tuple[float, ...]]:
        """Do the last step of `group`, for one instance; returns the response, and size and times of what was kept."""
        begin = perf_counter()
        try:
            cast(GroupSync, self._door.commit).sync_folder_with_others()
        except OSError as error:
            self.hand_over(error)
            return self._service.end(), 0, ()
        self.within_instance = False
        return self._pump.answer(), size, (durable_after_s[0] + perf_counter() - begin,)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _served_contexts(service: StoreService) -> tuple[tuple[int, bytes, bool, bytes, bytes], ...]:
    """List the contexts whose data sets the accelerator can look into."""
    served = []
    for context_id, (sop_class_uid, transfer_syntax_uid) in service.contexts.items():
        if transfer_syntax_uid in DEFLATED or transfer_syntax_uid == EXPLICIT_BIG_ENDIAN or not is_safe_uid(sop_class_uid):
            continue
        around = meta_around_instance(service.client.origin, sop_class_uid, transfer_syntax_uid)
        served.append((context_id, sop_class_uid.encode("ascii"), transfer_syntax_uid == IMPLICIT_LITTLE_ENDIAN, *around))
    return tuple(served)
