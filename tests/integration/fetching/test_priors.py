"""Priors, in the node and from Orthanc by C-GET, C-MOVE and WADO-RS."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.domain.fetches import FetchState
from dicom_node.domain.studies import StudyState
from dicom_node.storage.index import Arrival
from tests.acceptance.orthanc import Orthanc
from tests.integration.fetching.archives import archived, patient, uids
from tests.integration.fetching.node import FetchNode
from tests.phantoms import chest_series


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


def test_study_without_a_patient_id_has_no_prior(node: FetchNode) -> None:
    [image] = chest_series(PatientID="")[:1]
    node.receive([image])
    node.ask_prior(str(image.StudyInstanceUID))
    ended = node.until_ended()
    assert (ended.state, "no Patient ID" in ended.reason) == (FetchState.DONE, True)
