"""Asks destinations to confirm that they keep what they accepted, and takes their reports."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby

from pydicom.uid import generate_uid

from dicom_node.config import Configuration
from dicom_node.delivery.commitment_scu import Question, ask
from dicom_node.domain.commitments import InstanceReference
from dicom_node.domain.destinations import StorageScp
from dicom_node.domain.jobs import Delivery, DeliveryState
from dicom_node.domain.reports import CommitmentReport
from dicom_node.errors import DamagedFileError, DeliveryError, StorageError
from dicom_node.ops.logs import Logger, get_logger
from dicom_node.pipeline.report_ways import ReportWays
from dicom_node.pipeline.settling import resume, settle
from dicom_node.storage import Database, delivery_commitments
from dicom_node.storage.request_files import AnswerFolder, RequestFolders, load_report

HOLD_S = 5.0
SAME_ASSOCIATION = "same association"
NEW_ASSOCIATION = "new association"
_MARKS_KEPT = timedelta(days=30)


class Committing:
    """What the sender does about commitment. `ask_for` may run in many threads, one a destination."""

    def __init__(self, configuration: Configuration, database: Database) -> None:
        """Take what was left; reports that came meanwhile are taken by the next `take_reports`."""
        self._database = database
        folders = RequestFolders(configuration.data_dir)
        folders.prepare()
        self._answers: AnswerFolder = folders.answers
        self._answers.reports.forget_before(datetime.now(UTC) - _MARKS_KEPT)
        self._ways = ReportWays()
        self._under_way: set[str] = set()
        self._log: Logger = get_logger()

    def take_reports(self) -> None:
        """Record the reports that receivers took, and what has to be asked for again.

        Raises:
            StorageError: the database failed; nothing is lost.
        """
        for path in self._answers.reports.pending():
            try:
                self._apply(load_report(path), NEW_ASSOCIATION)
            except DamagedFileError as error:
                self._log.error("request_unreadable", file=path.name, reason=str(error))
            self._answers.reports.take(path)
        for uid in self._answers.being_asked():
            if uid not in self._under_way and self._answers.is_being_asked(uid):  # in this order: a thread ends meanwhile
                self._ask_again(uid)

    def ask_for(self, calling_ae_title: str, destination: StorageScp, sent: Sequence[Delivery], again: datetime) -> None:
        """Ask for the commitment of what a destination accepted, one request a study.

        Args:
            calling_ae_title: Ours.
            destination: Whom to ask.
            sent: Of this destination, by study.
            again: When a request that fails is repeated.

        Raises:
            DeliveryError: the destination cannot be asked; it is written on the deliveries.
        """
        for _, group in groupby(sent, key=lambda d: d.study_instance_uid):
            uid = str(generate_uid(prefix=None))
            self._under_way.add(uid)
            try:
                self._ask(calling_ae_title, destination, list(group), uid, again)
            finally:
                self._under_way.discard(uid)

    def _ask(self, calling_ae_title: str, destination: StorageScp, items: Sequence[Delivery], uid: str, again: datetime) -> None:
        ids = [d.id for d in items]
        self._answers.expect(uid)
        with self._database.transaction() as session:
            delivery_commitments.record_asked(session, ids, uid, datetime.now(UTC))
        references = [InstanceReference(d.result.sop_class_uid, d.result.sop_instance_uid) for d in items]
        hold_s = HOLD_S if self._ways.may_report_at_once(destination) else 0.0
        try:
            ask(calling_ae_title, destination, Question(uid, references, hold_s), self._take)
        except DeliveryError as error:
            with self._database.transaction() as session:
                delivery_commitments.record_not_asked(session, ids, str(error), again, datetime.now(UTC))
            self._answers.forget(uid)
            self._log.warning("commitment_not_asked", destination=destination.name, objects=len(ids), reason=str(error))
            raise
        self._answers.note_asked(uid)
        self._log.info("commitment_asked", destination=destination.name, transaction=uid, objects=len(ids))

    def _take(self, report: CommitmentReport) -> bool:
        """Record a report before it is answered; one that cannot be recorded is answered as failed, and comes again."""
        if not self._answers.expects(report.transaction_uid):
            return False
        try:
            self._apply(report, SAME_ASSOCIATION)
        except StorageError as error:
            self._log.error("commitment_report_failed", transaction=report.transaction_uid, reason=str(error))
            return False
        return True

    def _ask_again(self, uid: str) -> None:
        """Let go of a transaction that nobody knows to be asked for; its report, if it was, is taken and changes nothing."""
        with self._database.transaction() as session:
            objects = delivery_commitments.record_interrupted(session, uid, datetime.now(UTC))
        if objects:
            self._answers.note_asked(uid)
        else:
            self._answers.forget(uid)
        self._log.warning("commitment_interrupted", transaction=uid, objects=objects)

    def _apply(self, report: CommitmentReport, by: str) -> None:
        now = datetime.now(UTC)
        with self._database.transaction() as session:
            applied = delivery_commitments.apply(session, report, by, now)
            for job_id in applied.jobs:
                if applied.again or applied.refused:
                    resume(session, job_id, "a destination did not keep what it had accepted", now)
                settle(session, job_id, now)
        self._answers.forget(report.transaction_uid)
        for name in applied.destinations:
            self._ways.reported(name, at_once=by == SAME_ASSOCIATION)
        counts = {"committed": applied.committed, "sent_again": applied.again, "refused": applied.refused}
        log = self._log.info if not applied.again and not applied.refused else self._log.warning
        log("commitment_report_taken", transaction=report.transaction_uid, by=by, **counts)


def is_overdue(delivery: Delivery, now: datetime, overdue_after: timedelta) -> bool:
    """Say whether a destination was asked to commit an object, and has not reported for too long."""
    asked = delivery.commit_asked_at
    return delivery.state is DeliveryState.SENT and asked is not None and now - asked > overdue_after
