"""Tables of the rules' past: their versions, and the headers that other rules can be tried on."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Column, LargeBinary
from sqlmodel import Field, SQLModel

from dicom_node.storage.tables import UtcDateTime

__all__ = ["RuleVersionRow", "StudyHeadersRow"]


class RuleVersionRow(SQLModel, table=True):
    """A rules file that was in force. Rows are added and never changed."""

    __tablename__ = "rule_version"
    __table_args__ = (CheckConstraint("length(digest) = 64", name="rule_version_sha256"),)

    version: int | None = Field(default=None, primary_key=True)
    at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    author: str
    comment: str
    digest: str = Field(index=True)
    content: str


class StudyHeadersRow(SQLModel, table=True):
    """The headers of a study's last revision by keyword, packed (`storage.study_headers`)."""

    __tablename__ = "study_headers"

    study_id: int = Field(primary_key=True, foreign_key="study.id")
    revision: int
    closed_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False, index=True))
    closed_because: str
    content: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
