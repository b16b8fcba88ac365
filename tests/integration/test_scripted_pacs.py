"""Deliveries to a PACS that misbehaves by script: each ends in the right state, and `deliveries show` says so in the right words."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pynetdicom.sop_class import CTImageStorage
from typer.testing import CliRunner

from dicom_node.cli.deliveries import app
from dicom_node.config import Peer
from dicom_node.domain.durability import Durability
from dicom_node.domain.jobs import Delivery, DeliveryState, JobKey, JobState, StoredResult
from dicom_node.domain.routing import JobInput, RouteDecision
from dicom_node.jobs import queue
from dicom_node.pipeline import committing
from dicom_node.pipeline.sender import Sender
from dicom_node.scp.door import Door, DoorSettings
from dicom_node.scp.listener import ListenOn
from dicom_node.scp.notices.commitment import commitment_contexts, commitment_handlers
from dicom_node.scp.notices.requests import RequestDesk, RequestSettings
from dicom_node.scp.places import Places
from dicom_node.scp.policy import AccessPolicy
from dicom_node.scp.server import Receiver, Services
from dicom_node.storage import Database, InstanceFiles, deliveries, delivery_operations
from dicom_node.storage.circuits import read_circuits
from dicom_node.storage.request_files import RequestFolders
from tests.conftest import free_port
from tests.integration.scripted_pacs import Script, ScriptedPacs
from tests.phantoms import chest_series, write
from tests.unit.test_config import NODE, load

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


class House:
    """A sender with a job of CT slices that it owes to one destination."""

    def __init__(self, folder: Path, database: Database, objects: int = 2, node: str = "") -> None:
        self.folder, self.database, self.port = folder, database, free_port()
        destination = NODE.replace("sqlite:///node.db", f"sqlite:///{folder / 'node.db'}").replace(
            "4242", f"{self.port}, timeout: 1s, commit: COMMIT"
        )
        self._node = destination + "delivery: {retry_first: 200ms, retry_max: 1s, breaker_failures: 2, max_attempts: 5}\n" + node
        self.commit("off")
        self.through = threading.Event()
        self.sender = Sender(self.configuration, database, self.through.set)
        self.paths = write(chest_series()[:objects], folder / "results")
        self.job_id = self.job(self.paths)

    def commit(self, policy: str) -> None:
        self.configuration = load(self.folder, self._node.replace("COMMIT", policy))
        if hasattr(self, "sender"):
            self.sender.reconfigure(self.configuration)

    def job(self, paths: list[Path], study: str = "1.2") -> int:
        now = datetime.now(UTC)
        with self.database.transaction() as session:
            decision = RouteDecision("rule", "model", (JobInput("image", study, "1.2.3", ("1.2.3.4",)),), ("pacs",))
            job = queue.create(session, queue.NewJob(JobKey(study, 1, "rule", "digest"), decision, "1.0", 3), now)
            claimed = queue.claim(session, "w", now, timedelta(seconds=60))
            assert job is not None
            assert claimed is not None
            results = [StoredResult("SC", n, CTImageStorage, f"{study}.{n}", "1.3", p) for n, p in enumerate(paths, start=1)]
            deliveries.record_results(session, job.id, results, ["pacs"], now)
            queue.finish(session, claimed, queue.Finished(delivering=True, timings={}), now)
        return job.id

    def turn(self, after_s: float = 0.0) -> None:
        self.through.clear()
        self.sender.start_due(datetime.now(UTC) + timedelta(seconds=after_s))
        assert self.through.wait(20)

    def all(self) -> list[Delivery]:
        with self.database.transaction() as session:
            return deliveries.of_job(session, self.job_id)

    def states(self) -> list[DeliveryState]:
        return [d.state for d in self.all()]

    def job_state(self) -> JobState:
        with self.database.transaction() as session:
            job = queue.get(session, self.job_id)
        assert job is not None
        return job.state

    def cli(self, *arguments: object) -> str:
        result = CliRunner().invoke(app, [*map(str, arguments), "--config", str(self.folder / "node.yaml")])
        assert result.exit_code == 0, result.output
        return result.output

    def show(self, number: int = 0) -> str:
        return self.cli("show", self.all()[number].id)


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
    """The node's own listener, which takes reports on new associations."""
    files = InstanceFiles(tmp_path / "data")
    files.prepare()
    desk = RequestDesk(files, RequestFolders(files.data_dir), RequestSettings("receiver-0", 0, 100))
    door = Door(files, DoorSettings("receiver-0", Durability.NONE, 0))
    policy = AccessPolicy("AINODE", (Peer(name="pacs", ae_title="ORTHANC", host="127.0.0.1"),), 10)
    receiver = Receiver(door, policy, Places(files.run))
    yield receiver.start(ListenOn("127.0.0.1", 0, 16384, 10, 10), Services(commitment_contexts(), commitment_handlers(desk)))
    receiver.drain(1)


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
    house.job_id = house.job(house.paths[:2], "1.5")
    with house.database.transaction() as session:
        delivery_operations.release(session, 1, "", datetime.now(UTC))
    house.turn()
    assert (archive.associations, archive.stores) == (2, 6)  # two studies
