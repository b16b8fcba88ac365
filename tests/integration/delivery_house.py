"""A sender with a job that it owes to one destination, and the node's own listener beside it; no processes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pydicom
from typer.testing import CliRunner

from dicom_node.cli.deliveries import app
from dicom_node.config import Peer
from dicom_node.domain.durability import Durability
from dicom_node.domain.jobs import Delivery, DeliveryState, JobKey, JobState, StoredResult
from dicom_node.domain.routing import JobInput, RouteDecision
from dicom_node.jobs import queue
from dicom_node.pipeline.sender import Sender
from dicom_node.scp.door import Door, DoorSettings
from dicom_node.scp.listener import ListenOn
from dicom_node.scp.notices.commitment import commitment_contexts, commitment_handlers
from dicom_node.scp.notices.requests import RequestDesk, RequestSettings
from dicom_node.scp.places import Places
from dicom_node.scp.policy import AccessPolicy
from dicom_node.scp.server import Receiver, Services
from dicom_node.storage import Database, InstanceFiles, deliveries
from dicom_node.storage.request_files import RequestFolders
from tests.conftest import free_port
from tests.phantoms import chest_series, write
from tests.unit.test_config import NODE, load


@contextmanager
def listening(data_dir: Path, port: int = 0) -> Iterator[int]:
    """The node's own listener, which takes reports on new associations; yields its port."""
    files = InstanceFiles(data_dir)
    files.prepare()
    desk = RequestDesk(files, RequestFolders(files.data_dir), RequestSettings("receiver-0", 0, 100))
    door = Door(files, DoorSettings("receiver-0", Durability.NONE, 0))
    policy = AccessPolicy("AINODE", (Peer(name="pacs", ae_title="ORTHANC", host="127.0.0.1"),), 10)
    receiver = Receiver(door, policy, Places(files.run))
    yield receiver.start(ListenOn("127.0.0.1", port, 16384, 10, 10), Services(commitment_contexts(), commitment_handlers(desk)))
    receiver.drain(1)


class House:
    """A sender with a job of CT slices that it owes to one destination."""

    def __init__(self, folder: Path, database: Database, objects: int = 2, port: int = 0, ae_title: str = "ORTHANC") -> None:
        self.folder, self.database, self.port = folder, database, port or free_port()
        destination = NODE.replace("sqlite:///node.db", f"sqlite:///{folder / 'node.db'}").replace(
            "4242", f"{self.port}, timeout: {1 if not port else 20}s, commit: COMMIT"
        )
        place = "ae_title: {}, host: 127.0.0.1, port"
        destination = destination.replace(place.format("ORTHANC"), place.format(ae_title))
        self._node = destination + "delivery: {retry_first: 200ms, retry_max: 1s, breaker_failures: 2, max_attempts: 5}\n"
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
            results = [result_of(n, path) for n, path in enumerate(paths, start=1)]
            deliveries.record_results(session, job.id, results, {"pacs": {"SC": ""}}, now)
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


def result_of(number: int, path: Path) -> StoredResult:
    """Describe a file as the result that it is."""
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    return StoredResult("SC", number, ds.SOPClassUID, ds.SOPInstanceUID, ds.SeriesInstanceUID, path)
