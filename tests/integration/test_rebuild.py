"""Forms that a run did not build, made later from what was kept of it: for destinations that refuse, and for operators."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pynetdicom.sop_class import BasicTextSRStorage, Comprehensive3DSRStorage, SecondaryCaptureImageStorage, SegmentationStorage
from sqlmodel import col, delete
from typer.testing import CliRunner

from dicom_node.cli.jobs import app
from dicom_node.delivery.outcomes import Outcome as Answer
from dicom_node.domain.jobs import DeliveryState, Job, JobState
from dicom_node.domain.profiles import PRESETS, ResultProfile
from dicom_node.errors import ResultError, StorageError
from dicom_node.jobs import queue
from dicom_node.pipeline.results import DATA_FILE, kept_result
from dicom_node.pipeline.results.apart import BuildApart
from dicom_node.pipeline.results.rebuild import Rebuilder
from dicom_node.pipeline.results.report import read_report
from dicom_node.pipeline.sender import Sender
from dicom_node.pipeline.standing_in import StandIns
from dicom_node.sr_writer import wanted_variants
from dicom_node.sr_writer.content import Outcome
from dicom_node.storage import Database, InstanceFiles, delivery_operations
from dicom_node.storage.tables import DeliveryEventRow, DeliveryRow, ResultRow
from tests.conftest import free_port
from tests.integration.scripted_pacs import Script, ScriptedPacs
from tests.integration.working_house import WorkingHouse
from tests.phantoms import chest_series
from tests.unit.test_config import NODE, RULES

PLAIN = "profiles: [{name: plain, objects: [sr], fallback: [comp, enhanced]}]\n"
SENT, REFUSED, OWED = DeliveryState.SENT, DeliveryState.REFUSED, DeliveryState.OWED
LEGACY = PRESETS["legacy-pacs"]
Ran = tuple[WorkingHouse, Job]


def run(folder: Path, database: Database, files: InstanceFiles, node: str, rules: str = RULES) -> Ran:
    house = WorkingHouse(folder, database, files, rules, node.replace("sqlite:///node.db", database.url))
    house.receive(chest_series())
    [job] = house.work()
    return house, job


def rebuilder(house: WorkingHouse) -> Rebuilder:
    return Rebuilder("AINODE", house.database, house.files)


def build_here(house: WorkingHouse) -> Callable[[int, ResultProfile], int]:
    """As the child process does, without its start."""
    return lambda job_id, profile: len(rebuilder(house).rebuild(next(j for j in house.jobs() if j.id == job_id), profile))


@pytest.fixture
def two_forms(tmp_path: Path, database: Database, files: InstanceFiles) -> Ran:
    """A run for a destination of `ohif` and one of `legacy-pacs`."""
    other = "  - {name: old, ae_title: OLD, host: 127.0.0.1, port: 4243, profile: legacy-pacs}\nmodels_dir"
    return run(tmp_path, database, files, NODE.replace("models_dir", other), RULES.replace("[pacs]", "[pacs, old]"))


def content(path: Path) -> bytes:
    """All of an object but the moments at which the library made it."""
    data_set = pydicom.dcmread(path)
    del data_set.InstanceCreationDate, data_set.InstanceCreationTime
    [library] = [e for e in data_set.ContributingEquipmentSequence if "highdicom" in str(e).lower()]
    del library.ContributionDateTime
    buffer = BytesIO()
    data_set.save_as(buffer)
    return buffer.getvalue()


def test_objects_made_later_are_those_made_at_once_byte_by_byte(two_forms: Ran) -> None:
    house, job = two_forms
    variants = list(wanted_variants(LEGACY).values())
    at_once = {r.sop_instance_uid: content(r.path) for r in house.results(job) if r.variant in variants}
    assert len(at_once) > 5
    with house.database.transaction() as session:
        session.exec(delete(DeliveryEventRow))
        session.exec(delete(DeliveryRow))
        session.exec(delete(ResultRow).where(col(ResultRow.variant).in_(variants)))
    for result in [r for r in (house.files.results_of(job.id)).glob("*.dcm") if pydicom.dcmread(r).SOPInstanceUID in at_once]:
        result.unlink()
    later = rebuilder(house).rebuild(job, LEGACY)
    assert {r.sop_instance_uid: content(r.path) for r in later} == at_once
    assert rebuilder(house).rebuild(job, LEGACY) == []
    assert {r.sop_instance_uid for r in later} <= {o.sop_instance_uid for o in read_report(house.files.results_of(job.id)).objects}


def test_changed_images_and_lost_data_are_refused(two_forms: Ran) -> None:
    house, job = two_forms
    further = PRESETS["research"]
    moved = next(house.files.studies.rglob("*.dcm"))
    moved.rename(moved.with_suffix(".away"))
    with pytest.raises(ResultError, match="0 are not those that the model saw and 1 are gone"):
        rebuilder(house).rebuild(job, further)
    moved.with_suffix(".away").rename(moved)
    (house.files.results_of(job.id) / DATA_FILE).write_bytes(b"PK")
    with pytest.raises(ResultError, match="damaged"):
        rebuilder(house).rebuild(job, further)
    (house.files.results_of(job.id) / DATA_FILE).unlink()
    with pytest.raises(ResultError, match="was not kept"):
        rebuilder(house).rebuild(job, further)


def shown(house: WorkingHouse, *arguments: object) -> str:
    config = str(house.configuration.data_dir.parent / "node.yaml")
    done = CliRunner().invoke(app, [*map(str, arguments), "--config", config])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def test_results_go_by_hand_in_the_destinations_own_form(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    further = NODE.replace(
        "models_dir",
        "  - {name: old, ae_title: OLD, host: 127.0.0.1, port: 4243, profile: legacy-pacs}\n"
        "  - {name: lab, ae_title: LAB, host: 127.0.0.1, port: 4244, profile: research}\nmodels_dir",
    )
    house, job = run(tmp_path, database, files, further)
    shown(house, "send", job.id, "old")
    owed = [d.result for d in house.owed(job) if d.destination == "old"]
    assert {(r.kind, r.variant) for r in owed} == set(wanted_variants(LEGACY).items())
    assert {r.sop_class_uid for r in owed if r.kind == "SR"} == {BasicTextSRStorage}
    (house.files.results_of(job.id) / DATA_FILE).unlink()
    assert "own form cannot be built (what the run found was not kept)" in shown(house, "send", job.id, "lab")
    assert {d.result.kind for d in house.owed(job) if d.destination == "lab"} == {"SR", "SEG"}
    for path in house.files.results_of(job.id).glob("*.dcm"):
        path.unlink()
    again = CliRunner().invoke(app, ["send", str(job.id), "pacs", "--config", str(tmp_path / "node.yaml")])
    assert "no longer on disk" in str(again.exception)


@pytest.fixture
def pacs() -> Iterator[Callable[..., ScriptedPacs]]:
    running: list[ScriptedPacs] = []

    def start(port: int, *classes: str) -> ScriptedPacs:
        running.append(ScriptedPacs(port, Script(), classes=classes))
        return running[-1]

    yield start
    for one in running:
        one.close()


class Sending:
    """A sender for a house."""

    def __init__(self, house: WorkingHouse, build: Callable[[int, ResultProfile], int]) -> None:
        self.house, self.through = house, threading.Event()
        self.sender = Sender(house.configuration, house.database, self.through.set, build)

    def turn(self) -> None:
        self.through.clear()
        self.sender.start_due(datetime.now(UTC) + timedelta(hours=1))
        assert self.through.wait(60)


def went(house: WorkingHouse, job: Job, kind: str) -> list[tuple[DeliveryState, str]]:
    return [(d.state, d.went_as) for d in house.owed(job) if d.result.kind == kind]


def test_refused_classes_go_in_forms_that_are_built_for_them(
    tmp_path: Path, database: Database, files: InstanceFiles, pacs: Callable[..., ScriptedPacs]
) -> None:
    """A PACS that takes Basic Text SR and pictures alone; the child process builds, and only what the PACS takes."""
    port = free_port()
    node = NODE.replace("4242}", f"{port}, profile: ohif}}")
    house, job = run(tmp_path, database, files, node)
    archive = pacs(port, BasicTextSRStorage, SecondaryCaptureImageStorage)
    sending = Sending(house, BuildApart(lambda: house.configuration))
    sending.turn()
    assert went(house, job, "SR") == [(OWED, "Basic Text SR")]
    assert went(house, job, "SEG") == [(REFUSED, "Secondary Capture")]
    sending.turn()
    sending.sender.close()
    assert went(house, job, "SR") == [(SENT, "Basic Text SR")]
    assert {d.state for d in house.owed(job) if d.result.kind == "SC"} == {SENT}
    ended = house.job_of("chest")
    assert (ended.state, ended.reason) == (JobState.DONE, "delivered; pacs takes no SEG 1, Secondary Capture was sent")
    text = next(r for r in house.results(job) if r.sop_class_uid == BasicTextSRStorage)
    assert text.sop_instance_uid in archive.received
    assert {r.sop_class_uid for r in house.results(job) if r.kind == "SR"} == {Comprehensive3DSRStorage, BasicTextSRStorage}
    assert len(archive.received) == len(set(archive.received)) == 8


def test_pictures_that_go_instead_are_all_of_them(
    tmp_path: Path, database: Database, files: InstanceFiles, pacs: Callable[..., ScriptedPacs]
) -> None:
    """A profile without pictures, and a PACS that takes nothing else."""
    port = free_port()
    node = NODE.replace("4242}", f"{port}, profile: plain}}") + "profiles: [{name: plain, objects: [sr, seg]}]\n"
    house, job = run(tmp_path, database, files, node)
    archive = pacs(port, SecondaryCaptureImageStorage)
    sending = Sending(house, build_here(house))
    sending.turn()
    sending.turn()
    sending.sender.close()
    assert house.job_of("chest").state is JobState.DONE
    assert len(archive.received) == 7
    assert went(house, job, "SEG") == [(REFUSED, "Secondary Capture")] or went(house, job, "SR") == [(REFUSED, "Secondary Capture")]
    report = read_report(house.files.results_of(job.id))
    assert {o.sop_instance_uid for o in report.objects} == {r.sop_instance_uid for r in house.results(job)}


@pytest.mark.parametrize(
    ("error", "state", "words"),
    [
        (ResultError("nothing was kept"), REFUSED, "Basic Text SR cannot be built: nothing was kept"),
        (StorageError("disk full"), OWED, "Basic Text SR could not be built yet: disk full"),
    ],
)
def test_form_that_cannot_be_built_is_told_and_tried_again_if_it_may_come_right(  # noqa: PLR0917 - fixtures
    tmp_path: Path,
    database: Database,
    files: InstanceFiles,
    pacs: Callable[..., ScriptedPacs],
    error: Exception,
    state: DeliveryState,
    words: str,
) -> None:
    port = free_port()
    node = NODE.replace("4242}", f"{port}, profile: plain}}") + "profiles: [{name: plain, objects: [sr], fallback: [text, sc]}]\n"
    house, job = run(tmp_path, database, files, node)
    pacs(port, BasicTextSRStorage)

    def fail(_job_id: int, _profile: ResultProfile) -> int:
        raise error

    sending = Sending(house, fail)
    sending.turn()
    sending.sender.close()
    [delivery] = house.owed(job)
    assert delivery.state is state
    assert words in delivery.reason
    assert house.job_of("chest").state is (JobState.FAILED if state is REFUSED else JobState.DELIVERING)


def test_profile_with_an_empty_chain_leaves_the_refusal(
    tmp_path: Path, database: Database, files: InstanceFiles, pacs: Callable[..., ScriptedPacs]
) -> None:
    port = free_port()
    node = NODE.replace("4242}", f"{port}, profile: plain}}") + "profiles: [{name: plain, objects: [sr, seg, sc], fallback: []}]\n"
    house, job = run(tmp_path, database, files, node)
    pacs(port, Comprehensive3DSRStorage, SecondaryCaptureImageStorage)
    sending = Sending(house, build_here(house))
    sending.turn()
    sending.sender.close()
    assert went(house, job, "SEG") == [(REFUSED, "")]
    assert house.job_of("chest").state is JobState.FAILED


def test_archive_without_segmentations_gets_generic_pacs_without_a_fault(
    tmp_path: Path, database: Database, files: InstanceFiles, pacs: Callable[..., ScriptedPacs]
) -> None:
    """Report and pictures are taken; what the segmentation shows is on the pictures, so nothing is built and the job is done."""
    port = free_port()
    house, job = run(tmp_path, database, files, NODE.replace("4242}", f"{port}, profile: generic-pacs}}"))
    archive = pacs(port, Comprehensive3DSRStorage, SecondaryCaptureImageStorage)

    def build(_job_id: int, _profile: ResultProfile) -> int:
        raise AssertionError("nothing is to be built")

    sending = Sending(house, build)
    sending.turn()
    sending.sender.close()
    assert house.job_of("chest").state is JobState.DONE
    assert went(house, job, "SEG") == [(REFUSED, "Secondary Capture")]
    assert (archive.stores, len(archive.received)) == (8, 8)
    [refused] = [d for d in house.owed(job) if d.result.kind == "SEG"]
    assert refused.reason.endswith(
        "accepts no presentation context for Segmentation Storage; Secondary Capture goes as an object of its own"
    )
    archive.classes_too(SegmentationStorage)
    with database.transaction() as session:
        queue.settle(session, job.id, JobState.DELIVERING, "retried by an operator", datetime.now(UTC))
        delivery_operations.reopen(session, job.id, datetime.now(UTC))
    again = Sending(house, build)
    again.turn()
    again.sender.close()
    assert went(house, job, "SEG") == [(SENT, "")]


def test_a_build_keeps_no_other_destination_waiting(
    tmp_path: Path, database: Database, files: InstanceFiles, pacs: Callable[..., ScriptedPacs]
) -> None:
    port, other = free_port(), free_port()
    ward = f"  - {{name: old, ae_title: ORTHANC, host: 127.0.0.1, port: {other}, profile: sr-sc}}\nmodels_dir"
    node = NODE.replace("4242}", f"{port}, profile: plain}}").replace("models_dir", ward)
    node += "profiles: [{name: plain, objects: [sr], sr_class: enhanced, fallback: [text]}]\n"
    house, job = run(tmp_path, database, files, node, RULES.replace("[pacs]", "[pacs, old]"))
    pacs(port, BasicTextSRStorage)
    pacs(other, Comprehensive3DSRStorage, SecondaryCaptureImageStorage)
    begun, may_end = threading.Event(), threading.Event()

    def build(job_id: int, profile: ResultProfile) -> int:
        begun.set()
        assert may_end.wait(30)
        return build_here(house)(job_id, profile)

    sending = Sending(house, build)
    sending.turn()  # ends when the other destination is through
    assert begun.wait(30)
    states = {d.destination: {e.state for e in house.owed(job) if e.destination == d.destination} for d in house.owed(job)}
    assert states == {"pacs": {OWED}, "old": {SENT}}
    sending.through.clear()
    may_end.set()
    assert sending.through.wait(30)
    sending.sender.close()
    assert went(house, job, "SR")[0] == (OWED, "Basic Text SR")


def test_result_of_images_that_could_not_be_read_goes_in_another_form_too(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    further = "  - {name: old, ae_title: OLD, host: 127.0.0.1, port: 4243, profile: legacy-pacs}\nmodels_dir"
    node = NODE.replace("sqlite:///node.db", database.url).replace("models_dir", further)
    house = WorkingHouse(tmp_path, database, files, RULES + "    checks: []\n", node)
    series = chest_series()
    house.receive([*series[:10], *series[13:]])
    [job] = house.work()
    report = read_report(house.files.results_of(job.id))
    assert report.outcome is Outcome.NOT_ANALYSED
    assert kept_result(house.files.results_of(job.id)).read_as is None
    shown(house, "send", job.id, "old")
    [text] = [d.result.path for d in house.owed(job) if d.destination == "old" and d.result.kind == "SR"]
    written = [str(e.value) for e in pydicom.dcmread(text).iterall() if e.keyword == "TextValue"]
    assert report.reasons
    assert set(report.reasons) <= set(written)


class Mute:
    """A channel to a destination that cannot be asked what it takes."""

    def probe(self) -> str:
        return ""

    def send(self, paths: Sequence[Path], answered: Callable[[int, Answer], None]) -> None:
        raise AssertionError("nothing is sent")


def test_destination_that_cannot_be_asked_gets_one_form_after_another(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    house, job = run(tmp_path, database, files, NODE.replace("4242}", "4242, profile: plain}") + PLAIN)
    asked: list[str] = []

    def build(job_id: int, profile: ResultProfile) -> int:
        asked.append(profile.sr_class)
        return build_here(house)(job_id, profile)

    stand_ins = StandIns(lambda: house.configuration, database, build)
    for form in ("Comprehensive SR", "Enhanced SR"):
        [delivery] = house.owed(job)
        assert stand_ins.may_replace(delivery)
        stand_ins.replace({delivery.id: "status 0122 (SOP class not supported)"}, [delivery], Mute())
        assert went(house, job, "SR") == [(OWED, form)]
    [delivery] = house.owed(job)
    assert not stand_ins.may_replace(delivery)  # the end of its chain
    assert asked == ["comp", "enhanced"]
