"""Archives that are down, slow, wrong or broken off, and a node that stops in the middle."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import evt

from dicom_node.domain.fetches import FetchKind, FetchState
from dicom_node.domain.studies import StudyState
from dicom_node.storage import fetches
from tests.conftest import free_port
from tests.integration.fetching.node import FetchNode
from tests.integration.query_peers import Answers, Scripted
from tests.phantoms import chest_series

PENDING = 0xFF00


class Archive(Scripted):
    """Knows studies, and says of their patient what a test wants."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port=port)
        self.studies: list[list[Dataset]] = []
        self.says: dict[str, str] = {}
        self.asked = threading.Event()
        self.find, self.get = self._answer, self._send

    def source(self, **changes: object) -> dict[str, object]:  # type: ignore[override]
        return {"name": "scripted", "ae_title": "SCRIPTED", "host": "127.0.0.1", "port": self.port, "timeout": "20s", **changes}

    def _answer(self, event: evt.Event) -> Answers:
        self.asked.set()
        wanted = event.identifier
        level = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}[wanted.QueryRetrieveLevel]
        seen: set[str] = set()
        for ds in (ds for study in self.studies for ds in study):
            asked = [k for k in ("StudyInstanceUID", "SeriesInstanceUID") if wanted.get(k)]
            if any(ds[k].value != wanted[k].value for k in asked) or ds[level].value in seen:
                continue
            seen.add(ds[level].value)
            answer = Dataset()
            for element in wanted:
                setattr(answer, element.keyword, self.says.get(element.keyword, ds.get(element.keyword, "")))
            answer.QueryRetrieveLevel = wanted.QueryRetrieveLevel
            yield PENDING, answer

    def _send(self, event: evt.Event) -> Iterator[object]:
        wanted = event.identifier
        chosen = [ds for study in self.studies for ds in study if ds.StudyInstanceUID == wanted.StudyInstanceUID]
        yield len(chosen)
        for ds in chosen:
            yield PENDING, ds


@pytest.fixture
def archive() -> Iterator[Archive]:
    running = Archive()
    yield running
    running.close()


def study_of(data_sets: list[Dataset]) -> str:
    return str(data_sets[0].StudyInstanceUID)


def prior_of(archive: Archive, folder: Path, **prior: object) -> FetchNode:
    return FetchNode(folder, [archive.source()], {"source": "scripted", "timeout": "60s", **prior})


def test_archive_that_is_down_is_asked_again_until_it_is_up(tmp_path: Path) -> None:
    slices = chest_series()[:3]
    port = free_port()
    down = {"name": "scripted", "ae_title": "SCRIPTED", "host": "127.0.0.1", "port": port, "timeout": "20s"}
    node = FetchNode(tmp_path, [down], max_attempts=100)
    node.start()
    try:
        node.receive(slices[:1])
        node.ask_missing(study_of(slices), "scripted")
        node.until(lambda: node.fetch().attempt >= 2)
        up = Archive(port)
        try:
            up.studies = [slices]
            ended = node.until_ended()
        finally:
            up.close()
        assert ended.state is FetchState.DONE, ended.reason
        assert len(node.arrivals) == 3
    finally:
        node.close()


def test_archive_that_stays_down_fails_the_request_after_the_last_attempt(tmp_path: Path) -> None:
    [image] = chest_series()[:1]
    gone = {"name": "gone", "ae_title": "GONE", "host": "127.0.0.1", "port": free_port(), "timeout": "2s"}
    node = FetchNode(tmp_path, [gone], max_attempts=3)
    node.start()
    try:
        node.receive([image])
        node.ask_count(str(image.StudyInstanceUID), "gone")
        ended = node.until_ended()
        assert (ended.state, ended.attempt) == (FetchState.FAILED, 3)
        found = node.expected(str(image.StudyInstanceUID), "gone")
        assert (found.count, found.holds) == (None, False)
        assert "nobody listens there" in found.reason
    finally:
        node.close()


def test_while_the_archive_is_down_a_prior_in_the_node_is_taken(tmp_path: Path) -> None:
    current, before = chest_series()[:1], chest_series(StudyDate="20230101")[:1]
    gone = {"name": "gone", "ae_title": "GONE", "host": "127.0.0.1", "port": free_port(), "timeout": "2s"}
    node = FetchNode(tmp_path, [gone], {"source": "gone", "timeout": "60s"}, max_attempts=2)
    node.start()
    try:
        node.receive(current + before)
        node.ask_prior(study_of(current))
        assert node.until_ended().state is FetchState.FAILED
        assert [s.study_instance_uid for s in node.priors(study_of(current)).studies] == [study_of(before)]
    finally:
        node.close()


def test_archive_that_is_too_slow_ends_the_search_in_time(archive: Archive, tmp_path: Path) -> None:
    def never(event: evt.Event) -> Answers:
        archive.asked.set()
        archive.let_go.wait(60)
        yield from ()

    archive.find = never
    current = chest_series()[:1]
    node = prior_of(archive, tmp_path, timeout="4s")
    node.start()
    try:
        node.receive(current)
        node.ask_prior(study_of(current))
        node.until(archive.asked.is_set)
        ended = node.until_ended()
        assert (ended.state, ended.attempt) == (FetchState.FAILED, 1)
        found = node.priors(study_of(current))
        assert (found.finished, found.studies) == (True, ())
        assert "out of time" in found.reason
    finally:
        node.close()


def test_another_patients_study_under_the_same_id_is_never_used(
    archive: Archive, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The archive's tables say that it is the patient's; the headers that come say otherwise."""
    current = chest_series()[:1]
    wrong = chest_series(StudyDate="20231101", PatientID="PH-9999")[:2]
    right = chest_series(StudyDate="20220101")[:2]
    archive.studies, archive.says = [wrong, right], {"PatientID": "PH-4711"}
    node = prior_of(archive, tmp_path)
    node.start()
    try:
        node.receive(current)
        node.ask_prior(study_of(current))
        assert "another patient's by its headers" in node.until_ended().reason
        assert [s.study_instance_uid for s in node.priors(study_of(current)).studies] == [study_of(right)]
        assert node.states()[study_of(wrong)] is StudyState.PRIOR
    finally:
        node.close()
    out = "".join(capfd.readouterr())
    assert "prior_of_another_patient" in out
    assert "PH-9999" not in out
    assert "PH-4711" not in out


def test_wild_cards_in_a_patient_id_bring_no_other_patients_study(archive: Archive, tmp_path: Path) -> None:
    current = chest_series(PatientID="PH-*")[:1]
    archive.studies = [chest_series(StudyDate="20231101", PatientID="PH-9999")[:2]]
    node = prior_of(archive, tmp_path)
    node.start()
    try:
        node.receive(current)
        node.ask_prior(study_of(current))
        assert node.until_ended().reason == "no earlier study of the patient was found"
        assert len(node.arrivals) == 1
    finally:
        node.close()


def test_study_whose_headers_differ_from_what_the_query_said_is_not_taken(archive: Archive, tmp_path: Path) -> None:
    current = chest_series()[:1]
    archive.studies = [chest_series(StudyDate="20231101", BodyPartExamined="HEAD")[:2]]
    archive.says = {"BodyPartExamined": ""}
    node = prior_of(archive, tmp_path, same=["BodyPartExamined"])
    node.start()
    try:
        node.receive(current)
        node.ask_prior(study_of(current))
        assert node.until_ended().reason == "no earlier study fits; not taken: its BodyPartExamined differs"
        assert node.priors(study_of(current)).studies == ()
    finally:
        node.close()


def test_series_that_the_query_excludes_are_not_fetched(archive: Archive, tmp_path: Path) -> None:
    current = chest_series()[:1]
    archive.studies = [chest_series(StudyDate="20231101", BodyPartExamined="HEAD")[:2]]
    node = prior_of(archive, tmp_path, same=["BodyPartExamined"])
    node.start()
    try:
        node.receive(current)
        node.ask_prior(study_of(current))
        assert node.until_ended().reason == "no earlier study fits; not taken: no series of it can meet the input"
        assert len(node.arrivals) == 1
    finally:
        node.close()


@pytest.mark.parametrize("kind", [FetchKind.MISSING, FetchKind.PRIOR])
def test_node_that_stops_in_the_middle_goes_on_where_it_was(archive: Archive, tmp_path: Path, kind: FetchKind) -> None:
    """The archive stalls after two of four instances; the next start fetches the rest, and only then takes the study."""
    current = chest_series()[:1]
    wanted = chest_series(*([study_of(current)] if kind is FetchKind.MISSING else []), StudyDate="20230101")[:4]
    archive.studies = [wanted, *([current] if kind is FetchKind.MISSING else [])]
    came, stalled = archive.get, threading.Event()

    def stall(event: evt.Event) -> Iterator[object]:
        yield 4
        for ds in wanted[:2]:
            yield PENDING, ds
        stalled.set()
        archive.let_go.wait(60)

    archive.get = stall
    node = prior_of(archive, tmp_path)
    node.start()
    try:
        node.receive(current)
        if kind is FetchKind.MISSING:
            node.ask_missing(study_of(current), "scripted")
        else:
            node.ask_prior(study_of(current))
        node.until(stalled.is_set)
        node.stop()
        assert node.fetch().state is FetchState.RUNNING
        node.index()
        assert len(node.arrivals) == 3
        if kind is FetchKind.PRIOR:
            assert node.states()[study_of(wanted)] is StudyState.PRIOR
            assert node.priors(study_of(current)).studies == ()
        archive.get = came
        node.start()
        ended = node.until_ended()
        assert (ended.state, ended.attempt) == (FetchState.DONE, 1), ended.reason
        assert {str(ds.SOPInstanceUID) for ds in wanted} <= set(node.arrivals)
        if kind is FetchKind.PRIOR:
            [found] = node.priors(study_of(current)).studies
            assert len(found.series[0].instances) == 4
    finally:
        archive.let_go.set()
        node.close()


def test_rule_that_is_gone_ends_its_search(archive: Archive, tmp_path: Path) -> None:
    current = chest_series()[:1]
    node = prior_of(archive, tmp_path)
    try:
        node.receive(current)
        node.ask_prior(study_of(current))
        (tmp_path / "without").mkdir()
        node.configuration = FetchNode(tmp_path / "without", [archive.source()]).configuration.model_copy(
            update={"rules_file": type(node.configuration.rules_file)(rules=())}
        )
        node.start()
        ended = node.until_ended()
        assert (ended.state, ended.reason) == (FetchState.FAILED, "the rule or its input is no longer there")
    finally:
        node.close()


def test_requests_end_in_time_even_if_nobody_can_begin_them(archive: Archive, tmp_path: Path) -> None:
    """One request hangs and takes the only place; the other one ends all the same."""
    archive.find = lambda _event: iter(archive.let_go.wait(60) and ())
    node = FetchNode(tmp_path, [archive.source()], max_parallel=1)
    node.start()
    try:
        node.ask_count("1.2.3", "scripted", within_s=30)
        node.until_state(FetchState.RUNNING)
        node.ask_missing("1.2.3", "scripted", within_s=0.2)

        def states() -> dict[FetchKind, FetchState]:
            with node.database.transaction() as session:
                return {f.kind: f.state for f in fetches.recent(session, 10)}

        node.until(lambda: states() == {FetchKind.COUNT: FetchState.RUNNING, FetchKind.MISSING: FetchState.FAILED})
    finally:
        archive.let_go.set()
        node.close()
