"""Notices: what is owed to whom, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

from sqlmodel import Session, col, delete, func, select

from dicom_node.domain.notice_facts import NoticeFacts
from dicom_node.domain.notices import Notice, NoticeAttempt, NoticeEvent, NoticeState
from dicom_node.errors import StorageError
from dicom_node.storage.notice_tables import NoticeAttemptRow, NoticeRow


@dataclass(frozen=True, slots=True)
class Attempted:
    """What one attempt changes on a notice.

    Attributes:
        next_attempt_at: Read only while it stays OWED.
        taken: Addresses that took it in this attempt.
        refused: Addresses that were refused for good, with what was said.
    """

    state: NoticeState
    reason: str
    next_attempt_at: datetime
    taken: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


def owe(session: Session, receivers: Sequence[str], event: NoticeEvent, facts: NoticeFacts, now: datetime) -> int:
    """Owe each receiver a notice once; returns how many."""
    names = list(dict.fromkeys(receivers))
    for name in names:
        session.add(
            NoticeRow(
                uuid=str(uuid4()),
                receiver=name,
                event=event,
                job_id=facts.jobs[0].job if facts.jobs else None,
                facts=facts.as_json(),
                state=NoticeState.OWED,
                created_at=now,
                owed_at=now,
                next_attempt_at=now,
            )
        )
    return len(names)


def due(session: Session, now: datetime) -> list[Notice]:
    """List the notices whose time has come, oldest first."""
    statement = select(NoticeRow).where(NoticeRow.state == NoticeState.OWED, col(NoticeRow.next_attempt_at) <= now)
    return [_notice(row) for row in session.exec(statement.order_by(col(NoticeRow.id)))]


def next_due(session: Session) -> datetime | None:
    """Say when the next notice is due; None if none is owed."""
    return session.exec(select(func.min(NoticeRow.next_attempt_at)).where(NoticeRow.state == NoticeState.OWED)).one()


def record(session: Session, notice_id: int, attempted: Attempted, now: datetime) -> None:
    """Write what an attempt came to; one that a person has begun anew or that is gone stays as it is."""
    row = session.get(NoticeRow, notice_id)
    if row is None or row.state != NoticeState.OWED:
        return
    session.add(NoticeAttemptRow(notice_id=notice_id, at=now, to_state=attempted.state, reason=attempted.reason))
    row.attempt += 1
    row.state, row.reason, row.next_attempt_at = attempted.state, attempted.reason, attempted.next_attempt_at
    row.sent_at = now if attempted.state is NoticeState.SENT else None
    row.taken = [*row.taken, *(a for a in attempted.taken if a not in row.taken)]
    row.refused = {**row.refused, **attempted.refused}


def retry(session: Session, notice_id: int, now: datetime) -> Notice:
    """Owe a notice again at once, to those who have not taken it.

    Raises:
        StorageError: there is none of that number, or it was sent.
    """
    row = session.get(NoticeRow, notice_id)
    if row is None:
        raise StorageError(f"there is no notice {notice_id}", hint="see `dicom-node notices list`")
    if row.state == NoticeState.SENT:
        raise StorageError(f"notice {notice_id} was sent already", hint="`dicom-node notices test RECEIVER` sends a sample")
    session.add(NoticeAttemptRow(notice_id=notice_id, at=now, to_state=NoticeState.OWED, reason="retried by an operator"))
    row.state, row.attempt, row.owed_at, row.next_attempt_at, row.refused = NoticeState.OWED, 0, now, now, {}
    return _notice(row)


def recent(session: Session, limit: int, state: NoticeState | None = None) -> list[Notice]:
    """List the newest notices."""
    statement = select(NoticeRow).order_by(col(NoticeRow.id).desc()).limit(limit)
    return [_notice(row) for row in session.exec(statement if state is None else statement.where(NoticeRow.state == state))]


def get(session: Session, notice_id: int) -> Notice | None:
    """Read one notice."""
    row = session.get(NoticeRow, notice_id)
    return None if row is None else _notice(row)


def attempts(session: Session, notice_id: int) -> list[NoticeAttempt]:
    """List the attempts at a notice."""
    rows = session.exec(select(NoticeAttemptRow).where(NoticeAttemptRow.notice_id == notice_id).order_by(col(NoticeAttemptRow.id)))
    return [NoticeAttempt(r.at, NoticeState(r.to_state), r.reason) for r in rows]


def dead(session: Session, since: datetime) -> int:
    """Count the notices made since a moment that nobody took."""
    statement = select(func.count()).select_from(NoticeRow)
    return session.exec(statement.where(NoticeRow.state == NoticeState.DEAD, col(NoticeRow.created_at) >= since)).one()


def forget(session: Session, before: datetime) -> int:
    """Remove the notices made before a moment that are not owed any more; returns how many."""
    old = select(NoticeRow.id).where(NoticeRow.state != NoticeState.OWED, col(NoticeRow.created_at) < before)
    session.exec(delete(NoticeAttemptRow).where(col(NoticeAttemptRow.notice_id).in_(old)))
    done = session.exec(delete(NoticeRow).where(col(NoticeRow.state) != NoticeState.OWED, col(NoticeRow.created_at) < before))
    return int(done.rowcount)


def _notice(row: NoticeRow) -> Notice:
    return Notice(
        id=row.id or 0,
        uuid=row.uuid,
        receiver=row.receiver,
        event=NoticeEvent(row.event),
        job_id=row.job_id,
        facts=row.facts,
        state=NoticeState(row.state),
        created_at=row.created_at,
        owed_at=row.owed_at,
        attempt=row.attempt,
        next_attempt_at=row.next_attempt_at,
        sent_at=row.sent_at,
        reason=row.reason,
        taken=tuple(row.taken),
        refused=dict(row.refused),
    )
