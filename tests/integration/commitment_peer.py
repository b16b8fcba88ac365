"""A peer that asks for storage commitment, and takes reports both ways; and the node's parts it speaks to, without processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_context, build_role, evt

from dicom_node.config import Configuration, Peer
from dicom_node.domain.commitments import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, Commitment
from dicom_node.domain.durability import Durability
from dicom_node.pipeline.commitments import Commitments
from dicom_node.pipeline.intake import AvailableModel, Intake
from dicom_node.pipeline.reporter import Reporter
from dicom_node.scp.door import Door, DoorSettings
from dicom_node.scp.listener import ListenOn
from dicom_node.scp.notices.commitment import commitment_contexts, commitment_handlers
from dicom_node.scp.notices.requests import RequestDesk, RequestSettings
from dicom_node.scp.places import Places
from dicom_node.scp.policy import AccessPolicy
from dicom_node.scp.server import Receiver, Services
from dicom_node.storage import Database, InstanceFiles, commitments
from dicom_node.storage.request_files import RequestFolders
from tests.conftest import free_port
from tests.requestor import ATTENTIVE
from tests.unit.test_config import NODE, load


def references(data_sets: Sequence[Dataset]) -> list[tuple[str, str]]:
    return [(str(d.SOPClassUID), str(d.SOPInstanceUID)) for d in data_sets]


def action_information(transaction_uid: str, wanted: Sequence[tuple[str, str]]) -> Dataset:
    data_set = Dataset()
    data_set.TransactionUID = transaction_uid
    items = []
    for sop_class, uid in wanted:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
        items.append(item)
    data_set.ReferencedSOPSequence = items
    return data_set


class Reports:
    """What a peer was told, by transaction; `statuses` are its answers, the last one for ever."""

    def __init__(self) -> None:
        self.got: list[tuple[str, int, dict[str, int], str]] = []
        self.statuses = [0x0000]
        self.arrived = threading.Event()

    def handle(self, event: evt.Event) -> tuple[int, None]:
        told = event.event_information
        failed = {str(i.ReferencedSOPInstanceUID): int(i.FailureReason) for i in told.get("FailedSOPSequence", [])}
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if status == 0:
            way = "new" if event.assoc.is_acceptor else "same"
            self.got.append((str(told.TransactionUID), int(event.event_type or 0), failed, way))
        self.arrived.set()
        return status, None


class CommitmentPeer:
    """The requestor: an AE that may listen too."""

    def __init__(self, node_port: int, ae_title: str = "ORTHANC", listens_on: int = 0) -> None:
        self.node_port, self.ae_title, self.port = node_port, ae_title, listens_on
        self.reports = Reports()
        self._server = None

    def listen(self) -> None:
        ae = AE(self.ae_title)
        ae.add_supported_context(STORAGE_COMMITMENT, scu_role=False, scp_role=True)
        handlers = [(evt.EVT_N_EVENT_REPORT, self.reports.handle)]
        self._server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def hang_up(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def associate(self):  # type: ignore[no-untyped-def]
        ae = AE(self.ae_title)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
        association = ae.associate(
            "127.0.0.1",
            self.node_port,
            contexts=[
                *(build_context(uid) for uid in (STORAGE_COMMITMENT, "1.2.840.10008.5.1.4.33")),
                build_context(CTImageStorage, ExplicitVRLittleEndian),
            ],
            ae_title="AINODE",
            ext_neg=[build_role(STORAGE_COMMITMENT, scu_role=True, scp_role=False)],
            evt_handlers=[ATTENTIVE, (evt.EVT_N_EVENT_REPORT, self.reports.handle)],
        )
        assert association.is_established
        return association

    def store(self, data_sets: Sequence[Dataset]) -> None:
        association = self.associate()
        for data_set in data_sets:
            assert association.send_c_store(data_set).Status == 0
        association.release()

    def ask(self, wanted: Sequence[tuple[str, str]], transaction_uid: str | None = None) -> str:
        """Ask and release at once, as most do; returns the transaction UID."""
        association = self.associate()
        uid = transaction_uid or generate_uid()
        assert ask_on(association, wanted, uid) == 0
        association.release()
        return uid


def ask_on(association, wanted: Sequence[tuple[str, str]], uid: str, action_type: int = 1) -> int:  # type: ignore[no-untyped-def]
    status, _ = association.send_n_action(action_information(uid, wanted), action_type, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE)
    return int(status.Status)


class CommitmentHouse:
    """Receiver, index, verification and reporter, each turned by hand."""

    def __init__(self, folder: Path, database: Database, files: InstanceFiles, report_to: bool = True, max_references: int = 100) -> None:
        self.peer_port = free_port()
        section = (
            f"commitment: {{report_to: [{{ae_title: ORTHANC, host: 127.0.0.1, port: {self.peer_port}, timeout: 3s}}]}}\n"
            if report_to
            else ""
        )
        self.configuration: Configuration = load(folder, NODE + section)
        self.database, self.files = database, files
        door = Door(files, DoorSettings("receiver-0", Durability.NONE, 0))
        peers = [Peer(name="pacs", ae_title="ORTHANC", host="localhost")]
        self.receiver = Receiver(door, AccessPolicy("AINODE", peers, 10), Places(files.run))
        desk = RequestDesk(files, RequestFolders(files.data_dir), RequestSettings("receiver-0", 0, max_references))
        services = Services(commitment_contexts(), commitment_handlers(desk))
        self.port = self.receiver.start(ListenOn("127.0.0.1", 0, 16384, 10, 30), services)
        self.peer = CommitmentPeer(self.port, listens_on=self.peer_port)
        self.told = threading.Event()
        self.restart()

    def restart(self) -> None:
        """New objects, as after a kill of pipeline and sender: what they know comes from database and files."""
        self.intake = Intake(self.configuration, self.database, self.files, {"chest-ct-densitometry": AvailableModel("1", "digest")})
        self.commitments = Commitments(self.database, self.files, lambda: None)
        self.reporter = Reporter(self.configuration, self.database, self.files, self.told.set)

    def store_and_index(self, data_sets: Sequence[Dataset]) -> None:
        self.peer.store(data_sets)
        self.intake.index_pending(lambda: True)

    def verify(self) -> None:
        self.commitments.turn(lambda: True)

    def report(self, after: timedelta = timedelta(0)) -> None:
        """Let the reporter do what is due, and wait until it is through."""
        self.told.clear()
        now = datetime.now(UTC) + after
        self.reporter.start_due(now)
        assert not self.reporter.busy or self.told.wait(20)

    def get(self, uid: str) -> Commitment:
        with self.database.transaction() as session:
            found = commitments.get(session, uid)
        assert found is not None
        return found

    def close(self) -> None:
        self.peer.hang_up()
        self.reporter.close()
        self.receiver.drain(1)


def wait_until(condition: Callable[[], bool], limit_s: float = 10.0) -> None:
    pause, deadline = threading.Event(), datetime.now(UTC) + timedelta(seconds=limit_s)
    while not condition():
        assert datetime.now(UTC) < deadline, f"not so within {limit_s} s"
        pause.wait(0.02)
