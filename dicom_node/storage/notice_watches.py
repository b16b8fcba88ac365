"""How far those have looked who watch for silence and write the digest; a killed process goes on where it was."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, delete, func, select

from dicom_node.domain.silence import Silence
from dicom_node.storage.notice_tables import NoticeWatchRow
from dicom_node.storage.tables import InstanceRow

_INSTANCES, _DIGEST, _SILENCE, _OVERDUE = "instances", "digest", "silence:", "overdue:"


@dataclass(frozen=True, slots=True)
class Told:
    """Up to where the last digest went: a moment, and the last row of the instances."""

    until: datetime
    position: int


def last_instance(session: Session) -> int:
    """Return the newest row of the instances, 0 without any."""
    return session.exec(select(func.max(InstanceRow.id))).one() or 0


def cursor(session: Session, now: datetime) -> int:
    """Return the last instance that silence was looked for in; begins with the newest."""
    row = session.get(NoticeWatchRow, _INSTANCES)
    if row is None:
        row = NoticeWatchRow(name=_INSTANCES, at=now, position=last_instance(session))
        session.add(row)
    return row.position


def move_cursor(session: Session, position: int, now: datetime) -> None:
    """Note the last instance that was looked at."""
    session.merge(NoticeWatchRow(name=_INSTANCES, at=now, position=position))


def silence(session: Session, name: str, now: datetime) -> Silence:
    """Return what is known of a peer; a new watch begins now."""
    row = session.get(NoticeWatchRow, _SILENCE + name)
    return Silence(now) if row is None else Silence(row.at, row.silent_s, row.received_at, row.told)


def keep_silence(session: Session, name: str, state: Silence) -> None:
    """Note what is known of a peer."""
    row = NoticeWatchRow(name=_SILENCE + name, at=state.looked_at, silent_s=state.silent_s, received_at=state.received_at, told=state.told)
    session.merge(row)


def watches_nothing(session: Session) -> bool:
    """Say whether no peer was watched so far."""
    return session.exec(select(NoticeWatchRow.name).where(col(NoticeWatchRow.name).startswith(_SILENCE))).first() is None


def forget_silence(session: Session, watched: Iterable[str]) -> None:
    """Forget peers that are not watched any more."""
    names = [_SILENCE + name for name in watched]
    statement = delete(NoticeWatchRow).where(col(NoticeWatchRow.name).startswith(_SILENCE), col(NoticeWatchRow.name).not_in(names))
    session.exec(statement)


def overdue(session: Session) -> set[str]:
    """Name the destinations of which it was told that they are overdue."""
    rows = session.exec(select(NoticeWatchRow.name).where(col(NoticeWatchRow.name).startswith(_OVERDUE)))
    return {name.removeprefix(_OVERDUE) for name in rows}


def keep_overdue(session: Session, name: str, now: datetime) -> None:
    """Note that it was told of a destination."""
    session.merge(NoticeWatchRow(name=_OVERDUE + name, at=now, told=True))


def forget_overdue(session: Session, name: str) -> None:
    """Note that nothing is overdue at a destination any more."""
    session.exec(delete(NoticeWatchRow).where(col(NoticeWatchRow.name) == _OVERDUE + name))


def digest(session: Session) -> Told | None:
    """Return up to where the last digest went; None before the first."""
    row = session.get(NoticeWatchRow, _DIGEST)
    return None if row is None else Told(row.at, row.position)


def keep_digest(session: Session, told: Told) -> None:
    """Note up to where a digest goes."""
    session.merge(NoticeWatchRow(name=_DIGEST, at=told.until, position=told.position))


def forget_digest(session: Session) -> None:
    """Begin anew when there is a digest again."""
    session.exec(delete(NoticeWatchRow).where(col(NoticeWatchRow.name) == _DIGEST))
