"""What the rules decided about revisions, where it changes after the decision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlmodel import Session, col, select

from dicom_node.domain.routing import Outcome
from dicom_node.domain.studies import ClosedBecause, Study
from dicom_node.errors import StorageError
from dicom_node.storage import index
from dicom_node.storage.tables import RevisionRow, StudyRow


def frozen_study(session: Session, study_instance_uid: str, revision: int) -> Study:
    """Read a closed revision as the rules saw it.

    Raises:
        StorageError: it is not on record.
    """
    row = _row(session, study_instance_uid, revision)
    return index.load_study(session, study_instance_uid, revision, (row.closed_at, ClosedBecause(row.closed_because)))


def rules_digest(session: Session, study_instance_uid: str, revision: int) -> str:
    """Return the digest of the rules that decided on a revision.

    Raises:
        StorageError: it is not on record.
    """
    return _row(session, study_instance_uid, revision).rules_digest


def ran_before(session: Session, study_instance_uid: str, revision: int) -> dict[str, int]:
    """Return for each rule the last revision before this one that it ran on, or sent a result of."""
    statement = (
        select(RevisionRow)
        .join(StudyRow, col(StudyRow.id) == col(RevisionRow.study_id))
        .where(StudyRow.study_instance_uid == study_instance_uid, col(RevisionRow.revision) < revision)
        .order_by(col(RevisionRow.revision))
    )
    return {trace["rule"]: row.revision for row in session.exec(statement).all() for trace in row.traces if trace["outcome"] == Outcome.RUN}


def replace_trace(session: Session, study_instance_uid: str, revision: int, trace: Mapping[str, Any]) -> None:
    """Put a rule's trace in the place of its earlier one; what says that the rule ran stays, whatever another result came to.

    Args:
        session: Open transaction.
        study_instance_uid: The study.
        revision: A closed one.
        trace: A `RuleTrace` as a mapping.

    Raises:
        StorageError: the revision is not on record.
    """
    row = _row(session, study_instance_uid, revision)
    earlier = next((t for t in row.traces if t["rule"] == trace["rule"]), None)
    if earlier is None:
        row.traces = [*row.traces, dict(trace)]
    elif earlier["outcome"] != Outcome.RUN or trace["outcome"] == Outcome.RUN:
        row.traces = [dict(trace) if t is earlier else t for t in row.traces]


def _row(session: Session, study_instance_uid: str, revision: int) -> RevisionRow:
    statement = (
        select(RevisionRow)
        .join(StudyRow, col(StudyRow.id) == col(RevisionRow.study_id))
        .where(StudyRow.study_instance_uid == study_instance_uid, RevisionRow.revision == revision)
        .with_for_update(of=RevisionRow)
    )
    row = session.exec(statement).first()
    if row is None:
        raise StorageError(f"revision {revision} of study {study_instance_uid} is not on record")
    return row
