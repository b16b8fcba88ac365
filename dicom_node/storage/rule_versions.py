"""Every version of the rules that was in force: who wrote it, when, why, and its text."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from dicom_node.errors import ConfigError
from dicom_node.storage.replay_tables import RuleVersionRow


@dataclass(frozen=True, slots=True)
class NewVersion:
    """Rules that are about to be in force.

    Attributes:
        digest: Of what the rules say (`Configuration.rules_digest`).
        author: Login name of whoever applied them, or the owner of the file.
        content: The file's whole text.
    """

    digest: str
    author: str
    comment: str
    content: str


@dataclass(frozen=True, slots=True)
class RuleVersion:
    """A version on record; numbers count from 1."""

    version: int
    at: datetime
    author: str
    comment: str
    digest: str
    content: str


def record(session: Session, new: NewVersion, at: datetime) -> RuleVersion | None:
    """Add a version; None, and nothing changes, if the last one says the same."""
    last = latest(session)
    if last is not None and last.digest == new.digest:
        return None
    comment = new.comment
    if not comment and last is not None and last.content == new.content:
        comment = "the same text, understood by another release of the program"
    row = RuleVersionRow(at=at, author=new.author, comment=comment, digest=new.digest, content=new.content)
    session.add(row)
    session.flush()
    return _version(row)


def latest(session: Session) -> RuleVersion | None:
    """Return the last version; None before the first."""
    row = session.exec(select(RuleVersionRow).order_by(col(RuleVersionRow.version).desc()).limit(1)).first()
    return None if row is None else _version(row)


def get(session: Session, version: int) -> RuleVersion:
    """Return a version.

    Raises:
        ConfigError: there is none of this number.
    """
    row = session.get(RuleVersionRow, version)
    if row is None:
        raise ConfigError(f"there is no version {version} of the rules", hint="see `dicom-node rules history`")
    return _version(row)


def history(session: Session, limit: int) -> list[RuleVersion]:
    """List versions, newest first."""
    return [_version(row) for row in session.exec(select(RuleVersionRow).order_by(col(RuleVersionRow.version).desc()).limit(limit))]


def in_force(session: Session, digest: str, at: datetime) -> int | None:
    """Tell the version that a decision was made by; None if it is older than the history.

    Args:
        session: Of a transaction.
        digest: Of the rules, as the decision recorded it.
        at: When it was made; rules that came back have several versions of one digest.
    """
    statement = select(RuleVersionRow.version).where(RuleVersionRow.digest == digest)
    before = session.exec(statement.where(RuleVersionRow.at <= at).order_by(col(RuleVersionRow.version).desc()).limit(1)).first()
    return before or session.exec(statement.order_by(col(RuleVersionRow.version)).limit(1)).first()


def _version(row: RuleVersionRow) -> RuleVersion:
    return RuleVersion(row.version or 0, row.at, row.author, row.comment, row.digest, row.content)
