"""Deliveries against a real storage SCP that answers what the test tells it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage

from dicom_node.config import Configuration
from dicom_node.delivery import scu
from dicom_node.delivery.outcomes import Outcome, Verdict
from dicom_node.domain.jobs import DeliveryState, JobKey, JobState, StoredResult
from dicom_node.domain.routing import JobInput, RouteDecision
from dicom_node.jobs import queue
from dicom_node.pipeline.sender import Sender
from dicom_node.storage import Database, deliveries, delivery_operations
from tests.conftest import free_port
from tests.phantoms import chest_series, write
from tests.unit.test_config import NODE, load


class Archive:
    """A storage SCP; `answers` are the statuses it gives, the last one for ever."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers = [0x0000]
        self.received: list[str] = []
        ae = AE("ORTHANC")
        ae.add_supported_context(CTImageStorage)
        self.server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])

    def _store(self, event: evt.Event) -> int:
        status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if status == 0:
            self.received.append(str(event.request.AffectedSOPInstanceUID))
        return status


class House:
    def __init__(self, folder: Path, database: Database) -> None:
        self.port = free_port()
        self.configuration: Configuration = load(folder, NODE.replace("4242", str(self.port)))
        self.database = database
        self.sent = threading.Event()
        self.sender = Sender(self.configuration, database, self.sent.set)
        paths = write(chest_series()[:3], folder / "results")
        now = datetime.now(UTC)
        with database.transaction() as session:
            decision = RouteDecision("rule", "model", (JobInput("image", "1.2", "1.2.3", ("1.2.3.4",)),), ("pacs",))
            job = queue.create(session, queue.NewJob(JobKey("1.2", 1, "rule", "digest"), decision, "1.0", 3), now)
            claimed = queue.claim(session, "w", now, timedelta(seconds=60))
            assert job is not None
            assert claimed is not None
            results = [StoredResult("SC", n, CTImageStorage, f"1.2.{n}", "1.3", p) for n, p in enumerate(paths, start=1)]
            deliveries.record_results(session, job.id, results, {"pacs": {"SC": ""}}, now)
            queue.finish(session, claimed, queue.Finished(delivering=True, timings={}), now)
        self.job_id = job.id

    def turn(self, after: timedelta = timedelta(0)) -> None:
        self.sent.clear()
        self.sender.start_due(datetime.now(UTC) + after)
        assert self.sent.wait(20)

    def job(self) -> queue.Job:
        with self.database.transaction() as session:
            job = queue.get(session, self.job_id)
        assert job is not None
        return job

    def states(self) -> list[DeliveryState]:
        with self.database.transaction() as session:
            return [d.state for d in deliveries.of_job(session, self.job_id)]


@pytest.fixture
def house(tmp_path: Path, database: Database) -> Iterator[House]:
    built = House(tmp_path, database)
    yield built
    built.sender.close()


@pytest.fixture
def archive(house: House) -> Iterator[Archive]:
    running = Archive(house.port)
    yield running
    running.server.shutdown()


def test_all_accepted_is_done(house: House, archive: Archive) -> None:
    house.turn()
    assert house.job().state is JobState.DONE
    assert len(archive.received) == 3


def test_nobody_there_leaves_the_job_waiting_with_reason_and_next_attempt(house: House) -> None:
    house.turn()
    job = house.job()
    assert job.state is JobState.DELIVERING
    assert "nobody listens there" in job.reason
    assert timedelta(seconds=3) < job.next_attempt_at - datetime.now(UTC) < timedelta(seconds=6)
    assert house.states() == [DeliveryState.OWED] * 3


def test_archive_that_comes_back_gets_everything_once(house: House) -> None:
    house.turn()
    running = Archive(house.port)
    house.turn(after=timedelta(minutes=1))
    running.server.shutdown()
    assert house.job().state is JobState.DONE
    assert len(running.received) == len(set(running.received)) == 3


def test_object_refused_for_good_fails_the_job_visibly(house: House, archive: Archive) -> None:
    archive.answers = [0x0000, 0xA900, 0x0000]
    house.turn()
    assert house.job().state is JobState.FAILED
    assert "A900" in house.job().reason
    assert house.states() == [DeliveryState.SENT, DeliveryState.REFUSED, DeliveryState.SENT]


def test_only_what_was_not_accepted_is_sent_again(house: House, archive: Archive) -> None:
    archive.answers = [0x0000, 0xA700, 0x0000]
    house.turn()
    assert house.job().state is JobState.DELIVERING
    archive.answers = [0x0000]
    house.turn(after=timedelta(minutes=1))
    assert house.job().state is JobState.DONE
    assert len(archive.received) == len(set(archive.received)) == 3


def test_sender_killed_after_the_last_answer_leaves_no_job_waiting_for_ever(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the record of the last answer and the end of the job there is no moment to die in."""

    def answer_all_then_die(calling: str, destination: object, paths: list[Path], answered: Callable[[int, Outcome], None]) -> None:
        for position in range(len(paths)):
            answered(position, Outcome(Verdict.STORED, 0, ""))
        raise SystemExit

    monkeypatch.setattr(scu, "send", answer_all_then_die)
    house.turn()
    assert house.states() == [DeliveryState.SENT] * 3
    assert house.job().state is JobState.DONE


def test_refused_deliveries_can_be_retried_by_a_person(house: House, archive: Archive) -> None:
    archive.answers = [0xC000]
    house.turn()
    now = datetime.now(UTC)
    with house.database.transaction() as session:
        assert delivery_operations.reopen(session, house.job_id, now) == 3
        queue.settle(session, house.job_id, JobState.DELIVERING, "retried", now)
    archive.answers = [0x0000]
    house.turn()
    assert house.job().state is JobState.DONE
