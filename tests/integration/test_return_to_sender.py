"""Results that return to whoever sent the study, with archives that answer as those senders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, Verification
from typer.testing import CliRunner

from dicom_node.cli.deliveries import app as deliveries_app
from dicom_node.cli.jobs import app as jobs_app
from dicom_node.domain.instances import AssociationPeer
from dicom_node.domain.jobs import Delivery, DeliveryState, JobKey, JobState
from dicom_node.domain.routing import JobInput, RouteDecision
from dicom_node.jobs import queue
from dicom_node.pipeline.headers import received_instance
from dicom_node.pipeline.sender import Sender
from dicom_node.storage import Database, InstanceFiles, deliveries, delivery_operations, index
from tests.commands import dicom_node
from tests.conftest import free_port
from tests.integration.delivery_house import result_of
from tests.phantoms import chest_series, write
from tests.unit.test_config import NODE, load

SLICES = chest_series()[:4]
STUDY = str(SLICES[0].StudyInstanceUID)
SERIES = str(SLICES[0].SeriesInstanceUID)
CT1, CT2 = AssociationPeer("CT1", "AINODE", "127.0.0.1"), AssociationPeer("CT2", "AINODE", "127.0.0.1")


class Scanner:
    """A storage SCP that a peer runs."""

    def __init__(self, ae_title: str) -> None:
        self.received: list[str] = []
        ae = AE(ae_title)
        ae.require_called_aet = True
        ae.add_supported_context(CTImageStorage)
        ae.add_supported_context(Verification)
        self._server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])
        self.port = int(self._server.server_address[1])

    def _store(self, event: evt.Event) -> int:
        self.received.append(str(event.request.AffectedSOPInstanceUID))
        return 0

    def close(self) -> None:
        self._server.shutdown()


class Ward:
    """A study whose slices came from different peers, and a job on it whose results return."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder, self.database = folder, database
        self.results = write(chest_series()[:2], folder / "results")

    def configure(self, **ports: int | None) -> None:
        """Peers by their title, with the port of each."""
        peers = "".join(
            f"  - {{name: {name.lower()}, ae_title: {name}, host: 127.0.0.1{f', port: {port}' if port else ''}}}\n"
            for name, port in ports.items()
        )
        node = NODE.replace("sqlite:///node.db", f"sqlite:///{self.folder / 'node.db'}")
        pacs = "  - {name: pacs, ae_title: ORTHANC, host: 127.0.0.1, port: 4242}\n"
        node = node.replace(pacs, f"{pacs}  - {{name: back, type: sender, timeout: 2s}}\n")
        node = node.replace("peers:\n", f"peers:\n{peers}  - {{name: spare, ae_title: SPARE, host: 127.0.0.1, port: {free_port()}}}\n")
        self.configuration = load(self.folder, node)

    def arrive(self, *peers: AssociationPeer) -> None:
        files = InstanceFiles(self.folder / "data")
        files.prepare()
        with self.database.transaction() as session:
            for path, peer in zip(write(SLICES, self.folder / "slices"), peers, strict=True):
                index.index_instance(session, files, replace(received_instance(path), peer=peer))

    def job(self, inputs: int = 4) -> int:
        now = datetime.now(UTC)
        uids = tuple(str(s.SOPInstanceUID) for s in SLICES[:inputs])
        decision = RouteDecision("rule", "model", (JobInput("image", STUDY, SERIES, uids),), ("back",))
        with self.database.transaction() as session:
            job = queue.create(session, queue.NewJob(JobKey(STUDY, 1, "rule", "digest"), decision, "1.0", 3), now)
            claimed = queue.claim(session, "w", now, timedelta(seconds=60))
            assert job is not None
            assert claimed is not None
            deliveries.record_results(session, job.id, [result_of(n, p) for n, p in enumerate(self.results, 1)], {"back": {"SC": ""}}, now)
            queue.finish(session, claimed, queue.Finished(delivering=True, timings={}), now)
        return job.id

    def turn(self, after_s: float = 0.0) -> None:
        """A sender that is started, sends what is due and ends."""
        sender = Sender(self.configuration, self.database, lambda: None)
        sender.start_due(datetime.now(UTC) + timedelta(seconds=after_s))
        sender.close()

    def deliveries(self, job_id: int) -> list[Delivery]:
        with self.database.transaction() as session:
            return deliveries.of_job(session, job_id)

    def went(self, job_id: int) -> list[tuple[str, DeliveryState]]:
        return [(d.destination, d.state) for d in self.deliveries(job_id)]

    def job_state(self, job_id: int) -> JobState | None:
        with self.database.transaction() as session:
            job = queue.get(session, job_id)
        return job.state if job else None


@pytest.fixture
def ward(tmp_path: Path, database: Database) -> Ward:
    return Ward(tmp_path, database)


@pytest.fixture
def scanner() -> Iterator[Callable[[str], Scanner]]:
    running: list[Scanner] = []

    def start(ae_title: str) -> Scanner:
        running.append(Scanner(ae_title))
        return running[-1]

    yield start
    for one in running:
        one.close()


def test_results_return_to_the_peer_that_sent_most_of_the_inputs(ward: Ward, scanner: Callable[[str], Scanner]) -> None:
    first, second = scanner("CT1"), scanner("CT2")
    ward.configure(CT1=first.port, CT2=second.port)
    ward.arrive(CT1, CT2, CT2, CT2)
    job_id = ward.job()
    ward.turn()
    assert ward.went(job_id) == [("back@ct2", DeliveryState.SENT)] * 2
    assert (len(first.received), len(second.received)) == (0, 2)
    assert ward.job_state(job_id) is JobState.DONE


def test_only_the_inputs_of_the_job_count_and_of_equals_the_first_peer(ward: Ward, scanner: Callable[[str], Scanner]) -> None:
    ward.configure(CT2=scanner("CT2").port, CT1=scanner("CT1").port)
    ward.arrive(CT1, CT2, CT1, CT1)
    job_id = ward.job(inputs=2)
    ward.turn()
    assert ward.went(job_id)[0][0] == "back@ct2"


@pytest.mark.parametrize(
    ("peer", "words"),
    [
        (AssociationPeer("CT1", "AINODE", "127.0.0.1"), "peer ct1, who sent the study, has no port: give it a port in peers"),
        (AssociationPeer("CT9", "AINODE", "127.0.0.1"), "CT9 at 127.0.0.1, who sent the study, is no peer: add it to peers"),
        (AssociationPeer("CT1", "AINODE", "10.1.2.3"), "CT1 at 10.1.2.3, who sent the study, is no peer"),
        (AssociationPeer("IMPORT", "AINODE", "localhost"), "IMPORT at localhost, who sent the study, is no peer"),
        (AssociationPeer("AINODE", "AINODE", "127.0.0.1"), "is this node itself"),
    ],
)
def test_results_without_a_way_back_are_refused_visibly_and_not_lost(ward: Ward, peer: AssociationPeer, words: str) -> None:
    ward.configure(CT1=None, AINODE=free_port())
    ward.arrive(*[peer] * 4)
    job_id = ward.job()
    ward.turn()
    assert ward.went(job_id) == [("back", DeliveryState.REFUSED)] * 2
    assert words in ward.deliveries(job_id)[0].reason
    assert ward.job_state(job_id) is JobState.FAILED


def test_a_port_that_is_added_lets_a_retry_through(ward: Ward, scanner: Callable[[str], Scanner]) -> None:
    ward.configure(CT1=None)
    ward.arrive(*[CT1] * 4)
    job_id = ward.job()
    ward.turn()
    running = scanner("CT1")
    ward.configure(CT1=running.port)
    result = CliRunner().invoke(deliveries_app, ["retry", str(job_id), "--config", str(ward.folder / "node.yaml")])
    assert result.exit_code == 0, result.output
    ward.turn()
    assert ward.went(job_id) == [("back@ct1", DeliveryState.SENT)] * 2
    assert len(running.received) == 2
    assert ward.job_state(job_id) is JobState.DONE


def test_one_silent_peer_keeps_nothing_from_another(ward: Ward, scanner: Callable[[str], Scanner]) -> None:
    second = scanner("CT2")
    ward.configure(CT1=free_port(), CT2=second.port)
    ward.arrive(CT1, CT1, CT1, CT2)
    job_id = ward.job()
    ward.turn()
    assert ward.went(job_id) == [("back@ct1", DeliveryState.OWED)] * 2
    assert "nobody listens there" in ward.deliveries(job_id)[0].reason
    result = CliRunner().invoke(jobs_app, ["send", str(job_id), "back@ct2", "--config", str(ward.folder / "node.yaml")])
    assert result.exit_code == 0, result.output
    ward.turn()
    assert ward.went(job_id) == [("back@ct1", DeliveryState.OWED)] * 2 + [("back@ct2", DeliveryState.SENT)] * 2
    assert len(second.received) == 2


def test_each_peer_is_asked_by_its_own_name(ward: Ward, scanner: Callable[[str], Scanner]) -> None:
    ward.configure(CT1=scanner("CT1").port, CT2=free_port())
    config = ward.folder / "node.yaml"
    assert "answered in" in dicom_node("echo", "back@ct1", "--config", config).out
    assert "nobody listens there" in dicom_node("echo", "back@ct2", "--config", config).err
    assert "name one as back@PEER" in dicom_node("echo", "back", "--config", config).err


def test_results_asked_for_twice_are_owed_once(ward: Ward, scanner: Callable[[str], Scanner]) -> None:
    running = scanner("CT1")
    ward.configure(CT1=running.port)
    ward.arrive(*[CT1] * 4)
    job_id = ward.job()
    ward.turn()
    config = ["--config", str(ward.folder / "node.yaml")]
    result = CliRunner().invoke(jobs_app, ["send", str(job_id), "back", *config])
    assert "was not sent or owed already" in str(result.exception)
    now = datetime.now(UTC)
    with ward.database.transaction() as session:
        assert deliveries.owe_further(session, job_id, "back", {"SC": ""}, now) == 2
        for one in deliveries.of_job(session, job_id)[2:]:
            delivery_operations.readdress(session, one.id, "back@ct1", now)
    assert ward.went(job_id) == [("back@ct1", DeliveryState.SENT)] * 2
