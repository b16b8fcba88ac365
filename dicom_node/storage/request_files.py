"""Commitment requests, their results and availability notices as JSON in files; UIDs, titles and addresses, no patient data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from dicom_node.domain.availability import Availability, AvailabilityNotice, AvailableInstance
from dicom_node.domain.commitments import CommitmentRequest, CommitmentResult, FailureReason, InstanceReference
from dicom_node.domain.instances import AssociationPeer
from dicom_node.domain.reports import CommitmentReport
from dicom_node.errors import DamagedFileError
from dicom_node.storage.files import write_durably
from dicom_node.storage.report_files import ReportFiles
from dicom_node.storage.spool import Spool


class RequestFolders:
    """Where DIMSE-N requests wait: `commitment/`, `availability/` and `commitment-reports/` below data_dir."""

    def __init__(self, data_dir: Path) -> None:
        """Name the folders; `prepare` creates them."""
        self.commitments = Spool(data_dir / "commitment")
        self.reports = ReportFiles(data_dir / "commitment")
        self.notices = Spool(data_dir / "availability")
        self.answers = AnswerFolder(data_dir / "commitment-reports")

    def prepare(self) -> None:
        """Create the folders.

        Raises:
            StorageError: data_dir is not writable.
        """
        self.commitments.prepare()
        self.reports.prepare()
        self.notices.prepare()
        self.answers.prepare()


class AnswerFolder:
    """Reports about commitments that this node asked for, from the receivers that take them to the sender that asked.

    A receiver takes only what is in `asked/`, by Transaction UID. What is in `asking/` as well is being asked for, or was when the
    sender ended.
    """

    def __init__(self, folder: Path) -> None:
        """Name the folders; `prepare` creates them."""
        self.reports = Spool(folder)
        self._asked = folder / "asked"
        self._asking = folder / "asking"

    def prepare(self) -> None:
        """Create the folders.

        Raises:
            StorageError: data_dir is not writable.
        """
        self.reports.prepare()
        for folder in (self._asked, self._asking):
            folder.mkdir(mode=0o700, exist_ok=True)

    def expect(self, transaction_uid: str) -> None:
        """Let receivers take the report of a transaction, and note durably that it is being asked for; before it is.

        Raises:
            StorageError: disk full or broken.
        """
        for folder in (self._asking, self._asked):
            write_durably(folder / transaction_uid, (), partial=folder / f".{transaction_uid}")

    def note_asked(self, transaction_uid: str) -> None:
        """Note that a transaction was asked for: the destination has answered."""
        (self._asking / transaction_uid).unlink(missing_ok=True)

    def being_asked(self) -> list[str]:
        """List the transactions of which nobody noted that they were asked for."""
        return sorted(path.name for path in self._asking.iterdir() if not path.name.startswith("."))

    def is_being_asked(self, transaction_uid: str) -> bool:
        """Say whether nobody noted yet that a transaction was asked for."""
        return (self._asking / transaction_uid).exists()

    def expects(self, transaction_uid: str) -> bool:
        """Say whether this node asked for a transaction and has no report yet."""
        return (self._asked / transaction_uid).exists()

    def forget(self, transaction_uid: str) -> None:
        """Take no report of a transaction any more."""
        for folder in (self._asked, self._asking):
            (folder / transaction_uid).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class ReportOutcome:
    """What came of a report over the association that asked.

    Attributes:
        reported: The peer answered with success.
    """

    reported: bool
    at: datetime
    reason: str


def dump_request(request: CommitmentRequest) -> str:
    """Write a commitment request."""
    return json.dumps(
        {
            "transaction_uid": request.transaction_uid,
            "peer": asdict(request.peer),
            "requested_at": request.requested_at.isoformat(),
            "references": [[r.sop_class_uid, r.sop_instance_uid] for r in request.references],
        }
    )


def load_request(path: Path) -> CommitmentRequest:
    """Read a commitment request.

    Raises:
        DamagedFileError: the file is damaged.
    """
    content = _content(path.read_bytes(), path.name)
    try:
        return CommitmentRequest(
            content["transaction_uid"],
            AssociationPeer(**content["peer"]),
            datetime.fromisoformat(content["requested_at"]),
            tuple(InstanceReference(*pair) for pair in content["references"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path.name) from error


def dump_result(result: CommitmentResult) -> str:
    """Write a result."""
    return json.dumps(
        {
            "transaction_uid": result.transaction_uid,
            "committed": [[r.sop_class_uid, r.sop_instance_uid] for r in result.committed],
            "failed": [[r.sop_class_uid, r.sop_instance_uid, int(reason)] for r, reason in result.failed],
        }
    )


def load_result(text: str) -> CommitmentResult:
    """Read a result.

    Raises:
        DamagedFileError: it is damaged.
    """
    content = _content(text.encode(), "answer")
    try:
        return CommitmentResult(
            content["transaction_uid"],
            tuple(InstanceReference(*pair) for pair in content["committed"]),
            tuple((InstanceReference(sop_class, uid), FailureReason(reason)) for sop_class, uid, reason in content["failed"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged("answer") from error


def dump_report(report: CommitmentReport) -> str:
    """Write a report."""
    return json.dumps({"transaction_uid": report.transaction_uid, "committed": sorted(report.committed), "failed": dict(report.failed)})


def load_report(path: Path) -> CommitmentReport:
    """Read a report.

    Raises:
        DamagedFileError: the file is damaged.
    """
    content = _content(path.read_bytes(), path.name)
    try:
        failed = {str(uid): int(reason) for uid, reason in content["failed"].items()}
        return CommitmentReport(content["transaction_uid"], frozenset(content["committed"]), failed)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path.name) from error


def dump_outcome(outcome: ReportOutcome) -> str:
    """Write an outcome."""
    return json.dumps({"reported": outcome.reported, "at": outcome.at.isoformat(), "reason": outcome.reason})


def load_outcome(path: Path) -> ReportOutcome:
    """Read an outcome.

    Raises:
        DamagedFileError: the file is damaged.
    """
    content = _content(path.read_bytes(), path.name)
    try:
        return ReportOutcome(bool(content["reported"]), datetime.fromisoformat(content["at"]), str(content["reason"]))
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path.name) from error


def dump_notice(notice: AvailabilityNotice) -> str:
    """Write an availability notice."""
    return json.dumps(
        {
            "sop_instance_uid": notice.sop_instance_uid,
            "peer": asdict(notice.peer),
            "received_at": notice.received_at.isoformat(),
            "study_instance_uid": notice.study_instance_uid,
            "instances": [asdict(instance) for instance in notice.instances],
        }
    )


def load_notice(path: Path) -> AvailabilityNotice:
    """Read an availability notice.

    Raises:
        DamagedFileError: the file is damaged.
    """
    content = _content(path.read_bytes(), path.name)
    try:
        instances = [AvailableInstance(**{**i, "availability": Availability(i["availability"])}) for i in content["instances"]]
        return AvailabilityNotice(
            content["sop_instance_uid"],
            AssociationPeer(**content["peer"]),
            datetime.fromisoformat(content["received_at"]),
            content["study_instance_uid"],
            tuple(instances),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path.name) from error


def _content(raw: bytes, name: str) -> dict[str, Any]:
    try:
        content = json.loads(raw)
    except ValueError as error:
        raise _damaged(name) from error
    if not isinstance(content, dict):
        raise _damaged(name)
    return content


def _damaged(name: str) -> DamagedFileError:
    return DamagedFileError(f"request file {name} is damaged", hint="check the disk of data_dir; the peer will ask again")
