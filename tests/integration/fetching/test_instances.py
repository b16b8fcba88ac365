"""Counts and missing instances from real archives: Orthanc by C-GET, C-MOVE and WADO-RS, and DCMTK's."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicom_node.domain.fetches import FetchState
from dicom_node.domain.studies import StudyState
from dicom_node.storage.index import Arrival
from dicom_node.storage.tables import JobRow, ResultRow
from tests.acceptance.orthanc import Orthanc
from tests.integration.fetching.archives import archived, uids
from tests.integration.fetching.node import FetchNode
from tests.integration.query_peers import Dcmqrscp
from tests.phantoms import chest_series


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
