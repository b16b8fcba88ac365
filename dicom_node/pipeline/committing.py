"""Asks destinations to confirm that they keep what they accepted, and takes their reports."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby

from pydicom.uid import generate_uid

from dicom_node.config import Configuration
from dicom_node.delivery.commitment_scu import ask
from dicom_node.domain.commitments import InstanceReference
from dicom_node.domain.destinations import StorageScp
from dicom_node.domain.jobs import Delivery, DeliveryState
from dicom_node.domain.reports import CommitmentReport
from dicom_node.errors import DamagedFileError, DeliveryError
from dicom_node.ops.logs import Logger, get_logger
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
        self._log: Logger = get_logger()

    def take_reports(self) -> None:
        """Record the reports that receivers took.

        Raises:
            StorageError: the database failed; nothing is lost.
        """
        for path in self._answers.reports.pending():
            try:
                self._apply(load_report(path), NEW_ASSOCIATION)
            except DamagedFileError as error:
                self._log.error("request_unreadable", file=path.name, reason=str(error))
            self._answers.reports.take(path)

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
            items = list(group)
            ids, uid = [d.id for d in items], str(generate_uid(prefix=None))
            self._answers.expect(uid)
            with self._database.transaction() as session:
                delivery_commitments.record_asked(session, ids, uid, datetime.now(UTC))
            references = [InstanceReference(d.result.sop_class_uid, d.result.sop_instance_uid) for d in items]
            try:
                report = ask(calling_ae_title, destination, uid, references, HOLD_S)
            except DeliveryError as error:
                self._answers.forget(uid)
                with self._database.transaction() as session:
                    delivery_commitments.record_not_asked(session, ids, str(error), again, datetime.now(UTC))
                self._log.warning("commitment_not_asked", destination=destination.name, objects=len(ids), reason=str(error))
                raise
            self._log.info("commitment_asked", destination=destination.name, transaction=uid, objects=len(ids))
            if report is not None:
                self._apply(report, SAME_ASSOCIATION)

    def _apply(self, report: CommitmentReport, by: str) -> None:
        now = datetime.now(UTC)
        with self._database.transaction() as session:
            applied = delivery_commitments.apply(session, report, by, now)
            for job_id in applied.jobs:
                if applied.again or applied.refused:
                    resume(session, job_id, "a destination did not keep what it had accepted", now)
                settle(session, job_id, now)
        self._answers.forget(report.transaction_uid)
        counts = {"committed": applied.committed, "sent_again": applied.again, "refused": applied.refused}
        log = self._log.info if not applied.again and not applied.refused else self._log.warning
        log("commitment_report_taken", transaction=report.transaction_uid, by=by, **counts)


def is_overdue(delivery: Delivery, now: datetime, overdue_after: timedelta) -> bool:
    """Say whether a destination was asked to commit an object, and has not reported for too long."""
    asked = delivery.commit_asked_at
    return delivery.state is DeliveryState.SENT and asked is not None and now - asked > overdue_after
