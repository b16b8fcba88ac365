"""Shadow runs keep their results; results that take the place of earlier ones name them."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
from typer.testing import CliRunner

from dicom_node.cli.jobs import app
from dicom_node.domain.jobs import DeliveryState, JobState
from dicom_node.jobs import queue
from dicom_node.sr_writer import read_measurements
from dicom_node.storage import Database, InstanceFiles
from tests.integration.working_house import WorkingHouse
from tests.phantoms import chest_series
from tests.result_checks import contradictions, errors_of
from tests.unit.test_config import NODE, RULES

REPLACING = RULES + "    on_late: replace\n"
SHADOW = REPLACING + "    shadow: true\n"


def house_with(folder: Path, database: Database, files: InstanceFiles, rules: str = REPLACING) -> WorkingHouse:
    return WorkingHouse(folder, database, files, rules, NODE.replace("sqlite:///node.db", database.url))


def late_slices(house: WorkingHouse, *, run_first: bool = True) -> str:
    """Twenty slices, then the other four; the second job takes the place of the first one's results. Returns the study's UID."""
    series = chest_series()
    house.receive(series[:20])
    if run_first:
        house.work()
    house.receive(series[20:])
    assert [job.replaces for job in house.jobs()] == [False, True]
    return str(series[0].StudyInstanceUID)


def test_late_slices_make_a_report_that_names_the_first_one(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    house = house_with(tmp_path, database, files)
    study = late_slices(house)
    first, second = house.work()
    old, new = house.report(first), house.report(second)
    assert "PredecessorDocumentsSequence" not in old
    [predecessor_study] = new.PredecessorDocumentsSequence
    [predecessor_series] = predecessor_study.ReferencedSeriesSequence
    [predecessor] = predecessor_series.ReferencedSOPSequence
    assert predecessor_study.StudyInstanceUID == old.StudyInstanceUID == study
    assert predecessor_series.SeriesInstanceUID == old.SeriesInstanceUID
    assert (predecessor.ReferencedSOPClassUID, predecessor.ReferencedSOPInstanceUID) == (old.SOPClassUID, old.SOPInstanceUID)
    assert not {r.sop_instance_uid for r in house.results(first)} & {r.sop_instance_uid for r in house.results(second)}
    assert (new.CompletionFlag, new.ConceptNameCodeSequence[0].CodeValue) == ("COMPLETE", "126000")
    assert "Replaces the results on revision 1 of the study; this is revision 2." in read_measurements(new).comments
    assert {d.state for d in house.owed(second)} == {DeliveryState.OWED}


def test_every_object_that_replaces_another_passes_the_validators(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    house = house_with(tmp_path, database, files)
    late_slices(house)
    jobs = house.work()
    results = [r for job in jobs for r in house.results(job)]
    assert len(results) == 18
    assert errors_of([r.path for r in results]) == {}
    assert contradictions([*house.files.studies.rglob("*.dcm"), *(r.path for r in results)]) == []
    dump = subprocess.run(["/usr/bin/dsrdump", house.report(jobs[1]).filename], capture_output=True, text=True, check=True).stdout
    assert "Predecessor Docs" in dump
    for result in house.results(jobs[1]):
        description = pydicom.dcmread(result.path, stop_before_pixels=True).SeriesDescription
        assert "rev. 2" in description
        assert len(description) <= 64


def test_report_is_built_only_when_the_earlier_run_has_ended(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    """The later job is asked for by another worker while the earlier one runs."""
    house = house_with(tmp_path, database, files)
    late_slices(house, run_first=False)
    lease = house.configuration.workers.lease
    with database.transaction() as session:
        running = queue.claim(session, "worker-9", datetime.now(UTC), lease)
    assert running is not None
    assert running.key.revision == 1
    assert not house.worker.run_one()
    with database.transaction() as session:
        queue.recover(session, datetime.now(UTC), owner="worker-9")
    first, second = house.work()
    [item] = house.report(second).PredecessorDocumentsSequence
    assert item.ReferencedSeriesSequence[0].SeriesInstanceUID == house.report(first).SeriesInstanceUID


def test_earlier_run_that_made_nothing_has_no_report_to_name(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    house = house_with(tmp_path, database, files)
    series = chest_series()
    house.receive(series[:20])
    with database.transaction() as session:
        queue.settle(session, house.jobs()[0].id, JobState.CANCELLED, "cancelled by an operator", datetime.now(UTC))
    house.receive(series[20:])
    first, second = house.work()
    assert (first.state, second.state) == (JobState.CANCELLED, JobState.DELIVERING)
    report = house.report(second)
    assert "PredecessorDocumentsSequence" not in report
    assert "rev." not in report.SeriesDescription


def test_report_that_says_why_nothing_was_analysed_is_replaced_when_the_rest_has_come(
    tmp_path: Path, database: Database, files: InstanceFiles
) -> None:
    house = house_with(tmp_path, database, files)
    series = chest_series()
    house.receive(series[:8])  # fewer slices than the model takes
    [refused] = house.work()
    assert refused.reason.startswith("not analysed: ")
    house.receive(series[8:])
    _, second = house.work()
    [item] = house.report(second).PredecessorDocumentsSequence
    [named] = item.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert named.ReferencedSOPInstanceUID == house.report(refused).SOPInstanceUID


def test_third_report_names_the_second_alone(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    house = house_with(tmp_path, database, files)
    series = chest_series()
    for part in (series[:18], series[18:20], series[20:]):
        house.receive(part)
        house.work()
    _, second, third = house.jobs()
    [item] = house.report(third).PredecessorDocumentsSequence
    [named] = item.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert named.ReferencedSOPInstanceUID == house.report(second).SOPInstanceUID
    assert "revision 2 of the study; this is revision 3" in " ".join(read_measurements(house.report(third)).comments)


@pytest.fixture
def shadow_house(tmp_path: Path, database: Database, files: InstanceFiles) -> WorkingHouse:
    house = house_with(tmp_path, database, files, SHADOW)
    house.receive(chest_series())
    house.work()
    return house


def shown(house: WorkingHouse, *arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, "--config", str(house.configuration.data_dir.parent / "node.yaml")])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def test_shadow_run_keeps_its_results_and_owes_nothing(shadow_house: WorkingHouse) -> None:
    [job] = shadow_house.jobs()
    assert (job.state, job.reason, shadow_house.owed(job)) == (JobState.DONE, "shadow: kept, not sent", [])
    results = shadow_house.results(job)
    assert [r.kind for r in results].count("SR") == 1
    assert all(r.path.is_file() for r in results)
    text = shown(shadow_house, "show", str(job.id))
    assert "normal, shadow" in text
    assert f"kept, not sent: {results[0].path}" in text
    assert "measured: lung_volume" in text


def test_kept_results_are_sent_when_a_person_says_so_and_once(shadow_house: WorkingHouse) -> None:
    [job] = shadow_house.jobs()
    assert "due to pacs" in shown(shadow_house, "send", str(job.id), "pacs")
    owed = shadow_house.owed(job)
    assert len(owed) == len(shadow_house.results(job)) == 9
    assert shadow_house.jobs()[0].state is JobState.DELIVERING
    configuration = str(shadow_house.configuration.data_dir.parent / "node.yaml")
    again = CliRunner().invoke(app, ["send", str(job.id), "pacs", "--config", configuration])
    assert "was not sent or owed already" in str(again.exception)
    unknown = CliRunner().invoke(app, ["send", str(job.id), "pasc", "--config", configuration])
    assert "no destination is named 'pasc'" in str(unknown.exception)


def test_report_that_is_sent_names_no_shadow_of_an_earlier_run(shadow_house: WorkingHouse) -> None:
    [shadow] = shadow_house.jobs()
    first = shadow_house.report(shadow)
    shadow_house.receive(chest_series(study_instance_uid=str(first.StudyInstanceUID)))
    job = shadow_house.jobs()[1]
    assert job.replaces
    shadow_house.clear_shadow(job)
    shadow_house.work()
    assert "PredecessorDocumentsSequence" not in shadow_house.report(job)


def test_list_says_why_a_job_waits(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    house = house_with(tmp_path, database, files, REPLACING + "    priority: stat\n")
    late_slices(house, run_first=False)
    first, second = house.jobs()
    listed = shown(house, "list")
    assert "stat, next" in listed
    assert f"waits for job {first.id} on revision 1, whose results it replaces" in listed
    shown(house, "prioritize", str(second.id), "off-peak")
    assert [j.priority for j in house.jobs()] == ["stat", "off-peak"]
    assert '"waits": "stat, next"' in shown(house, "list", "--json")
