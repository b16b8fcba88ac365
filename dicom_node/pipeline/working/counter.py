"""Where a worker gets its jobs: each call is one transaction."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from dicom_node.config import Configuration
from dicom_node.domain.jobs import Job
from dicom_node.jobs import ahead, queue
from dicom_node.storage import Database


class JobCounter:
    """Claims, and what comes before a claim, in one worker's name."""

    def __init__(self, worker: str, configuration: Configuration, database: Database, leave: frozenset[str] = frozenset()) -> None:
        """Take the order of jobs from the configuration, but for models that are left to other workers, by their digests."""
        self._worker = worker
        self._workers = configuration.workers
        self._order = replace(configuration.workers.to_queue_order(), leave=leave)
        self._database = database

    def recover(self) -> list[int]:
        """Take back what a dead worker of the same name held, and forget what it had begun; returns the jobs that it held."""
        with self._database.transaction() as session:
            ahead.release(session, self._worker)
            return queue.recover(session, _now(), owner=self._worker)

    def claim(self) -> Job | None:
        """Take the next job; None if none is due."""
        with self._database.reading() as session:  # most looks find nothing, and need not keep a writer waiting
            if ahead.next_job(session, None, _now(), self._order) is None:
                return None
        with self._database.transaction() as session:
            return queue.claim(session, self._worker, _now(), self._workers.lease, self._order)

    def claim_begun(self, job_id: int) -> Job | None:
        """Take a job that was begun; None if it was cancelled, or another worker has it."""
        with self._database.transaction() as session:
            return queue.claim_begun(session, self._worker, job_id, _now(), self._workers.lease)

    def next_job(self) -> Job | None:
        """Say which job comes next for this worker."""
        with self._database.reading() as session:
            return ahead.next_job(session, self._worker, _now(), self._order)

    def companions(self, job: Job, limit: int) -> list[Job]:
        """List jobs that may share an inference with this one."""
        with self._database.reading() as session:
            return ahead.companions_of(session, job, self._worker, _now(), limit)

    def reserve(self, job: Job) -> bool:
        """Say that a job is read ahead; False if it is not to be had."""
        with self._database.transaction() as session:
            return ahead.reserve(session, job.id, self._worker)

    def begin(self, job: Job) -> bool:
        """Say that the model is at a reserved job; False if it was taken meanwhile."""
        with self._database.transaction() as session:
            return ahead.begin(session, job.id, self._worker, _now() + ahead.BEGUN_FOR)

    def kept(self) -> set[int]:
        """List the jobs read ahead or begun that nobody has taken or cancelled."""
        with self._database.reading() as session:
            return ahead.kept(session, self._worker)

    def release(self, job: Job) -> None:
        """Give up a job that was read ahead or begun."""
        with self._database.transaction() as session:
            ahead.release(session, self._worker, job.id)

    def holds(self, job: Job) -> bool:
        """Say whether a claimed job still is this worker's."""
        with self._database.reading() as session:
            return queue.holds(session, job)


def _now() -> datetime:
    return datetime.now(UTC)
