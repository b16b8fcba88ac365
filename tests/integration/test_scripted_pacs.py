"""Deliveries to a PACS that misbehaves by script: each ends in the right state, and `deliveries show` says so in the right words."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pynetdicom.sop_class import BasicTextSRStorage, Comprehensive3DSRStorage, CTImageStorage

from dicom_node.domain.jobs import DeliveryState, JobState
from dicom_node.jobs import queue
from dicom_node.pipeline import committing
from dicom_node.storage import Database, deliveries, delivery_operations
from dicom_node.storage.circuits import read_circuits
from tests.integration.delivery_house import House, listening, result_of
from tests.integration.scripted_pacs import Script, ScriptedPacs
from tests.phantoms import chest_series, write

OWED, SENT, COMMITTED = DeliveryState.OWED, DeliveryState.SENT, DeliveryState.COMMITTED
REFUSED, DEAD, HELD = DeliveryState.REFUSED, DeliveryState.DEAD, DeliveryState.HELD
STATUSES = {
    0x0000: (SENT, ""),
    0xB000: (SENT, "B000 (stored, elements were coerced)"),
    0xB007: (SENT, "B007 (stored, data set does not match SOP class)"),
    0x0111: (SENT, "0111 (the destination has this instance already)"),
    0xA700: (OWED, "A700 (out of resources)"),
    0x0110: (OWED, "0110 (processing failure)"),
    0xA900: (REFUSED, "A900 (data set does not match SOP class)"),
    0xC123: (REFUSED, "C123 (cannot understand)"),
    0x0122: (REFUSED, "0122 (SOP class not supported)"),
    0x0124: (REFUSED, "0124 (not authorized: this node may not store there)"),
}


@pytest.fixture
def build(tmp_path: Path, database: Database) -> Iterator[Callable[..., House]]:
    built: list[House] = []

    def make(objects: int = 2) -> House:
        built.append(House(tmp_path, database, objects))
        return built[-1]

    yield make
    for house in built:
        house.sender.close()


@pytest.fixture
def pacs() -> Iterator[Callable[..., ScriptedPacs]]:
    running: list[ScriptedPacs] = []

    def start(house: House, *, classes: tuple[str, ...] = (CTImageStorage,), report_to: int = 0, **script: object) -> ScriptedPacs:
        running.append(ScriptedPacs(house.port, Script(**script), classes=classes, report_to=report_to))  # type: ignore[arg-type]
        return running[-1]

    yield start
    for one in running:
        one.close()


@pytest.fixture
def our_port(tmp_path: Path) -> Iterator[int]:
    with listening(tmp_path / "data") as port:
        yield port


def test_each_status_ends_in_its_state_with_its_code_and_the_comment(
    build: Callable[..., House], pacs: Callable[..., ScriptedPacs]
) -> None:
    house = build(len(STATUSES))
    archive = pacs(house, statuses=list(STATUSES), comment="patient 4711 unknown")
    house.turn()
    assert archive.associations == 1
    assert house.states() == [state for state, _ in STATUSES.values()]
    for number, (status, (state, words)) in enumerate(STATUSES.items()):
        shown = house.show(number)
        assert f": {state} since" in shown
        assert words in shown
        assert f"status {status:04X}" in shown
        assert ("comment: patient 4711 unknown" in shown) == (status != 0)
    with house.database.transaction() as session:
        assert "4711" not in str(queue.get(session, house.job_id))  # what the PACS said stays with the delivery
    archive.script.statuses = [0x0000]
    house.turn(after_s=5)
    assert house.job_state() is JobState.FAILED


def test_abort_in_the_middle_leaves_the_rest_owed_and_sends_nothing_twice(
    build: Callable[..., House], pacs: Callable[..., ScriptedPacs]
) -> None:
    house = build(3)
    archive = pacs(house, abort_at=2)
    house.turn()
    assert house.states() == [SENT, OWED, OWED]
    assert "association aborted" in house.show(1)
    house.turn(after_s=5)
    assert house.job_state() is JobState.DONE
    assert len(archive.received) == len(set(archive.received)) == 3


def test_silence_is_a_timeout_that_is_tried_again(build: Callable[..., House], pacs: Callable[..., ScriptedPacs]) -> None:
    house, answer = build(), threading.Event()
    archive = pacs(house, silent=answer)
    house.turn()
    assert house.states() == [OWED, OWED]
    assert "no response within 1 s" in house.show()
    answer.set()
    archive.script.silent = None
    house.turn(after_s=5)
    assert house.job_state() is JobState.DONE


def test_refused_contexts_are_final_and_no_fault_of_the_connection(build: Callable[..., House], pacs: Callable[..., ScriptedPacs]) -> None:
    house = build()
    pacs(house, classes=())
    house.turn()
    assert house.states() == [REFUSED, REFUSED]
    assert "accepts no presentation context for CT Image Storage" in house.show()
    assert "status 0122" in house.show()


def test_next_of_the_chain_goes_instead_of_a_refused_class(build: Callable[..., House], pacs: Callable[..., ScriptedPacs]) -> None:
    """A Comprehensive 3D SR is refused; the job has a Basic Text SR beside it that nobody was owed."""
    house = build(1)
    [report, plain] = chest_series()[1:3]
    report.SOPClassUID, plain.SOPClassUID = Comprehensive3DSRStorage, BasicTextSRStorage
    paths = write([report, plain], house.folder / "reports")
    house.job_id = house.job(paths[:1], "1.5")
    with house.database.transaction() as session:
        deliveries.record_results(session, house.job_id, [result_of(2, paths[1])], {}, datetime.now(UTC))
    archive = pacs(house, classes=(CTImageStorage, BasicTextSRStorage))
    house.turn()
    assert house.states() == [OWED]
    house.turn()
    assert house.states() == [SENT]
    assert archive.received[-1] == plain.SOPInstanceUID
    assert "SC 2 (went as Basic Text SR)" in house.show()
    assert "is not taken: Basic Text SR goes instead" in house.show()
    assert house.job_state() is JobState.DONE


def test_file_that_is_gone_refuses_itself_alone(build: Callable[..., House], pacs: Callable[..., ScriptedPacs]) -> None:
    house = build()
    pacs(house)
    house.paths[0].unlink()
    house.turn()
    assert house.states() == [REFUSED, SENT]
    assert "is missing or no DICOM Part 10 file" in house.show()


def test_too_many_attempts_give_up_and_retry_revives(build: Callable[..., House], pacs: Callable[..., ScriptedPacs]) -> None:
    house = build()
    archive = pacs(house, statuses=[0xA700])
    for _ in range(5):
        house.turn(after_s=5)
    assert house.states() == [DEAD, DEAD]
    assert house.job_state() is JobState.FAILED
    assert "given up after 5 attempts: status A700 (out of resources)" in house.show()
    assert "2 deliveries would be sent" in house.cli("retry", house.job_id, "--dry-run")
    assert house.states() == [DEAD, DEAD]
    archive.script.statuses = [0x0000]
    house.cli("retry", house.job_id)
    house.turn()
    assert house.job_state() is JobState.DONE


def test_held_is_not_sent_before_it_is_released(build: Callable[..., House], pacs: Callable[..., ScriptedPacs]) -> None:
    house = build()
    archive = pacs(house)
    house.cli("hold", house.job_id, "--reason", "second reader first")
    house.sender.start_due(datetime.now(UTC))
    assert house.sender.next_due() is None
    assert house.states() == [HELD, HELD]
    assert "held: second reader first" in house.show()
    house.cli("release", house.job_id)
    house.turn()
    assert house.job_state() is JobState.DONE
    assert archive.stores == 2


def test_destination_that_is_down_is_asked_by_one_echo_and_then_gets_everything(
    build: Callable[..., House], pacs: Callable[..., ScriptedPacs]
) -> None:
    house = build()
    for _ in range(2):
        house.turn(after_s=2)
    circuit = read_circuits(house.configuration.data_dir / "run")["pacs"]
    assert circuit.failures == 2
    assert "pacs is left alone after 2 failures in a row" in house.cli("list")
    attempts = [d.attempt for d in house.all()]
    house.sender.start_due(datetime.now(UTC))  # open: nothing begins
    assert [d.attempt for d in house.all()] == attempts
    archive = pacs(house)
    house.turn(after_s=5)
    assert (archive.echoes, archive.stores) == (1, 2)
    assert read_circuits(house.configuration.data_dir / "run") == {}
    assert house.job_state() is JobState.DONE


def test_commitment_on_the_same_association(build: Callable[..., House], pacs: Callable[..., ScriptedPacs]) -> None:
    house = build()
    house.commit("require")
    archive = pacs(house, commits="same")
    house.turn()
    archive.reporters[0].join(10)
    assert archive.answers == [0x0000]
    assert house.states() == [COMMITTED, COMMITTED]
    assert house.job_state() is JobState.DONE
    assert "committed, reported on the same association" in house.show()


def test_late_commitment_on_a_new_association_to_our_port(
    build: Callable[..., House], pacs: Callable[..., ScriptedPacs], our_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committing, "HOLD_S", 0.1)
    house = build()
    house.commit("require")
    archive = pacs(house, report_to=our_port)
    house.turn()
    assert house.states() == [SENT, SENT]
    assert house.job_state() is JobState.DELIVERING
    assert "commitment: asked for" in house.show()
    archive.asked.append(deepcopy(archive.asked[0]))
    archive.asked[1].TransactionUID = "1.2.3.4.5"
    assert archive.report(1) == 0x0110  # nobody asked for that one
    assert archive.report(0) == 0x0000
    house.sender.start_due(datetime.now(UTC))
    assert house.states() == [COMMITTED, COMMITTED]
    assert "committed, reported on the new association" in house.show()
    assert house.job_state() is JobState.DONE
    assert archive.report(0) == 0x0000  # told twice: the same answer, and no change


def test_partial_report_leaves_the_rest_uncommitted_and_overdue(
    build: Callable[..., House], pacs: Callable[..., ScriptedPacs], monkeypatch: pytest.MonkeyPatch
) -> None:
    house = build()
    house.commit("require")
    pacs(house, commits="same", named=1)
    house.turn()
    assert house.states() == [COMMITTED, SENT]
    assert house.job_state() is JobState.DELIVERING
    assert "the commitment report does not name the object" in house.show(1)
    monkeypatch.setattr("dicom_node.cli.deliveries.is_overdue", lambda d, now, after: committing.is_overdue(d, now + 2 * after, after))
    assert "commitment: overdue, asked for" in house.show(1)


def test_commitment_that_never_comes_is_asked_for_again_by_retry(
    build: Callable[..., House], pacs: Callable[..., ScriptedPacs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committing, "HOLD_S", 0.1)
    house = build()
    house.commit("require")
    archive = pacs(house)
    house.turn()
    assert house.states() == [SENT, SENT]
    archive.script.commits = "same"
    monkeypatch.setattr(committing, "HOLD_S", 5.0)
    house.cli("retry", house.job_id)
    house.turn()
    assert house.states() == [COMMITTED, COMMITTED]
    assert archive.stores == 2


def test_wait_does_not_keep_the_job(
    build: Callable[..., House], pacs: Callable[..., ScriptedPacs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committing, "HOLD_S", 0.1)
    house = build()
    house.commit("wait")
    pacs(house)
    house.turn()
    assert house.states() == [SENT, SENT]
    assert house.job_state() is JobState.DONE


@pytest.mark.parametrize(("unknown", "end", "job"), [(1, COMMITTED, JobState.DONE), (2, REFUSED, JobState.FAILED)])
def test_what_is_not_kept_is_sent_once_more_and_committed_once_more(
    build: Callable[..., House], pacs: Callable[..., ScriptedPacs], unknown: int, end: DeliveryState, job: JobState
) -> None:
    house = build()
    house.commit("wait")
    archive = pacs(house, commits="same", unknown=unknown)
    house.turn()
    assert house.states() == [OWED, OWED]
    assert "not committed: 0112 no such instance; sent again" in house.show()
    house.turn()
    assert house.states() == [end, end]
    assert archive.stores == 4
    assert house.job_state() is job
    if end is REFUSED:
        assert "not committed: 0112 no such instance, after it was sent again" in house.show()


def test_commitment_request_that_is_refused_is_repeated(build: Callable[..., House], pacs: Callable[..., ScriptedPacs]) -> None:
    house = build()
    house.commit("require")
    archive = pacs(house, action_status=0x0213, commits="same")
    house.turn()
    assert house.states() == [SENT, SENT]
    assert "commitment request answered 0213" in house.show()
    archive.script.action_status = 0
    house.turn(after_s=5)
    assert house.states() == [COMMITTED, COMMITTED]
    assert archive.stores == 2


def test_two_jobs_of_a_study_go_over_one_association(build: Callable[..., House], pacs: Callable[..., ScriptedPacs]) -> None:
    house = build(4)
    with house.database.transaction() as session:
        assert delivery_operations.hold(session, house.job_id, "", "no", datetime.now(UTC)) == 4
    archive = pacs(house)
    house.job_id = house.job(write(chest_series()[4:6], house.folder / "further"), "1.5")
    with house.database.transaction() as session:
        delivery_operations.release(session, 1, "", datetime.now(UTC))
    house.turn()
    assert (archive.associations, archive.stores) == (2, 6)  # two studies
