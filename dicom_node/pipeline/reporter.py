"""Reports commitments over new associations, to peers whose own association is closed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import groupby

from dicom_node.config import Configuration
from dicom_node.delivery.commitment import report
from dicom_node.delivery.outcomes import Backoff
from dicom_node.domain.commitments import Commitment, CommitmentState
from dicom_node.errors import DeliveryError
from dicom_node.ops.logs import Logger, get_logger
from dicom_node.storage import Database, InstanceFiles, commitments
from dicom_node.storage.request_files import RequestFolders

NEW_ASSOCIATION = "new association"
OVERDUE_AFTER = timedelta(hours=1)
_GIVE_UP_AFTER = timedelta(days=7)
_PARALLEL_PEERS = 4
_WHILE_HELD = timedelta(seconds=1)


class Reporter:
    """Reports to each peer in a thread of its own, so that a silent one does not hold up the others.

    A result is left alone as long as a receiver holds the association that asked for it.
    """

    def __init__(self, configuration: Configuration, database: Database, files: InstanceFiles, wake: Callable[[], None]) -> None:
        """Start idle.

        Args:
            configuration: Addresses and back-off.
            database: State.
            files: Instance store.
            wake: Called when a peer is through, from its thread.
        """
        self._configuration = configuration
        self._database = database
        self._wake = wake
        self._folders = RequestFolders(files.data_dir)
        self._folders.prepare()
        self._busy: set[str] = set()
        self._held_until: datetime | None = None
        self._pool = ThreadPoolExecutor(_PARALLEL_PEERS, thread_name_prefix="report")
        self._log: Logger = get_logger()

    def reconfigure(self, configuration: Configuration) -> None:
        """Use new addresses from the next attempt on."""
        self._configuration = configuration

    def start_due(self, now: datetime) -> None:
        """Begin to report to every peer that is owed a result and not busy.

        Raises:
            StorageError: the database failed.
        """
        with self._database.transaction() as session:
            due = commitments.due(session, now)
        free = [c for c in due if not self._folders.reports.held(c.transaction_uid)]
        self._held_until = now + _WHILE_HELD if len(free) < len(due) else None
        for title, group in groupby(free, key=lambda c: c.peer.calling_ae_title):
            if title not in self._busy and len(self._busy) < _PARALLEL_PEERS:
                self._busy.add(title)
                future = self._pool.submit(self._report_all, list(group))
                future.add_done_callback(lambda done, title=title: self._through(title, done))  # type: ignore[misc]

    def next_due(self) -> datetime | None:
        """Say when something may be due; None as long as somebody is being told, who wakes at the end."""
        if self._busy:
            return None
        with self._database.transaction() as session:
            later = commitments.next_due_after(session, datetime.now(UTC))
        return min(filter(None, (later, self._held_until)), default=None)

    @property
    def busy(self) -> bool:
        """Whether somebody is being told now."""
        return bool(self._busy)

    def close(self) -> None:
        """Wait for the reports under way; what was not begun stays due."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _through(self, title: str, done: Future[None]) -> None:
        self._busy.discard(title)
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self._log.error("commitment_report_crashed", calling_ae=title, error=type(error).__name__)
        self._wake()

    def _report_all(self, due: Sequence[Commitment]) -> None:
        for position, commitment in enumerate(due):
            lock = self._folders.reports.lock(commitment.transaction_uid)
            if lock is None:
                continue
            try:
                self._report(commitment.transaction_uid)
            except DeliveryError as error:
                self._postpone(due[position:], str(error))
                return
            finally:
                lock.release()

    def _report(self, uid: str) -> None:
        """Report one result while its lock is held.

        Raises:
            DeliveryError: the peer cannot be reached.
            StorageError: the database failed.
        """
        if self._folders.reports.concluded(uid):  # asked before the database: what is recorded meanwhile is seen there
            return
        with self._database.transaction() as session:
            commitment = commitments.get(session, uid)
            result = commitments.result(session, uid)
        if commitment is None or commitment.state is not CommitmentState.VERIFIED:
            return
        title = commitment.peer.calling_ae_title
        peer = self._configuration.report_to.get(title)
        if peer is None:
            self._give_up(commitment, f"the association that asked is closed, and commitment.report_to names no address for {title}")
        elif datetime.now(UTC) - commitment.requested_at > _GIVE_UP_AFTER:
            self._give_up(commitment, f"given up after {_GIVE_UP_AFTER.days} days: {commitment.reason}")
        elif status := report(commitment.peer.called_ae_title, peer, result):
            self._postpone([commitment], f"{peer.name}: report answered {status:04X}")
        else:
            with self._database.transaction() as session:
                commitments.record_reported(session, uid, NEW_ASSOCIATION, datetime.now(UTC))
            self._folders.reports.forget(uid)
            self._log.info("commitment_reported", transaction=uid, by=NEW_ASSOCIATION, calling_ae=title)

    def _give_up(self, commitment: Commitment, reason: str) -> None:
        with self._database.transaction() as session:
            commitments.record_unreportable(session, commitment.transaction_uid, reason, datetime.now(UTC))
        self._folders.reports.forget(commitment.transaction_uid)
        self._log.error(
            "commitment_unreportable", transaction=commitment.transaction_uid, calling_ae=commitment.peer.calling_ae_title, reason=reason
        )

    def _postpone(self, unreported: Sequence[Commitment], reason: str) -> None:
        now, section = datetime.now(UTC), self._configuration.node.delivery
        attempt = min(c.attempt for c in unreported) + 1
        again = now + Backoff(section.retry_first, section.retry_factor, section.retry_max).delay(attempt)
        with self._database.transaction() as session:
            for commitment in unreported:
                commitments.record_attempt(session, commitment.transaction_uid, reason, again, now)
        self._log.warning(
            "commitment_report_postponed",
            transaction=unreported[0].transaction_uid,
            calling_ae=unreported[0].peer.calling_ae_title,
            reports=len(unreported),
            reason=reason,
            overdue=is_overdue(unreported[0], now),
            next_attempt=again.isoformat(timespec="seconds"),
        )


def is_overdue(commitment: Commitment, now: datetime) -> bool:
    """Say whether the peer has waited for its result for too long."""
    through = (CommitmentState.REPORTED, CommitmentState.UNREPORTABLE)
    return commitment.state not in through and now - commitment.requested_at > OVERDUE_AFTER
