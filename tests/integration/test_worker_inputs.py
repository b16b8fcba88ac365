"""A job with several inputs, from files in incoming/ through the worker, with the model that ships."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.dsutils import encode

from dicom_node.domain.durability import Durability
from dicom_node.domain.instances import AssociationPeer
from dicom_node.domain.jobs import Job, JobKey, JobState
from dicom_node.domain.routing import JobInput, RouteDecision
from dicom_node.inference import find_bundles
from dicom_node.jobs import queue
from dicom_node.pipeline.intake import AvailableModel, Intake
from dicom_node.pipeline.worker import Worker
from dicom_node.scp.door import Door, DoorSettings, InstanceKind
from dicom_node.storage import Database, InstanceFiles, deliveries
from tests.phantoms import chest_series
from tests.unit.test_config import load

MODEL = "chest-ct-densitometry"


class House:
    """Instances go in by the door and the intake; jobs are made by hand, so that routing's own gate does not come first."""

    def __init__(self, folder: Path, database: Database, files: InstanceFiles) -> None:
        self.configuration = load(folder)
        self.database, self.files = database, files
        self.bundle = find_bundles(self.configuration.node.models_dir)[MODEL]

    def receive(self, *series: list[Dataset]) -> None:
        door = Door(self.files, DoorSettings("test", Durability.NONE, min_free_bytes=0))
        for data_set in (d for one in series for d in one):
            content = encode(data_set, is_implicit_vr=False, is_little_endian=True)
            assert content is not None
            kind = InstanceKind(data_set.SOPClassUID, data_set.SOPInstanceUID, ExplicitVRLittleEndian)
            door.keep(AssociationPeer("PACS", "AINODE", "127.0.0.1"), kind, [content])
        models = {MODEL: AvailableModel(self.bundle.manifest.version, self.bundle.digest)}
        Intake(self.configuration, self.database, self.files, models).index_pending(lambda: True)

    def run(self, *series: list[Dataset]) -> Job:
        inputs = tuple(
            JobInput(f"input{number}", one[0].StudyInstanceUID, one[0].SeriesInstanceUID, tuple(d.SOPInstanceUID for d in one))
            for number, one in enumerate(series)
        )
        key = JobKey(inputs[0].study_instance_uid, 1, "by-hand", self.bundle.digest)
        new = queue.NewJob(key, RouteDecision("by-hand", MODEL, inputs, ("pacs",)), self.bundle.manifest.version, 1)
        with self.database.transaction() as session:
            made = queue.create(session, new, datetime.now(UTC) - timedelta(seconds=1))
            assert made is not None
        assert Worker("w", self.configuration, self.database, self.files).run_one()
        with self.database.transaction() as session:
            job = queue.get(session, made.id)
        assert job is not None
        return job


@pytest.fixture
def house(tmp_path: Path, database: Database, files: InstanceFiles) -> House:
    return House(tmp_path, database, files)


def test_results_refer_to_the_first_input(house: House) -> None:
    first = chest_series()
    same_study = chest_series(first[0].StudyInstanceUID, SeriesNumber=3)
    prior = chest_series(StudyDate="20230102", PatientName="Maiden^Name")
    house.receive(first, same_study, prior)
    job = house.run(first, same_study, prior)
    assert job.state is JobState.DELIVERING, job.reason
    with house.database.transaction() as session:
        [report] = [pydicom.dcmread(d.result.path) for d in deliveries.of_job(session, job.id) if d.result.kind == "SR"]
    [evidence] = report.CurrentRequestedProcedureEvidenceSequence
    referenced = {item.SeriesInstanceUID for item in evidence.ReferencedSeriesSequence}
    assert first[0].SeriesInstanceUID in referenced
    assert not referenced & {same_study[0].SeriesInstanceUID, prior[0].SeriesInstanceUID}
    assert (report.StudyInstanceUID, report.PatientName) == (first[0].StudyInstanceUID, first[0].PatientName)


@pytest.mark.parametrize(
    ("elements", "prior", "differing"),
    [
        ({"PatientID": "OTHER"}, True, "PatientID"),
        ({"IssuerOfPatientID": "ELSEWHERE"}, True, "IssuerOfPatientID"),
        ({"PatientBirthDate": "19700101"}, True, "PatientBirthDate"),
        ({"PatientID": "OTHER"}, False, "PatientID"),
        ({"PatientName": "Other^Name"}, False, "PatientName"),
    ],
)
def test_input_of_another_patient_fails_the_job_and_writes_nothing(house: House, elements: dict, prior: bool, differing: str) -> None:
    first = chest_series()
    other = chest_series(None if prior else first[0].StudyInstanceUID, **elements)
    house.receive(first, other)
    job = house.run(first, other)
    assert job.state is JobState.FAILED
    assert f"input input1 differs from the first input in {differing}" in job.reason
    assert not any(value in job.reason for value in map(str, elements.values()))
    assert not list(house.files.results.rglob("*.dcm"))


def test_input_whose_instances_mix_patients_fails_the_job(house: House) -> None:
    first, other = chest_series(), chest_series(StudyDate="20230102")
    other[3].PatientID = "OTHER"
    house.receive(first, other)
    job = house.run(first, other)
    assert job.state is JobState.FAILED
    assert "instances of one series differ in PatientID" in job.reason
