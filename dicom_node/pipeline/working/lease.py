"""Keeping the lease of the job that a worker holds, and saying how far it is."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic

from dicom_node.domain.jobs import Job, JobStage
from dicom_node.errors import StorageError
from dicom_node.jobs import queue
from dicom_node.ops.logs import get_logger
from dicom_node.storage import Database

_PROGRESS_EVERY_S = 1.0


@dataclass(slots=True)
class _Held:
    job: Job
    beat_at_s: float
    stage: JobStage = JobStage.READING
    progress: float | None = None
    told: tuple[JobStage, float | None] = (JobStage.READING, None)
    told_at_s: float = float("-inf")


class LeaseKeeper:
    """A thread that writes for one job at a time, so that a busy database keeps nothing else waiting.

    A stage is written when it begins, its progress once a second at most.
    """

    def __init__(self, database: Database, lease: timedelta) -> None:
        """Start nothing yet."""
        self._database = database
        self._lease = lease
        self._held: _Held | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def hold(self, job: Job) -> None:
        """Keep the lease of a job that was claimed just now."""
        with self._changed:
            self._held = _Held(job, monotonic() + self._beat_s)
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
                self._thread.start()
            self._changed.notify()

    def let_go(self) -> None:
        """Keep no lease any more."""
        with self._changed:
            self._held = None

    def note(self, stage: JobStage, progress: float | None = None) -> None:
        """Say what the job does."""
        with self._changed:
            if self._held is not None:
                self._held.stage, self._held.progress = stage, progress
                self._changed.notify()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._held, self._closed = None, True
            self._changed.notify()

    @property
    def _beat_s(self) -> float:
        return self._lease.total_seconds() / 3

    def _keep(self) -> None:
        while True:
            with self._changed:
                while not self._closed and self._due_in_s() > 0:
                    self._changed.wait(self._due_in_s() if self._held else None)
                held = self._held
                if held is None:
                    return  # closed
                stage, progress, beat = held.stage, held.progress, monotonic() >= held.beat_at_s
                held.told, held.told_at_s = (stage, progress), monotonic()
                if beat:
                    held.beat_at_s = monotonic() + self._beat_s
            self._write(held.job, stage, progress, beat=beat)

    def _due_in_s(self) -> float:
        held, now = self._held, monotonic()
        if held is None:
            return float("inf")
        if held.stage != held.told[0]:
            return 0.0
        beat_in_s = held.beat_at_s - now
        return beat_in_s if held.progress == held.told[1] else min(beat_in_s, held.told_at_s + _PROGRESS_EVERY_S - now)

    def _write(self, job: Job, stage: JobStage, progress: float | None, *, beat: bool) -> None:
        try:
            with self._database.transaction() as session:
                queue.set_stage(session, job, stage, progress)
                if beat:
                    queue.heartbeat(session, job.id, job.lease_owner or "", datetime.now(UTC) + self._lease)
        except StorageError as error:
            get_logger().warning("heartbeat_failed", job=job.id, reason=str(error))
