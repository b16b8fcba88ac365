"""Requests to archives as they stand in the database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicom_node.domain.durability import Durability
from dicom_node.domain.fetches import FetchKind, FetchState, marked_as_prior
from dicom_node.domain.instances import AssociationPeer
from dicom_node.domain.rules import Prior
from dicom_node.domain.studies import ClosedBecause, StudyState
from dicom_node.pipeline.headers import received_instance
from dicom_node.scp.door import Door, DoorSettings, InstanceKind
from dicom_node.storage import Database, InstanceFiles, fetched_studies, fetches, index, queries, revisions
from dicom_node.storage.fetched_studies import STRAGGLERS, FetchedStudy
from dicom_node.storage.fetches import Counted
from tests.phantoms import chest_series, write

NOW = datetime(2024, 1, 2, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
ARCHIVE = AssociationPeer("ARCHIVE", "AINODE", "10.0.0.1")
PRIOR = Prior(timedelta(days=365), ("BodyPartExamined",), 2, "archive", timedelta(minutes=5))
SOP_CLASS = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


class Arrivals:
    """Brings instances through the door into the index."""

    def __init__(self, database: Database, files: InstanceFiles, folder: Path) -> None:
        self._database, self._files, self._folder = database, files, folder
        self._door = Door(files, DoorSettings("test", Durability.NONE, 0))
        self._count = 0

    def __call__(self, data_sets: list[Dataset], peer: AssociationPeer = ARCHIVE) -> list[index.Arrival]:
        self._count += 1
        for path, ds in zip(write(data_sets, self._folder / str(self._count)), data_sets, strict=True):
            content = path.read_bytes()
            start = 144 + int.from_bytes(content[140:144], "little")
            self._door.keep(peer, InstanceKind(SOP_CLASS, str(ds.SOPInstanceUID), EXPLICIT), [content[start:]])
        return [self._index(path) for path in self._files.pending()]

    def _index(self, path: Path) -> index.Arrival:
        with self._database.transaction() as session:
            indexed = index.index_instance(session, self._files, received_instance(path))
        if indexed.target is None:
            self._files.drop(path)
        else:
            self._files.move(path, indexed.target)
        return indexed.arrival


@pytest.fixture
def arrive(database: Database, files: InstanceFiles, tmp_path: Path) -> Arrivals:
    return Arrivals(database, files, tmp_path / "sent")


def state(database: Database, study: str) -> StudyState:
    with database.transaction() as session:
        return queries.studies(session, 1, study)[0].state


def claim(database: Database, now: datetime = NOW) -> list[int]:
    with database.transaction() as session:
        return [f.id for f in fetches.claim_due(session, now, 10)]


def test_a_request_is_made_once_however_often_it_is_asked(database: Database) -> None:
    for _ in range(3):
        with database.transaction() as session:
            fetches.ask_count(session, "1.2", "archive", NOW, LATER)
            fetches.ask_missing(session, "1.2", "archive", NOW, LATER)
            fetches.ask_prior(session, "1.2", "growth", "before", PRIOR, NOW)
    with database.transaction() as session:
        found = fetches.recent(session, 10)
        assert {f.kind for f in found} == set(FetchKind)
        assert len(found) == 3
        assert [e.reason for e in fetches.events(session, found[0].id)] == ["asked"]
        assert {f.prior for f in found} == {None, PRIOR}


def test_counts_are_claimed_before_missing_instances_and_priors(database: Database) -> None:
    with database.transaction() as session:
        fetches.ask_prior(session, "1.2", "growth", "before", PRIOR, NOW)
        fetches.ask_missing(session, "1.2", "archive", NOW, LATER)
        fetches.ask_count(session, "1.2", "archive", NOW, LATER)
        claimed = fetches.claim_due(session, NOW, 2)
        assert [f.kind for f in claimed] == [FetchKind.COUNT, FetchKind.MISSING]
        assert fetches.claim_due(session, NOW, 10)[0].kind == FetchKind.PRIOR
        assert fetches.claim_due(session, NOW, 10) == []


def test_a_killed_process_loses_no_request(database: Database) -> None:
    with database.transaction() as session:
        fetches.ask_count(session, "1.2", "archive", NOW, LATER)
    [begun] = claim(database)
    assert claim(database) == []
    with database.transaction() as session:
        assert fetches.take_back(session, NOW) == 1
    assert claim(database) == [begun]


def test_an_answer_stays_until_there_is_a_new_one(database: Database) -> None:
    with database.transaction() as session:
        fetches.ask_count(session, "1.2", "archive", NOW, LATER)
        assert fetches.expected(session, "1.2", "other") is None
        asked = fetches.expected(session, "1.2", "archive")
    assert asked is not None
    assert (asked.count, asked.asked_at, asked.asking, asked.holds) == (None, None, True, False)
    [number] = claim(database)
    with database.transaction() as session:
        assert fetches.record_count(session, number, Counted(3, ("1.9",), NOW, "counted"), NOW)
        answered = fetches.expected(session, "1.2", "archive")
        fetches.ask_count(session, "1.2", "archive", LATER, LATER)
        again = fetches.expected(session, "1.2", "archive")
    assert answered is not None
    assert (answered.count, answered.missing, answered.asking) == (3, ("1.9",), False)
    assert again is not None
    assert (again.count, again.missing, again.asking) == (3, ("1.9",), True)


def test_what_runs_out_of_time_ends_and_a_late_answer_changes_nothing(database: Database) -> None:
    with database.transaction() as session:
        fetches.ask_count(session, "1.2", "archive", NOW, LATER)
        fetches.ask_prior(session, "1.2", "growth", "before", replace(PRIOR, timeout=timedelta(minutes=5)), NOW)
    [count, prior] = claim(database)
    with database.transaction() as session:
        assert fetches.next_due(session) == LATER
        assert {f.id for f in fetches.expire(session, LATER)} == {count, prior}
        assert not fetches.record_count(session, count, Counted(3, (), NOW, "counted"), LATER)
        assert not fetches.finish(session, prior, FetchState.DONE, "found", LATER)
        [search] = fetches.prior_searches(session, "1.2")
    assert (search.finished, search.studies) == (True, ())
    assert "out of time" in search.reason


def test_a_failed_attempt_waits_for_its_time(database: Database) -> None:
    with database.transaction() as session:
        fetches.ask_missing(session, "1.2", "archive", NOW, LATER)
    [number] = claim(database)
    soon = NOW + timedelta(seconds=5)
    with database.transaction() as session:
        fetches.postpone(session, number, "nobody listens", soon, NOW)
        assert fetches.next_due(session) == soon
    assert claim(database) == []
    assert claim(database, soon) == [number]


def test_a_finished_search_is_searched_again_only_for_another_prior(database: Database) -> None:
    with database.transaction() as session:
        fetches.ask_prior(session, "1.2", "growth", "before", PRIOR, NOW)
    [number] = claim(database)
    with database.transaction() as session:
        fetches.finish(session, number, FetchState.DONE, "none found", NOW)
        fetches.ask_prior(session, "1.2", "growth", "before", PRIOR, LATER)
    assert claim(database, LATER) == []
    with database.transaction() as session:
        fetches.ask_prior(session, "1.2", "growth", "before", replace(PRIOR, most=3), LATER)
    assert claim(database, LATER) == [number]


def test_what_our_own_door_fetched_as_a_prior_opens_nothing(database: Database, arrive: Arrivals) -> None:
    slices = chest_series()[:4]
    study = str(slices[0].StudyInstanceUID)
    assert arrive(slices[:2], marked_as_prior(ARCHIVE)) == [index.Arrival.PRIOR] * 2
    assert state(database, study) is StudyState.PRIOR
    with database.transaction() as session:
        assert revisions.waiting_studies(session) == []
        assert len(index.load_present_study(session, study).series[0].instances) == 2
    assert arrive(slices[:2]) == [index.Arrival.IDENTICAL] * 2
    assert state(database, study) is StudyState.PRIOR
    assert arrive(slices[2:3]) == [index.Arrival.NEW]
    assert state(database, study) is StudyState.RECEIVING
    with database.transaction() as session:
        closed = index.freeze(session, study, LATER, ClosedBecause.QUIET)
    assert (closed.revision, len(closed.series[0].instances)) == (1, 3)
    assert arrive(slices[3:], marked_as_prior(ARCHIVE)) == [index.Arrival.PRIOR]
    assert state(database, study) is StudyState.CLOSED


def test_what_a_move_brings_is_a_prior_only_while_it_is_expected(database: Database, arrive: Arrivals) -> None:
    slices = chest_series()[:4]
    study, series = str(slices[0].StudyInstanceUID), str(slices[0].SeriesInstanceUID)
    with database.transaction() as session:
        fetches.ask_prior(session, "1.2", "growth", "before", PRIOR, NOW)
    [number] = claim(database)
    with database.transaction() as session:
        fetched_studies.begin(session, number, study, [series], "ARCHIVE")
    assert arrive(slices[:1]) == [index.Arrival.PRIOR]
    other_study = chest_series()[:1]
    assert arrive(other_study) == [index.Arrival.NEW]
    assert arrive(slices[1:2], AssociationPeer("CT", "AINODE", "10.0.0.2")) == [index.Arrival.NEW]
    with database.transaction() as session:
        index.freeze(session, study, NOW, ClosedBecause.QUIET)
        fetched_studies.settle(session, number, FetchedStudy(study, taken=True, reason=""), datetime.now(UTC) - 2 * STRAGGLERS)
    assert arrive(slices[2:3]) == [index.Arrival.NEW]


def test_a_study_of_another_patient_is_never_a_prior(database: Database, arrive: Arrivals) -> None:
    current = chest_series()[:1]
    older = chest_series(StudyDate="20230101")[:1]
    newer = chest_series(StudyDate="20230601")[:1]
    stranger = chest_series(PatientID="PH-1")[:1]
    arrive(current)
    arrive(older + newer + stranger, marked_as_prior(ARCHIVE))
    study = str(current[0].StudyInstanceUID)
    with database.transaction() as session:
        fetches.ask_prior(session, study, "growth", "before", PRIOR, NOW)
        [claimed] = fetches.claim_due(session, NOW, 1)
        for ds in (*older, *newer, *stranger):
            fetched_studies.settle(session, claimed.id, FetchedStudy(str(ds.StudyInstanceUID), taken=True, reason=""), NOW)
        fetches.finish(session, claimed.id, FetchState.DONE, "found", NOW)
        [search] = fetches.prior_searches(session, study)
    assert [s.study_instance_uid for s in search.studies] == [str(ds.StudyInstanceUID) for ds in (*newer, *older)]
    assert (search.rule, search.input, search.finished) == ("growth", "before", True)


def test_own_results_are_known_by_record_and_by_sight(database: Database, arrive: Arrivals) -> None:
    image, own = chest_series()[0], chest_series(ManufacturerModelName="dicom-node")[0]
    arrive([image, own])
    with database.transaction() as session:
        assert fetches.own_results(session, [str(image.SOPInstanceUID), str(own.SOPInstanceUID)]) == {str(own.SOPInstanceUID)}
        assert fetches.instances_here(session, str(own.StudyInstanceUID)) == set()
