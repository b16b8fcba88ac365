"""One running C-GET or C-MOVE: its sub-operations, their counts, and its end."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import Protocol, cast

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from dicom_node.domain.instances import AssociationPeer
from dicom_node.domain.sources import QuerySource
from dicom_node.errors import DataSetMismatchError, DicomNodeError, SourceError, SourceSilentError
from dicom_node.scp.door import InstanceKind
from dicom_node.scp.part_10_stream import DataSetSink
from dicom_node.scp.query_retrieve.attention import ArrivingDataSet
from dicom_node.scp.query_retrieve.retrieval import Progress, RefusedInstance, RetrieveResult, Watcher
from dicom_node.scp.query_retrieve.sources import silence
from dicom_node.scp.query_retrieve.statuses import CANCELLED, PENDING, refusal

MESSAGE_ID = 1
_SUCCESS = 0x0000
_WARNINGS = range(0xB000, 0xC000)
_MOST_REFUSALS = 100
_COMMENT_LENGTH = 64


class Entrance(Protocol):
    """Where arriving instances go: the door, as this module needs it."""

    def begin(self, origin: AssociationPeer, kind: InstanceKind, /) -> DataSetSink:
        """Open an instance."""


class Operation:
    """Answers the C-STOREs of a retrieval, counts, reports progress, and passes cancelling on."""

    def __init__(self, source: QuerySource, asked: str, watcher: Watcher) -> None:
        """Name the operation.

        Args:
            source: Where from.
            asked: The service, for messages.
            watcher: Looks on.
        """
        self._source = source
        self._asked = asked
        self._watcher = watcher
        self._association: Association | None = None
        self._model = ""
        self._kept = 0
        self._refused_count = 0
        self._refused: list[RefusedInstance] = []
        self._progress = Progress(None, 0, 0, 0)
        self._give_up_at: float | None = None

    def store(self, event: evt.Event) -> Dataset | int:
        """Answer a C-STORE with the door's status. The instance is durable when this returns 0000."""
        request = cast(C_STORE, event.request)
        try:
            if not isinstance(request.DataSet, ArrivingDataSet):
                raise DataSetMismatchError("data set did not come through this association", offending_tag=0)
            request.DataSet.finish()
        except DicomNodeError as error:
            return self._refuse(str(request.AffectedSOPInstanceUID), error)
        except Exception as error:  # noqa: BLE001 - the last door: pynetdicom would answer 0xC211, which says nothing
            return self._refuse(str(request.AffectedSOPInstanceUID), DicomNodeError(f"internal error ({type(error).__name__})"))
        self._kept += 1
        before = self._progress
        remaining = max(before.remaining - 1, 0) if before.remaining is not None else None
        self._report(Progress(remaining, self._kept, max(before.failed, self._refused_count), before.warning))
        self.tick()
        return _SUCCESS

    def tick(self) -> None:
        """Pass cancelling on; abort if the source goes on regardless for longer than its timeout."""
        association = self._association
        if association is None or not association.is_established:
            return
        if self._give_up_at is None:
            if self._watcher.cancelled():
                patience_s = self._watcher.patience_s
                self._give_up_at = monotonic() + (self._source.timeout_s if patience_s is None else patience_s)
                association.send_c_cancel(MESSAGE_ID, query_model=self._model)
        elif monotonic() > self._give_up_at:
            association.abort()

    def run(self, association: Association, model: str, responses: Iterable[tuple[Dataset, Dataset | None]]) -> RetrieveResult:
        """Follow an operation to its end.

        Raises:
            SourceError: silence, an ended association, or a failure status.
        """
        self._association, self._model = association, model
        for status, identifier in responses:
            if "Status" not in status:
                if self._give_up_at is not None:
                    return self._ended(Dataset(), CANCELLED, None)
                raise self._broken_off(association)
            if status.Status in PENDING:
                self._report(self._counted(status))
                self.tick()
                continue
            return self._final(status, identifier)
        raise self._broken_off(association)

    def _final(self, response: Dataset, identifier: Dataset | None) -> RetrieveResult:
        """Tell a result from a failure. A source whose every C-STORE we refused may answer A702: the reason is then ours."""
        status = int(response.Status)
        if status in (_SUCCESS, CANCELLED) or status in _WARNINGS or self._refused_count:
            return self._ended(response, status, identifier)
        raise refusal(self._source.name, self._asked, response, self._counted(response).completed)

    def _ended(self, response: Dataset, status: int, identifier: Dataset | None) -> RetrieveResult:
        counts = self._counted(response)
        self._report(counts)
        return RetrieveResult(
            status=status,
            completed=counts.completed,
            failed=counts.failed,
            warning=counts.warning,
            remaining=counts.remaining or 0,
            failed_sop_instance_uids=_failed_uids(identifier),
            refused=tuple(self._refused),
        )

    def _counted(self, response: Dataset) -> Progress:
        """Read a response's counts; each is optional, and what this node kept and refused it knows better. Source: PS3.7 9.3.3.2."""

        def number(keyword: str, before: int) -> int:
            value = response.get(f"NumberOf{keyword}Suboperations")
            return int(value) if value is not None else before

        before = self._progress
        is_final = "Status" in response and response.Status not in PENDING
        remaining = response.get("NumberOfRemainingSuboperations", 0 if is_final else before.remaining)
        return Progress(
            remaining if remaining is None else int(remaining),
            self._kept if self._asked == "C-GET" else number("Completed", before.completed),
            max(number("Failed", before.failed), self._refused_count),
            number("Warning", before.warning),
        )

    def _report(self, progress: Progress) -> None:
        if progress != self._progress:
            self._progress = progress
            self._watcher.progress(progress)

    def _refuse(self, sop_instance_uid: str, error: DicomNodeError) -> Dataset:
        self._refused_count += 1
        if len(self._refused) < _MOST_REFUSALS:
            self._refused.append(RefusedInstance(sop_instance_uid, error.dimse_status, str(error)))
        status = Dataset()
        status.Status = error.dimse_status
        status.ErrorComment = str(error)[:_COMMENT_LENGTH]
        if isinstance(error, DataSetMismatchError) and error.offending_tag:
            status.OffendingElement = error.offending_tag
        return status

    def _broken_off(self, association: Association) -> SourceError:
        error = silence(association, self._source, self._asked)
        known = self._progress
        of = f" of {known.completed + known.failed + known.warning + known.remaining}" if known.remaining is not None else ""
        return SourceSilentError(f"{error}; {known.completed}{of} instance(s) had come", hint=error.hint)


def _failed_uids(identifier: Dataset | None) -> tuple[str, ...]:
    value = identifier.get("FailedSOPInstanceUIDList") if identifier is not None else None
    if not value:
        return ()
    return tuple(str(uid) for uid in (value if isinstance(value, MultiValue | list) else [value]))
