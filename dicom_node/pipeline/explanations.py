"""Studies to explain: from DICOM files, or from the index."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dicom_node.domain.instances import ReceivedInstance
from dicom_node.domain.routing import PriorSearch, Routing
from dicom_node.domain.rules import Rule
from dicom_node.domain.studies import ClosedBecause, Series, Study, StudyInstance
from dicom_node.errors import StudyError
from dicom_node.pipeline.headers import received_instance
from dicom_node.routing import trace_from_record
from dicom_node.storage import Database, index, queries
from dicom_node.storage.queries import RevisionSummary


@dataclass(frozen=True, slots=True)
class FilesRead:
    """The studies that some files hold.

    Attributes:
        unreadable: Files that could not be read, with the reason.
        own_results: How many of the files are objects that the node itself made; they never count.
    """

    studies: tuple[Study, ...]
    unreadable: tuple[tuple[Path, str], ...]
    own_results: int


@dataclass(frozen=True, slots=True)
class Titles:
    """Who is taken to have sent files, and to which title of the node; empty: what their file meta say."""

    calling: str = ""
    called: str = ""


def studies_of_files(paths: Iterable[Path], titles: Titles, now: datetime) -> FilesRead:
    """Read files as the intake reads them, and group them into studies."""
    grouped: dict[str, list[ReceivedInstance]] = {}
    unreadable, own = [], 0
    for path in paths:
        try:
            instance = received_instance(path)
        except StudyError as error:
            unreadable.append((path, str(error)))
            continue
        if instance.own_result:
            own += 1
        else:
            grouped.setdefault(instance.study_instance_uid, []).append(instance)
    studies = tuple(_study(uid, instances, titles, now) for uid, instances in grouped.items())
    return FilesRead(studies, tuple(unreadable), own)


def _study(uid: str, instances: Sequence[ReceivedInstance], titles: Titles, now: datetime) -> Study:
    series: dict[str, dict[str, StudyInstance]] = {}
    for one in instances:
        member = StudyInstance(one.sop_instance_uid, one.sop_class_uid, one.path, one.attributes)
        series.setdefault(one.series_instance_uid, {}).setdefault(one.sop_instance_uid, member)
    calling = {titles.calling or one.peer.calling_ae_title for one in instances} - {""}
    called = {titles.called or one.peer.called_ae_title for one in instances} - {""}
    members = tuple(Series(series_uid, tuple(found.values())) for series_uid, found in series.items())
    return Study(uid, 1, now, ClosedBecause.MANUAL, tuple(sorted(calling)), members, tuple(sorted(called)))


def revision_of(database: Database, study_instance_uid: str, revision: int | None) -> RevisionSummary:
    """Return a closed revision of a study on record.

    Args:
        database: Open.
        study_instance_uid: Of the study.
        revision: Its number; None: the last one.

    Raises:
        StudyError: there is none.
    """
    with database.reading() as session:
        found = queries.revisions(session, study_instance_uid)
        arrived = bool(found) or bool(queries.studies(session, 1, study_instance_uid))
    chosen = [one for one in found if revision in (None, one.revision)]
    if chosen:
        return chosen[-1]
    if found:
        raise StudyError(f"the study has no revision {revision}", hint=f"it has {', '.join(str(one.revision) for one in found)}")
    if arrived:
        raise StudyError("the study is not complete yet: no rule has decided on it", hint="see `dicom-node studies show`")
    raise StudyError("no such study has arrived", hint="see `dicom-node studies list`")


def study_of_revision(database: Database, study_instance_uid: str, revision: RevisionSummary) -> Study:
    """Read a revision from the index."""
    with database.reading() as session:
        closed = (revision.closed_at, ClosedBecause(revision.closed_because))
        return index.load_study(session, study_instance_uid, revision.revision, closed)


def routing_of_revision(revision: RevisionSummary) -> Routing:
    """Return the traces that were stored when the rules decided; decisions are in them as outcomes."""
    return Routing((), tuple(map(trace_from_record, revision.traces)), revision.held_by)


def no_priors(rules: Iterable[Rule], reason: str) -> tuple[PriorSearch, ...]:
    """Answer every search for priors with none."""
    return tuple(
        PriorSearch(rule.name, slot.name, (), finished=True, reason=reason) for rule in rules for slot in rule.inputs if slot.prior
    )
