"""What a retrieval is asked for, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydicom.dataset import Dataset

from dicom_node.errors import SourceError, SubOperationsFailedError
from dicom_node.scp.query_retrieve.query import QueryLevel
from dicom_node.scp.query_retrieve.statuses import CANCELLED

_MOST_UIDS = 900


@dataclass(frozen=True, slots=True)
class RetrieveRequest:
    """What to fetch: a study, some of its series, or some instances of one series.

    Attributes:
        sop_classes: What C-GET shall accept; empty asks the source what the study holds, and failing that takes the usual ones.
    """

    study_instance_uid: str
    series_instance_uids: tuple[str, ...] = ()
    sop_instance_uids: tuple[str, ...] = ()
    sop_classes: tuple[str, ...] = ()

    def identifier(self) -> Dataset:
        """Encode the request.

        Raises:
            SourceError: instances of not exactly one series, or too many UIDs for one request. Source: PS3.4 C.4.2.1.4, C.4.3.1.3.
        """
        if self.sop_instance_uids and len(self.series_instance_uids) != 1:
            raise SourceError("instances are fetched from exactly one series")
        most = max(len(self.series_instance_uids), len(self.sop_instance_uids))
        if most > _MOST_UIDS:
            raise SourceError(f"{most} UIDs in one request, {_MOST_UIDS} fit", hint="fetch in several requests")
        data_set = Dataset()
        data_set.StudyInstanceUID = self.study_instance_uid
        data_set.QueryRetrieveLevel = str(QueryLevel.STUDY)
        if self.series_instance_uids:
            data_set.QueryRetrieveLevel = str(QueryLevel.SERIES)
            data_set.SeriesInstanceUID = list(self.series_instance_uids)
        if self.sop_instance_uids:
            data_set.QueryRetrieveLevel = str(QueryLevel.IMAGE)
            data_set.SOPInstanceUID = list(self.sop_instance_uids)
        return data_set


@dataclass(frozen=True, slots=True)
class Progress:
    """Sub-operations so far; `remaining` is None while the source has not said it."""

    remaining: int | None
    completed: int
    failed: int
    warning: int


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who looks on.

    Attributes:
        progress: Called after each instance or response, on the calling thread; must not block.
        cancelled: Asked about ten times a second; once True the source is told to stop.
        patience_s: How long it may go on then before the connection is cut, seconds; None: its timeout.
    """

    progress: Callable[[Progress], None] = lambda _progress: None
    cancelled: Callable[[], bool] = lambda: False
    patience_s: float | None = None


@dataclass(frozen=True, slots=True)
class RefusedInstance:
    """An instance that this node did not take over C-GET, with the status that it answered."""

    sop_instance_uid: str
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class RetrieveResult:
    """How a retrieval ended.

    Attributes:
        status: Of the last response: 0000, B000 (some failed), FE00 (cancelled), or a failure that follows from what this node refused.
        completed: C-GET: instances durable on this node, by our own count. C-MOVE: as the source counts.
        failed: As the source counts, and at least what this node refused.
        failed_sop_instance_uids: As the source lists them; it may list none although some failed.
        refused: C-GET: what this node refused, at most the first 100.
    """

    status: int
    completed: int
    failed: int
    warning: int
    remaining: int
    failed_sop_instance_uids: tuple[str, ...]
    refused: tuple[RefusedInstance, ...]

    @property
    def is_cancelled(self) -> bool:
        """Whether it ended early because it was cancelled."""
        return self.status == CANCELLED

    def require_complete(self, source_name: str) -> None:
        """Raise unless everything came.

        Raises:
            SubOperationsFailedError: with the counts.
        """
        if self.is_cancelled or self.failed:
            what = f"cancelled, {self.remaining} not sent" if self.is_cancelled else f"{self.failed} instance(s) failed"
            reasons = ", ".join(sorted({f"{r.status:04X} {r.reason}" for r in self.refused}))
            raise SubOperationsFailedError(
                f"{source_name}: {what}, {self.completed + self.warning} came (status {self.status:04X})",
                completed=self.completed + self.warning,
                failed=self.failed,
                hint=f"this node refused some: {reasons}" if reasons else "look into the source's log",
            )
