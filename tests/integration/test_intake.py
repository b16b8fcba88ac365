"""From files in incoming/ to jobs, on a real database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.dsutils import encode

from dicom_node.config import Configuration
from dicom_node.domain.durability import Durability
from dicom_node.domain.equipment import NODE_MODEL_NAME
from dicom_node.domain.instances import AssociationPeer
from dicom_node.domain.studies import StudyState
from dicom_node.jobs import queue
from dicom_node.pipeline.intake import AvailableModel, Intake
from dicom_node.scp.door import Door, DoorSettings, InstanceKind
from dicom_node.storage import Database, InstanceFiles, queries
from tests.phantoms import chest_series
from tests.unit.test_config import load

LATER = timedelta(hours=1)


class House:
    def __init__(self, folder: Path, database: Database, files: InstanceFiles) -> None:
        self.configuration: Configuration = load(folder)
        self.database, self.files = database, files
        self.door = Door(files, DoorSettings("test", Durability.NONE, min_free_bytes=0))
        self.intake = self.restarted()

    def restarted(self) -> Intake:
        self.intake = Intake(self.configuration, self.database, self.files, {"chest-ct-densitometry": AvailableModel("1", "digest")})
        return self.intake

    def receive(self, data_sets: list[Dataset]) -> None:
        for ds in data_sets:
            content = encode(ds, is_implicit_vr=False, is_little_endian=True)
            assert content is not None
            kind = InstanceKind(ds.SOPClassUID, ds.SOPInstanceUID, ExplicitVRLittleEndian)
            self.door.keep(AssociationPeer("PACS", "AINODE", "127.0.0.1"), kind, [content])

    def turn(self) -> list[int]:
        self.intake.index_pending(lambda: True)
        return self.intake.close_due(datetime.now(UTC) + LATER)

    def study(self) -> queries.StudySummary:
        with self.database.transaction() as session:
            [summary] = queries.studies(session, 10)
        return summary


@pytest.fixture
def house(tmp_path: Path, database: Database, files: InstanceFiles) -> House:
    return House(tmp_path, database, files)


def test_complete_study_makes_one_job_with_its_series(house: House) -> None:
    series = chest_series()
    house.receive(series)
    [job_id] = house.turn()
    with house.database.transaction() as session:
        job = queue.get(session, job_id)
    assert job is not None
    assert sorted(job.inputs[0].sop_instance_uids) == sorted(d.SOPInstanceUID for d in series)
    assert not house.files.pending()
    assert (house.study().instances, house.study().revision) == (24, 1)


def test_second_push_of_the_same_study_changes_nothing(house: House) -> None:
    series = chest_series()
    for expected in (1, 0):
        house.receive(series)
        assert len(house.turn()) == expected
    assert (house.study().instances, house.study().revision) == (24, 1)
    assert len(list(house.files.studies.rglob("*.dcm"))) == 24


def test_late_instance_opens_a_new_revision(house: House) -> None:
    series = chest_series()
    house.receive(series[:20])
    assert len(house.turn()) == 1
    house.receive(series[20:])
    [second] = house.turn()
    with house.database.transaction() as session:
        job = queue.get(session, second)
    assert job is not None
    assert (job.key.revision, len(job.inputs[0].sop_instance_uids)) == (2, 24)


def test_own_results_never_count_as_part_of_a_study(house: House) -> None:
    house.receive(chest_series(ManufacturerModelName=NODE_MODEL_NAME))
    assert house.turn() == []
    with house.database.transaction() as session:
        assert queries.studies(session, 10) == []


def test_different_object_under_the_same_uid_is_kept_and_triggers_nothing(house: House) -> None:
    series = chest_series()
    house.receive(series)
    house.turn()
    series[0].PatientID = "OTHER"
    house.receive(series[:1])
    assert house.turn() == []
    assert len(list(house.files.studies.rglob("*.dcm"))) == 25


def test_pipeline_killed_before_the_files_moved_goes_on_where_it_stopped(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.receive(chest_series())

    def killed(source: Path, target: Path) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(house.files, "move", killed)
        with pytest.raises(SystemExit):
            house.intake.index_pending(lambda: True)
    assert len(house.files.pending()) == 24
    house.restarted()
    assert len(house.turn()) == 1
    assert len(list(house.files.studies.rglob("*.dcm"))) == 24
    assert not house.files.pending()


def test_study_that_no_rule_takes_is_listed_with_the_reason(house: House) -> None:
    series = chest_series(Modality="MR")
    house.receive(series)
    assert house.turn() == []
    assert house.study().state is StudyState.CLOSED
    assert "no rule takes it" in house.study().reason
    with house.database.transaction() as session:
        [revision] = queries.revisions(session, series[0].StudyInstanceUID)
    assert revision.traces[0]["outcome"] == "no-match"
    assert "Modality" in revision.traces[0]["inputs"][0]["series"][0]["reason"]


def test_unreadable_file_is_set_aside_not_lost(house: House) -> None:
    (house.files.incoming / "1-test.dcm").write_bytes(b"damaged")
    house.receive(chest_series())
    assert len(house.turn()) == 1
    assert len(list((house.files.incoming / ".unreadable").iterdir())) == 1
