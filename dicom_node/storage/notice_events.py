"""What happened and is still to be told, in the transactions of the changes themselves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, col, delete, func, select

from dicom_node.domain.rules import RuleEvent
from dicom_node.storage.notice_tables import NoticeEventRow


def note(session: Session, kind: RuleEvent, job_id: int, now: datetime, delivery_id: int | None = None) -> None:
    """Note a result, or a failure of a job or of one of its deliveries."""
    session.add(NoticeEventRow(kind=kind, at=now, job_id=job_id, delivery_id=delivery_id))


def withdraw(session: Session, delivery_id: int) -> None:
    """Take back a failure of a delivery that nobody was told of: another object goes instead, or a person retried it."""
    session.exec(delete(NoticeEventRow).where(col(NoticeEventRow.delivery_id) == delivery_id))


def pending(session: Session, kind: RuleEvent, limit: int) -> Sequence[NoticeEventRow]:
    """List the oldest results or failures."""
    return session.exec(select(NoticeEventRow).where(NoticeEventRow.kind == kind).order_by(col(NoticeEventRow.id)).limit(limit)).all()


def oldest(session: Session, kind: RuleEvent) -> datetime | None:
    """Say since when something waits to be told; None if nothing does."""
    return session.exec(select(func.min(NoticeEventRow.at)).where(NoticeEventRow.kind == kind)).one()


def remove(session: Session, rows: Sequence[NoticeEventRow]) -> None:
    """Forget what notices were written about."""
    for row in rows:
        session.delete(row)
