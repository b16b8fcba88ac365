"""From acknowledged requests to verified commitments; availability notices go the same way into the database."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dicom_node.domain.commitments import Commitment, CommitmentState
from dicom_node.errors import DamagedFileError
from dicom_node.ops.logs import Logger, get_logger
from dicom_node.pipeline.turns import take_turn
from dicom_node.pipeline.verification import verify
from dicom_node.storage import Database, InstanceFiles, availability, commitments
from dicom_node.storage.request_files import ReportOutcome, RequestFolders, dump_result, load_notice, load_outcome, load_request
from dicom_node.storage.spool import Spool

SAME_ASSOCIATION = "same association"
_LONGEST_WAIT_S = 2.0
_BACKLOG_WAIT_S = 0.05
_MARKS_KEPT = timedelta(days=30)
_FORGET_EVERY = timedelta(days=1)


class Commitments:
    """Takes requests into the database, verifies them, and hands the results to whoever reports them.

    All state lies in the database and in files; a new object goes on where a killed one stopped.
    """

    def __init__(self, database: Database, files: InstanceFiles, verified: Callable[[], None]) -> None:
        """Take up what waits.

        Args:
            database: State.
            files: Instance store.
            verified: Called when a result is ready to be reported.
        """
        self._database = database
        self._files = files
        self._verified = verified
        self._folders = RequestFolders(files.data_dir)
        self._folders.prepare()
        self._backlog: dict[str, set[str]] = {}
        self._forget_at = datetime.now(UTC)
        self._log: Logger = get_logger()

    def has_news(self) -> bool:
        """Say cheaply whether a receiver left something; the database is not asked."""
        folders = self._folders
        return not folders.commitments.is_empty() or not folders.notices.is_empty() or bool(folders.reports.outcomes())

    def turn(self, keep_going: Callable[[], bool]) -> float:
        """Do what can be done now; returns after how many seconds to look again.

        Raises:
            StorageError: disk or database failed; nothing is lost.
        """
        self._take(self._folders.commitments, self._take_request)
        self._take(self._folders.notices, self._take_notice)
        self._record_outcomes()
        waiting = self._verify_all(keep_going)
        self._offer_answers()
        now = datetime.now(UTC)
        if now >= self._forget_at:
            self._forget_at = now + _FORGET_EVERY
            for spool in (self._folders.commitments, self._folders.notices):
                spool.forget_before(now - _MARKS_KEPT)
        return _BACKLOG_WAIT_S if waiting else _LONGEST_WAIT_S

    def _take(self, spool: Spool, into_database: Callable[[Path], None]) -> None:
        for path in spool.pending():
            try:
                into_database(path)
            except DamagedFileError as error:
                self._log.error("request_unreadable", file=path.name, reason=str(error))
            spool.take(path)

    def _take_request(self, path: Path) -> None:
        request = load_request(path)
        with self._database.transaction() as session:
            new = commitments.record_request(session, request, datetime.now(UTC))
        if not new:
            self._log.warning("commitment_known", transaction=request.transaction_uid, calling_ae=request.peer.calling_ae_title)

    def _take_notice(self, path: Path) -> None:
        notice = load_notice(path)
        with self._database.transaction() as session:
            availability.record_notice(session, notice)

    def _record_outcomes(self) -> None:
        """Record what came of reports over the associations that asked; their receivers have no database."""
        for path in self._folders.reports.outcomes():
            now = datetime.now(UTC)
            try:
                outcome = load_outcome(path)
            except DamagedFileError as error:
                outcome = ReportOutcome(reported=False, at=now, reason=str(error))
            with self._database.transaction() as session:
                if outcome.reported:
                    commitments.record_reported(session, path.name, SAME_ASSOCIATION, outcome.at)
                else:
                    commitments.record_attempt(session, path.name, outcome.reason, now, now)
            path.unlink()
            if outcome.reported:
                self._folders.reports.forget(path.name)
                self._log.info("commitment_reported", transaction=path.name, by=SAME_ASSOCIATION)
            else:
                self._log.warning("commitment_report_postponed", transaction=path.name, reason=outcome.reason)
                self._verified()

    def _verify_all(self, keep_going: Callable[[], bool]) -> bool:
        """Verify what is ready; True if a request waits for the index."""
        with self._database.transaction() as session:
            requested = commitments.in_state(session, CommitmentState.REQUESTED)
        waiting = False
        for commitment in requested:
            if not keep_going():
                break
            pending = {path.name for path in self._files.pending()}
            if self._is_behind(commitment.transaction_uid, pending):
                waiting = True
            else:
                self._verify(commitment, keep_going)
        return waiting

    def _is_behind(self, transaction_uid: str, pending: set[str]) -> bool:
        """Say whether something that was acknowledged before the request was first seen here is not indexed yet."""
        backlog = self._backlog.setdefault(transaction_uid, set(pending))
        backlog &= pending
        if not backlog:
            del self._backlog[transaction_uid]
        return bool(backlog)

    def _verify(self, commitment: Commitment, keep_going: Callable[[], bool]) -> None:
        uid = commitment.transaction_uid
        with self._database.transaction() as session:
            references = commitments.references(session, uid)
        failures = verify(self._database, references, keep_going)
        if failures is None:
            return
        now = datetime.now(UTC)
        with self._database.transaction() as session:
            commitments.record_verification(session, uid, failures, now)
        took_s = round((now - commitment.requested_at).total_seconds(), 2)
        self._log.info("commitment_verified", transaction=uid, instances=len(references), failed=len(failures), took_s=took_s)
        self._offer_answers()
        self._verified()

    def _offer_answers(self) -> None:
        """Hand results to receivers that hold the association that asked; repeated, as a killed pipeline may have missed one."""
        with self._database.transaction() as session:
            verified = [c.transaction_uid for c in commitments.in_state(session, CommitmentState.VERIFIED)]
        reports = self._folders.reports
        for uid in verified:
            if reports.held(uid) and not reports.offered(uid) and not reports.concluded(uid):
                with self._database.transaction() as session:
                    answer = commitments.result(session, uid)
                reports.offer(uid, dump_result(answer))


class CommitmentThread:
    """Runs `Commitments` beside the indexing of instances."""

    def __init__(self, work: Commitments) -> None:
        """Start."""
        self._work = work
        self._look = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="commitments", daemon=True)
        self._thread.start()

    def look(self) -> None:
        """Look for work now if there is any; the indexing of instances asks often."""
        if self._work.has_news():
            self._look.set()

    def stop(self) -> None:
        """End after the instance under way; what is not verified yet is verified again later."""
        self._stopping.set()
        self._look.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._look.wait(take_turn(lambda: self._work.turn(lambda: not self._stopping.is_set())))
            self._look.clear()
