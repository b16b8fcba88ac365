"""Received images that rules send on: which of them, where to, once, and never back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, SecondaryCaptureImageStorage
from sqlalchemy import event
from typer.testing import CliRunner

from dicom_node.cli.jobs import app as jobs_app
from dicom_node.domain.destinations import Origin, StorageScp, StowServer
from dicom_node.domain.jobs import FORWARD, IMAGE, Delivery, DeliveryState, Job, JobState, StoredResult
from dicom_node.pipeline.forwarding import came_from
from dicom_node.pipeline.sender import Sender
from dicom_node.pipeline.settling import settle
from dicom_node.storage import Database, InstanceFiles, deliveries, fetches
from dicom_node.storage.forwarded import SentBy
from tests.arrivals import data_set_of
from tests.conftest import free_port
from tests.integration.ward import Ward
from tests.phantoms import chest_series
from tests.unit.test_config import NODE, load

SECOND = "  - {name: neuro, ae_title: NEURO, host: 127.0.0.1, port: 4244}\nmodels_dir"
RULES = """\
rules:
  - name: phantoms
    hold: true
    match: {PatientID: QA}
  - name: copy
    match: {Modality: CT, ImageType: "!LOCALIZER"}
    complete_when: {quiet: 1s}
    forward_to: [neuro]
"""
Wards = Callable[..., Ward]


@pytest.fixture
def wards(tmp_path: Path, database: Database, files: InstanceFiles, monkeypatch: pytest.MonkeyPatch) -> Wards:
    def build(rules: str = RULES) -> Ward:
        node = NODE.replace("models_dir", SECOND).replace("sqlite:///node.db", database.url)
        monkeypatch.setattr("tests.integration.ward.NODE", node)
        return Ward(tmp_path, database, files, rules)

    return build


def images(count: int = 3, series: Sequence[Dataset] = (), **elements: object) -> list[Dataset]:
    """A series of a study, the one of another series or a new one."""
    return chest_series(str(series[0].StudyInstanceUID) if series else None, **elements)[:count]


def forwarded(ward: Ward) -> list[Job]:
    return [job for job in ward.jobs() if job.key.model_digest == FORWARD]


def owed(ward: Ward, job: Job) -> list[Delivery]:
    with ward.database.transaction() as session:
        return deliveries.of_job(session, job.id)


def uids(found: Sequence[Delivery] | Sequence[Dataset]) -> set[str]:
    return {one.result.sop_instance_uid if isinstance(one, Delivery) else str(one.SOPInstanceUID) for one in found}


def test_matching_series_go_whole_and_as_they_were_received(wards: Wards) -> None:
    ward, first = wards(), images(3, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    first[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]  # a scout in the same series belongs to it
    second, other = images(2, first), images(2, first, Modality="MR")
    ward.receive(first + second + other, 0)
    ward.turns(0, 2)
    [job] = forwarded(ward)
    assert (job.state, job.model, job.send_to) == (JobState.DELIVERING, "forward", ("neuro",))
    assert job.reason == "forwards 5 instances to neuro"
    found = owed(ward, job)
    assert uids(found) == uids(first + second)
    assert {(d.result.kind, d.destination, d.state) for d in found} == {(IMAGE, "neuro", DeliveryState.OWED)}
    received = {str(ds.SOPInstanceUID): ds for ds in first + second}
    for one in found:
        assert pydicom.dcmread(one.result.path).PixelData == received[one.result.sop_instance_uid].PixelData
    assert ward.reasons(str(first[0].StudyInstanceUID))["copy"].startswith("forwards 5 instances of 2 series to neuro")


def test_only_the_series_of_named_inputs_go(wards: Wards) -> None:
    ward = wards(RULES.replace("    forward_to", "    inputs: {thin: {match: {SeriesDescription: thin}}}\n    forward_to"))
    thin = images(2, SeriesDescription="thin")
    ward.receive(thin + images(3, thin, SeriesDescription="thick"), 0)
    ward.turns(0, 2)
    assert uids(owed(ward, forwarded(ward)[0])) == uids(thin)


def test_late_instances_go_alone(wards: Wards) -> None:
    ward, series = wards(), images(4)
    ward.receive(series[:3], 0)
    ward.turns(0, 2)
    ward.receive(series[3:], 10)
    ward.turns(10, 12)
    first, second = forwarded(ward)
    assert (first.key.revision, second.key.revision) == (1, 2)
    assert (uids(owed(ward, first)), uids(owed(ward, second))) == (uids(series[:3]), uids(series[3:]))
    assert second.reason == "forwards 1 instance to neuro, 3 went before"
    ward.by_hand(str(series[0].StudyInstanceUID), 20)
    assert len(forwarded(ward)) == 2


def test_two_rules_forward_an_image_to_a_destination_once(wards: Wards) -> None:
    ward, series = wards(RULES + RULES.split("\n", 4)[4].replace("copy", "again")), images()
    ward.receive(series, 0)
    ward.turns(0, 2)
    first, second = forwarded(ward)
    assert (len(owed(ward, first)), len(owed(ward, second))) == (3, 0)
    assert (second.state, second.reason) == (JobState.DONE, "forwards 0 instances to neuro, 3 went before")


def test_images_do_not_go_back_to_who_sent_them(wards: Wards) -> None:
    ward, series = wards(RULES.replace("[neuro]", "[neuro, pacs]")), images(4)
    ward.receive(series[:3], 0, calling="NEURO")
    ward.receive(series[3:], 0, calling="CT1")
    ward.turns(0, 2)
    [job] = forwarded(ward)
    assert job.reason == "forwards 1 instance to neuro, 3 came from there; forwards 4 instances to pacs"
    assert uids([d for d in owed(ward, job) if d.destination == "neuro"]) == uids(series[3:])
    assert uids([d for d in owed(ward, job) if d.destination == "pacs"]) == uids(series)


@pytest.mark.parametrize(
    ("host", "title", "address", "back"),
    [
        ("10.1.2.3", "NEURO", "10.1.2.3", True),
        ("10.1.2.3", "NEURO", "::ffff:10.1.2.3", True),
        ("10.1.2.3", "NEURO", "10.1.2.4", False),
        ("10.1.2.3", "OTHER", "10.1.2.3", False),
        ("localhost", "NEURO", "127.0.0.1", True),
        ("neuro.example.org", "NEURO", "10.9.9.9", True),  # not looked up: rather not at all than in a circle
    ],
)
def test_who_sent_an_image_is_told_by_title_and_address(host: str, title: str, address: str, back: bool) -> None:
    assert came_from(StorageScp("neuro", "NEURO", host, 104, "orthanc", 30), SentBy(title, address)) is back
    assert not came_from(StowServer("neuro", Origin(f"https://{host}", 30), "orthanc"), SentBy(title, address))


def test_held_and_quarantined_studies_are_not_forwarded(wards: Wards) -> None:
    ward, held = wards(), images(PatientID="QA")
    mixed = images(2)
    mixed[1].PatientID = "ANOTHER"
    ward.receive(held + mixed, 0)
    ward.turns(0, 2)
    assert forwarded(ward) == []


def test_own_results_are_not_forwarded_and_forwarded_images_are_no_results(wards: Wards) -> None:
    ward, series = wards(), images()
    study = str(series[0].StudyInstanceUID)
    result = images(1, series, ManufacturerModelName="dicom-node")
    ward.receive(series + result, 0)
    ward.turns(0, 2)
    sent = uids(owed(ward, forwarded(ward)[0]))
    assert sent == uids(series)
    with ward.database.transaction() as session:
        assert fetches.own_results(session, sorted(sent)) == set()
        assert not fetches.results_made(session, study)
    late = images(1, series)
    late[0].SOPInstanceUID = series[0].SOPInstanceUID  # the UID of a forwarded image in another series is an image of its own
    ward.receive(late, 10)
    ward.turns(10, 12)
    assert ward.study(study).revision == 2


def test_a_rule_may_run_a_model_and_forward(wards: Wards) -> None:
    ward = wards(RULES.replace("    forward_to", "    model: chest-ct-densitometry\n    send_to: [pacs]\n    forward_to"))
    series = images()
    ward.receive(series, 0)
    made = ward.turns(0, 2)
    assert [(m.rule, m.instances) for m in made] == [("copy", 3), ("copy", 3)]
    run, forwarding = ward.jobs()
    assert (run.model, run.state, run.send_to) == ("chest-ct-densitometry", JobState.QUEUED, ("pacs",))
    assert (forwarding.model, forwarding.state, forwarding.send_to) == ("forward", JobState.DELIVERING, ("neuro",))
    reason = ward.reasons(str(series[0].StudyInstanceUID))["copy"]
    assert reason.startswith("runs chest-ct-densitometry on 3 instances and forwards 3 instances of 1 series to neuro")


def test_images_reach_the_destination_unchanged_and_nothing_stands_in_for_one_that_is_refused(wards: Wards, tmp_path: Path) -> None:
    ward, [image, capture, *_] = wards(RULES.replace("[neuro]", "[neuro, pacs]")), images(3)
    image.compress(RLELossless)
    capture.SOPClassUID = SecondaryCaptureImageStorage
    received: list[bytes] = []

    def store(event: evt.Event) -> int:
        received.append(event.request.DataSet.getvalue())
        return 0

    ae = AE("NEURO")
    ae.add_supported_context(CTImageStorage, RLELossless)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        port = int(server.server_address[1])
        ward.receive([image, capture], 0)
        ward.turns(0, 2)
        node = NODE.replace("models_dir", SECOND).replace("sqlite:///node.db", ward.database.url)
        configuration = load(tmp_path, node.replace("4244", str(port)).replace("4242", str(free_port())), RULES)
        sender = Sender(configuration, ward.database, lambda: None)
        sender.start_due(datetime.now(UTC))
        sender.close()
    finally:
        server.shutdown()
    [job] = forwarded(ward)
    found = {d.result.sop_class_uid: d for d in owed(ward, job) if d.destination == "neuro"}
    assert found[CTImageStorage].state is DeliveryState.SENT
    assert found[SecondaryCaptureImageStorage].state is DeliveryState.REFUSED
    assert found[SecondaryCaptureImageStorage].went_as == ""
    assert received == [data_set_of(found[CTImageStorage].result.path.read_bytes())]


def test_an_operator_sends_forwarded_images_elsewhere(wards: Wards, tmp_path: Path) -> None:
    ward = wards()
    ward.receive(images(), 0)
    ward.turns(0, 2)
    [job] = forwarded(ward)
    config = ["--config", str(tmp_path / "node.yaml")]
    result = CliRunner().invoke(jobs_app, ["send", str(job.id), "pacs", *config])
    assert "3 objects" in result.output
    assert {(d.destination, d.state) for d in owed(ward, job)} == {("neuro", DeliveryState.OWED), ("pacs", DeliveryState.OWED)}
    shown = CliRunner().invoke(jobs_app, ["show", str(job.id), *config]).output
    assert "DELIVERING, forward, rule copy" in shown
    assert "IMAGE" in shown


def test_the_end_of_a_job_with_many_deliveries_is_asked_of_the_database(wards: Wards) -> None:
    ward = wards()
    series = images(1)
    ward.receive(series, 0)
    ward.turns(0, 2)
    [job] = forwarded(ward)
    with ward.database.transaction() as session:
        more = [StoredResult(IMAGE, n, "1.2", generate_uid(), "1.3", Path("x")) for n in range(2, 60)]
        deliveries.record_results(session, job.id, more, {"neuro": {IMAGE: ""}}, datetime.now(UTC))
    rows = []
    with ward.database.transaction() as session:
        event.listen(session, "loaded_as_persistent", lambda _session, row: rows.append(row))
        assert settle(session, job.id, datetime.now(UTC)) is None
    assert len(rows) < 3
