"""Counts, missing instances and priors from real archives: Orthanc by C-GET, C-MOVE and WADO-RS, and DCMTK's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicom_node.domain.fetches import FetchState
from dicom_node.domain.studies import StudyState
from dicom_node.storage.index import Arrival
from dicom_node.storage.tables import JobRow, ResultRow
from tests.acceptance.orthanc import Orthanc
from tests.conftest import free_port
from tests.integration.fetching_node import FetchNode
from tests.integration.query_peers import DICOMWEB, Dcmqrscp
from tests.phantoms import chest_series, write


@pytest.fixture(scope="module")
def node_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def pacs(node_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    allowed = dict.fromkeys(("DicomAlwaysAllowFind", "DicomAlwaysAllowGet", "DicomAlwaysAllowMove"), True)
    running = Orthanc(tmp_path_factory.mktemp("orthanc") / "pacs", node_port, **allowed, **DICOMWEB)
    running.start()
    yield running
    running.close()


@pytest.fixture(scope="module")
def dcmqrscp(node_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dcmqrscp]:
    running = Dcmqrscp(tmp_path_factory.mktemp("dcmqrscp") / "archive", node_port)
    yield running
    running.close()


@pytest.fixture
def sources(pacs: Orthanc, dcmqrscp: Dcmqrscp) -> list[dict[str, object]]:
    return [
        {"name": "get", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": pacs.dicom_port, "timeout": "10s"},
        {"name": "move", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": pacs.dicom_port, "retrieve": "move", "timeout": "10s"},
        {"name": "web", "url": f"http://127.0.0.1:{pacs.http_port}/dicom-web", "timeout": "10s"},
        {"name": "dcmqrscp", "ae_title": "DCMQRSCP", "host": "127.0.0.1", "port": dcmqrscp.port, "timeout": "10s"},
    ]


@pytest.fixture
def node(sources: list[dict[str, object]], node_port: int, tmp_path: Path) -> Iterator[FetchNode]:
    running = FetchNode(tmp_path, sources)
    running.listen(node_port)
    running.start()
    yield running
    running.close()


def archived(pacs: Orthanc | Dcmqrscp, folder: Path, data_sets: list[Dataset]) -> None:
    paths = write(data_sets, folder)
    if isinstance(pacs, Dcmqrscp):
        pacs.add(folder)
    else:
        pacs.add(paths)


def patient(number: str, **elements: object) -> dict[str, object]:
    return {"PatientID": number, **elements}


def uids(data_sets: list[Dataset]) -> set[str]:
    return {str(ds.SOPInstanceUID) for ds in data_sets}


@pytest.mark.parametrize("source", ["get", "web", "dcmqrscp"])
def test_archive_says_how_many_instances_a_study_has_and_which_have_not_come(
    node: FetchNode, pacs: Orthanc, dcmqrscp: Dcmqrscp, tmp_path: Path, source: str
) -> None:
    slices = chest_series()[:5]
    study = str(slices[0].StudyInstanceUID)
    archived(dcmqrscp if source == "dcmqrscp" else pacs, tmp_path / "archive", slices)
    node.receive(slices[:3])
    node.ask_count(study, source)
    assert node.until_ended().state is FetchState.DONE
    found = node.expected(study, source)
    assert (found.count, found.arrived, set(found.missing), found.holds) == (5, 3, uids(slices[3:]), False)
    node.receive(slices[3:])
    found = node.expected(study, source)
    assert (found.count, found.arrived, found.missing, found.holds) == (5, 5, (), True)


@pytest.mark.parametrize("source", ["get", "dcmqrscp"])
def test_number_that_equals_what_came_is_an_answer(node: FetchNode, pacs: Orthanc, dcmqrscp: Dcmqrscp, tmp_path: Path, source: str) -> None:
    slices = chest_series()[:3]
    archived(dcmqrscp if source == "dcmqrscp" else pacs, tmp_path / "archive", slices)
    node.receive(slices)
    node.ask_count(str(slices[0].StudyInstanceUID), source)
    assert ("IMAGE level" in node.until_ended().reason) == (source == "dcmqrscp")
    assert node.expected(str(slices[0].StudyInstanceUID), source).holds


@pytest.mark.parametrize("source", ["get", "web"])
def test_own_results_in_the_archive_do_not_count(node: FetchNode, pacs: Orthanc, tmp_path: Path, source: str) -> None:
    """One result is known by record, one only because it came back; the archive's own number is 4 and 2 are ours."""
    slices = chest_series()[:2]
    study = str(slices[0].StudyInstanceUID)
    [recorded] = chest_series(study)[:1]
    [returned] = chest_series(study, ManufacturerModelName="dicom-node")[:1]
    archived(pacs, tmp_path / "archive", [*slices, recorded, returned])
    node.receive([*slices, returned])
    with node.database.transaction() as session:
        job = JobRow(
            study_instance_uid=study, revision=1, rule="r", model_digest="d", model="m", model_version="1", state="DONE", max_attempts=3,
            inputs=[], send_to=[], next_attempt_at=datetime.now(UTC), created_at=datetime.now(UTC),
        )  # fmt: skip
        session.add(job)
        session.flush()
        result = ResultRow(
            job_id=job.id or 0, kind="SR", number=1, sop_class_uid="1.2", sop_instance_uid=str(recorded.SOPInstanceUID),
            series_instance_uid=str(recorded.SeriesInstanceUID), path="p",
        )  # fmt: skip
        session.add(result)
    node.ask_count(study, source)
    assert "2 result(s) of this node left out" in node.until_ended().reason
    found = node.expected(study, source)
    assert (found.count, found.arrived, found.holds) == (2, 2, True)


def test_archive_that_does_not_know_the_study_cannot_say(node: FetchNode) -> None:
    [image] = chest_series()[:1]
    node.receive([image])
    node.ask_count(str(image.StudyInstanceUID), "get")
    assert node.until_ended().state is FetchState.DONE
    found = node.expected(str(image.StudyInstanceUID), "get")
    assert (found.count, found.holds, found.asking) == (None, False, False)


@pytest.mark.parametrize("source", ["get", "move", "web", "dcmqrscp"])
def test_missing_instances_come_and_count_as_ordinary_arrivals(
    node: FetchNode, pacs: Orthanc, dcmqrscp: Dcmqrscp, tmp_path: Path, source: str
) -> None:
    """Of one series a slice is missing, the other has not come at all."""
    begun = chest_series()[:3]
    study = str(begun[0].StudyInstanceUID)
    absent = chest_series(study)[:2]
    archived(dcmqrscp if source == "dcmqrscp" else pacs, tmp_path / "archive", begun + absent)
    node.receive(begun[:2])
    node.ask_missing(study, source)
    ended = node.until_ended()
    assert (ended.state, ended.reason.startswith("3 missing instance(s) came")) == (FetchState.DONE, True), ended.reason
    assert {uid: node.arrivals[uid] for uid in uids(begun[2:] + absent)} == dict.fromkeys(uids(begun[2:] + absent), Arrival.NEW)
    assert len(node.arrivals) == 5
    assert node.states() == {study: StudyState.RECEIVING}
    node.ask_missing(study, source)
    assert node.until_ended().reason == "nothing is missing of 5 instance(s)"


@pytest.mark.parametrize("source", ["get", "move", "web"])
def test_prior_is_found_and_only_its_fitting_series_fetched(
    sources: list[dict[str, object]], pacs: Orthanc, node_port: int, tmp_path: Path, source: str
) -> None:
    whose = patient(f"PRIOR-{source}")
    current = chest_series(**whose)[:2]
    older = chest_series(**whose, StudyDate="20220301")[:3]
    newer = chest_series(**whose, StudyDate="20230301")[:3]
    other_modality = chest_series(str(newer[0].StudyInstanceUID), **whose, StudyDate="20230301", Modality="PT")[:2]
    head = chest_series(**whose, StudyDate="20231201", BodyPartExamined="HEAD")[:1]
    too_old = chest_series(**whose, StudyDate="20100101")[:1]
    later = chest_series(**whose, StudyDate="20240301")[:1]
    other_patient = chest_series(PatientID=f"PRIOR-{source}-2", StudyDate="20231101")[:1]
    archived(pacs, tmp_path / "archive", [*current, *older, *newer, *other_modality, *head, *too_old, *later, *other_patient])
    node = FetchNode(tmp_path, sources, {"source": source, "same": ["BodyPartExamined"], "max": 1, "timeout": "60s"})
    node.listen(node_port)
    node.start()
    try:
        node.receive(current)
        study = str(current[0].StudyInstanceUID)
        node.ask_prior(study)
        node.until_ended()
        found = node.priors(study)
        assert ([s.study_instance_uid for s in found.studies], found.finished) == ([str(newer[0].StudyInstanceUID)], True), found.reason
        assert len(found.studies[0].series[0].instances) == 3
        assert uids(newer) | uids(current) == set(node.arrivals)
        assert {node.arrivals[uid] for uid in uids(newer)} == {Arrival.PRIOR}
        assert node.states() == {study: StudyState.RECEIVING, str(newer[0].StudyInstanceUID): StudyState.PRIOR}
    finally:
        node.close()


def test_newest_priors_are_taken_as_many_as_the_rule_says(sources: list[dict[str, object]], pacs: Orthanc, tmp_path: Path) -> None:
    """The newest lies in the node already and is not fetched again."""
    whose = patient("NEWEST")
    current = chest_series(**whose)[:1]
    in_node = chest_series(**whose, StudyDate="20231101")[:2]
    second = chest_series(**whose, StudyDate="20220301")[:2]
    third = chest_series(**whose, StudyDate="20210301")[:2]
    archived(pacs, tmp_path / "archive", [*current, *in_node, *second, *third])
    node = FetchNode(tmp_path, sources, {"source": "get", "max": 2, "timeout": "60s"})
    node.start()
    try:
        node.receive(current + in_node)
        study = str(current[0].StudyInstanceUID)
        node.ask_prior(study)
        node.until_ended()
        found = node.priors(study)
        assert [s.study_instance_uid for s in found.studies] == [str(s[0].StudyInstanceUID) for s in (in_node, second)], found.reason
        assert set(node.arrivals) == uids(current + in_node + second)
    finally:
        node.close()


def test_prior_in_the_node_needs_no_source(tmp_path: Path) -> None:
    whose = patient("LOCAL", IssuerOfPatientID="HOSPITAL")
    current = chest_series(**whose)[:1]
    before = chest_series(**whose, StudyDate="20230101")[:2]
    same_day = chest_series(**whose, StudyTime="090000")[:1]
    other_issuer = chest_series(PatientID="LOCAL", IssuerOfPatientID="ELSEWHERE", StudyDate="20231201")[:1]
    node = FetchNode(tmp_path, [], {"max": 5})
    node.start()
    try:
        node.receive(current + before + same_day + other_issuer)
        node.ask_prior(str(current[0].StudyInstanceUID))
        node.until_ended()
        found = node.priors(str(current[0].StudyInstanceUID))
        assert [s.study_instance_uid for s in found.studies] == [str(s[0].StudyInstanceUID) for s in (same_day, before)], found.reason
    finally:
        node.close()


def test_prior_that_is_too_large_is_left_and_the_next_one_taken(sources: list[dict[str, object]], pacs: Orthanc, tmp_path: Path) -> None:
    whose = patient("LARGE")
    current = chest_series(**whose)[:1]
    large = chest_series(**whose, StudyDate="20231101")[:4]
    small = chest_series(**whose, StudyDate="20220101")[:3]
    archived(pacs, tmp_path / "archive", large + small)
    node = FetchNode(tmp_path, sources, {"source": "web", "timeout": "60s"}, max_instances=3)
    node.start()
    try:
        node.receive(current)
        node.ask_prior(str(current[0].StudyInstanceUID))
        assert "4 instances to be fetched, and fetch.max_instances allows 3" in node.until_ended().reason
        [found] = node.priors(str(current[0].StudyInstanceUID)).studies
        assert found.study_instance_uid == str(small[0].StudyInstanceUID)
    finally:
        node.close()


def test_too_many_missing_instances_are_not_fetched(sources: list[dict[str, object]], pacs: Orthanc, tmp_path: Path) -> None:
    slices = chest_series()[:5]
    archived(pacs, tmp_path / "archive", slices)
    node = FetchNode(tmp_path, sources, max_instances=3)
    node.start()
    try:
        node.receive(slices[:1])
        node.ask_missing(str(slices[0].StudyInstanceUID), "get")
        ended = node.until_ended()
        assert (ended.state, ended.attempt) == (FetchState.FAILED, 1)
        assert "4 instances are missing, and fetch.max_instances allows 3" in ended.reason
        assert set(node.arrivals) == uids(slices[:1])
    finally:
        node.close()


def test_study_without_a_patient_id_has_no_prior(node: FetchNode) -> None:
    [image] = chest_series(PatientID="")[:1]
    node.receive([image])
    node.ask_prior(str(image.StudyInstanceUID))
    ended = node.until_ended()
    assert (ended.state, "no Patient ID" in ended.reason) == (FetchState.DONE, True)
