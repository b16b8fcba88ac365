"""The headers of a study's last revision, kept by keyword, so that other rules can be tried on many studies in little time.

The rows of the instances say the same and more, but reading those of 100,000 studies takes many minutes. Here a study is one row: a text of
one line a keyword, compressed. A line holds the keyword and, as JSON, a list with an entry for each series: null where no instance has the
element, the values where all instances have the same, else `{"values": [...], "at": [...]}`, the distinct values and which of them each
instance has; without `at` each has its own. `joined` stands in
place of `values` where each is several components, in one text. SOP Instance UIDs are left out: instances are told by their position.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from sqlmodel import Session, col, func, select

from dicom_node.domain.instances import Attributes
from dicom_node.domain.studies import ClosedBecause, HeaderColumn, SeriesColumns, Study, StudyColumns
from dicom_node.storage.replay_tables import StudyHeadersRow
from dicom_node.storage.tables import JobRow, RevisionRow, StudyRow

LEFT_OUT = "SOPInstanceUID"
_SERIES, _SENDERS, _RECEIVERS = "#series", "#senders", "#receivers"
_BETWEEN = "\\"  # as in DICOM, PS3.5 6.4
_LEVEL = 3  # a third slower to write than 1, a tenth smaller; reading costs the same
_Values: TypeAlias = tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class KeptStudy:
    """A packed study with what stands beside its headers."""

    study_id: int
    study_instance_uid: str
    revision: int
    closed_at: datetime
    closed_because: ClosedBecause
    content: bytes

    def columns(self) -> StudyColumns:
        """Unpack it; an element is read when it is asked for."""
        senders, receivers, series = _unpacked(self.content)
        closed = (self.closed_at, self.closed_because)
        return StudyColumns(self.study_instance_uid, self.revision, *closed, senders, series, receivers)


@dataclass(frozen=True, slots=True)
class DecidedThen:
    """What the rules of its time made of a study.

    Attributes:
        rules_digest: Of the rules that decided on its last revision.
        rules_run: Rules that a job was made for, on any revision.
    """

    rules_digest: str
    held_by: str | None
    rules_run: frozenset[str]


def keep(session: Session, study_id: int, study: Study) -> None:
    """Keep the headers of a revision in place of those of the one before."""
    row = StudyHeadersRow(
        study_id=study_id,
        revision=study.revision,
        closed_at=study.closed_at,
        closed_because=study.closed_because,
        content=pack(study),
    )
    session.merge(row)


def kept_ids(session: Session, since: datetime) -> list[int]:
    """List the studies whose last revision was closed since then, in the order of their first arrival."""
    statement = select(StudyHeadersRow.study_id).where(col(StudyHeadersRow.closed_at) >= since)
    return list(session.exec(statement.order_by(col(StudyHeadersRow.study_id))))


def kept_studies(session: Session, since: datetime, first_id: int, last_id: int) -> Iterator[KeptStudy]:
    """Read the studies of a range of ids whose last revision was closed since then, newest first."""
    columns = (
        StudyHeadersRow.study_id,
        StudyRow.study_instance_uid,
        StudyHeadersRow.revision,
        StudyHeadersRow.closed_at,
        StudyHeadersRow.closed_because,
        StudyHeadersRow.content,
    )
    statement = (
        select(*columns)  # type: ignore[call-overload]  # SQLModel types four columns at most
        .join(StudyRow, col(StudyRow.id) == col(StudyHeadersRow.study_id))
        .where(col(StudyHeadersRow.study_id).between(first_id, last_id), col(StudyHeadersRow.closed_at) >= since)
        .order_by(col(StudyHeadersRow.study_id).desc())
    )
    for study_id, uid, revision, closed_at, because, content in session.exec(statement):
        yield KeptStudy(study_id, uid, revision, closed_at, ClosedBecause(because), content)


def count_not_kept(session: Session, since: datetime) -> int:
    """Count the studies whose last revision was closed since then, but before headers were kept."""
    kept = select(StudyHeadersRow.study_id).where(StudyHeadersRow.study_id == RevisionRow.study_id)
    return session.exec(
        select(func.count(func.distinct(RevisionRow.study_id))).where(col(RevisionRow.closed_at) >= since, ~kept.exists())
    ).one()


def decided_then(session: Session, since: datetime, first_id: int, last_id: int) -> dict[int, DecidedThen]:
    """Return what was decided on the studies that `kept_studies` reads."""
    of_range = (col(StudyHeadersRow.study_id).between(first_id, last_id), col(StudyHeadersRow.closed_at) >= since)
    jobs = (
        select(StudyHeadersRow.study_id, JobRow.rule)
        .join(StudyRow, col(StudyRow.id) == col(StudyHeadersRow.study_id))
        .join(JobRow, col(JobRow.study_instance_uid) == col(StudyRow.study_instance_uid))
        .where(*of_range)
    )
    run: dict[int, set[str]] = {}
    for study_id, rule in session.exec(jobs):
        run.setdefault(study_id, set()).add(rule)
    revisions = (
        select(RevisionRow.study_id, RevisionRow.rules_digest, RevisionRow.held_by)
        .join(StudyHeadersRow, col(StudyHeadersRow.study_id) == col(RevisionRow.study_id))
        .where(*of_range, col(RevisionRow.revision) == col(StudyHeadersRow.revision))
    )
    return {
        study_id: DecidedThen(digest, held_by, frozenset(run.get(study_id, ()))) for study_id, digest, held_by in session.exec(revisions)
    }


def pack(study: Study) -> bytes:
    """Pack the headers of a study."""
    columns = [_columns([instance.attributes for instance in series.instances]) for series in study.series]
    lines: dict[str, Sequence[object]] = {
        _SERIES: [[series.series_instance_uid, len(series.instances)] for series in study.series],
        _SENDERS: study.calling_ae_titles,
        _RECEIVERS: study.called_ae_titles,
    }
    for keyword in dict.fromkeys(keyword for column in columns for keyword in column):
        lines[keyword] = [column.get(keyword) for column in columns]
    text = "\n".join(f"{name} {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}" for name, value in lines.items())
    return zlib.compress(text.encode(), _LEVEL)


def _columns(headers: Sequence[Attributes]) -> dict[str, object]:
    keywords = dict.fromkeys(keyword for header in headers for keyword in header if keyword != LEFT_OUT)
    return {keyword: _column([header.get(keyword) for header in headers]) for keyword in keywords}


def _column(values: Sequence[_Values]) -> object:
    distinct = {value: number for number, value in enumerate(dict.fromkeys(values))}
    if len(distinct) == 1:
        return values[0]
    written = {"joined": joined} if (joined := _joined(list(distinct))) else {"values": list(distinct)}
    return written if len(distinct) == len(values) else {**written, "at": [distinct[value] for value in values]}


def _joined(distinct: Sequence[_Values]) -> list[str]:
    """Write values of several components as one text each, as positions are: read in a third of the time; empty if they cannot be."""
    if not all(value and len(value) > 1 and not any(_BETWEEN in part for part in value) for value in distinct):
        return []
    return [_BETWEEN.join(value or ()) for value in distinct]


def _unpacked(content: bytes) -> tuple[tuple[str, ...], tuple[str, ...], tuple[SeriesColumns, ...]]:
    lines = _Lines(zlib.decompress(content).decode())
    kept = lines.read(_SERIES)
    series = tuple(SeriesColumns(uid, count, _ColumnsOfSeries(lines, number)) for number, (uid, count) in enumerate(kept))
    return tuple(lines.read(_SENDERS)), tuple(lines.read(_RECEIVERS)), series


class _Lines:
    """The lines of a packed study, each read when it is asked for."""

    __slots__ = ("_read", "_texts")

    def __init__(self, text: str) -> None:
        self._texts = dict([line.split(" ", 1) for line in text.split("\n")])  # a list: faster than a generator
        self._read: dict[str, list[Any]] = {}

    def read(self, name: str) -> list[Any]:
        """Return what a line holds; KeyError if there is none."""
        found = self._read.get(name)
        if found is None:
            found = self._read[name] = json.loads(self._texts[name])
        return found

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._texts if name[0] != "#")


class _ColumnsOfSeries(Mapping[str, HeaderColumn]):
    """The columns of one series of a packed study."""

    __slots__ = ("_lines", "_number")

    def __init__(self, lines: _Lines, number: int) -> None:
        self._lines, self._number = lines, number

    def __getitem__(self, keyword: str) -> HeaderColumn:
        column = self._lines.read(keyword)[self._number]
        if column is None:
            raise KeyError(keyword)
        if isinstance(column, list):
            return (tuple(column),), None
        if "joined" in column:
            return tuple([tuple(text.split(_BETWEEN)) for text in column["joined"]]), column.get("at")
        return tuple([None if value is None else tuple(value) for value in column["values"]]), column.get("at")

    def __iter__(self) -> Iterator[str]:
        return (keyword for keyword in self._lines if self._lines.read(keyword)[self._number] is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)
