"""Storage commitment with the daemon as users run it: Orthanc and pynetdicom as requestors, kill -9 at every step."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, generate_uid

from dicom_node.domain.commitments import Commitment, CommitmentState
from dicom_node.storage import Database, commitments
from tests.acceptance.daemon import Daemon
from tests.acceptance.orthanc import Orthanc
from tests.conftest import free_port
from tests.integration.commitment_peer import CommitmentPeer, ask_on, references
from tests.integration.test_availability import notice
from tests.phantoms import chest_series, write

pytestmark = pytest.mark.acceptance
STRANGER = (CTImageStorage, "1.2.3.4.5.6")
pause = threading.Event()


class House:
    """A node, and a peer whose address it knows."""

    def __init__(self, folder: Path, pacs_port: int, port: int) -> None:
        self.port = port
        self.peer = CommitmentPeer(port, "CT", free_port())
        self.daemon = Daemon(folder / "node", pacs_port, "10m", port)
        self.daemon.node["commitment"] = {
            "report_to": [
                {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": pacs_port, "timeout": "5s"},
                {"ae_title": "CT", "host": "127.0.0.1", "port": self.peer.port, "timeout": "5s"},
            ]
        }
        self.daemon.write()

    def get(self, uid: str) -> Commitment | None:
        database = Database(f"sqlite:///{self.daemon.folder / 'data' / 'node.db'}")
        try:
            with database.transaction() as session:
                return commitments.get(session, uid)
        finally:
            database.close()

    def wait_for(self, uid: str, state: CommitmentState) -> None:
        Orthanc.wait_until(lambda: (found := self.get(uid)) is not None and found.state is state, 30)

    def wait_for_reason(self, uid: str, words: str) -> None:
        Orthanc.wait_until(lambda: (found := self.get(uid)) is not None and words in found.reason, 30)


@pytest.fixture(scope="module")
def pacs_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, Orthanc]]:
    folder, port = tmp_path_factory.mktemp("commitment"), free_port()
    pacs = Orthanc(folder / "pacs", port)
    house = House(folder, pacs.dicom_port, port)
    try:
        pacs.start()
        house.daemon.start()
        yield house, pacs
    finally:
        house.peer.hang_up()
        house.daemon.close()
        pacs.close()


def test_orthanc_asks_and_is_told_success(pacs_house: tuple[House, Orthanc], tmp_path: Path) -> None:
    house, pacs = pacs_house
    series = chest_series()
    study = pacs.add(write(series, tmp_path / "ct"))
    pacs.push(study)
    asked = pacs.client.post("/modalities/ainode/storage-commitment", json={"Resources": [study]}).raise_for_status().json()
    path = f"/storage-commitment/{asked['ID']}"
    pacs.wait_until(lambda: pacs.client.get(path).json()["Status"] != "Pending", 20)
    answer = pacs.client.get(path).json()
    assert answer["Status"] == "Success", answer
    assert len(answer["Success"]) == len(series)
    [one] = [c for c in json.loads(house.daemon.run("commitments", "list", "--json").stdout) if c["peer"]["calling_ae_title"] == "ORTHANC"]
    house.wait_for(one["transaction_uid"], CommitmentState.REPORTED)
    assert (one["wanted"], one["failed"]) == (24, 0)


def test_orthanc_is_told_what_was_altered_on_the_nodes_disk(pacs_house: tuple[House, Orthanc], tmp_path: Path) -> None:
    house, pacs = pacs_house
    series = chest_series()[:3]
    study = pacs.add(write(series, tmp_path / "ct"))
    pacs.push(study)
    folder = house.daemon.folder / "data" / "studies" / series[0].StudyInstanceUID
    pacs.wait_until(lambda: len(list(folder.rglob("*.dcm"))) == 3, 10)
    [altered] = folder.rglob(f"{series[1].SOPInstanceUID}.dcm")
    content = bytearray(altered.read_bytes())
    content[5000] ^= 0x80
    altered.write_bytes(content)
    asked = pacs.client.post("/modalities/ainode/storage-commitment", json={"Resources": [study]}).raise_for_status().json()
    path = f"/storage-commitment/{asked['ID']}"
    pacs.wait_until(lambda: pacs.client.get(path).json()["Status"] != "Pending", 20)
    answer = pacs.client.get(path).json()
    assert answer["Status"] == "Failure"
    assert [f["SOPInstanceUID"] for f in answer["Failures"]] == [series[1].SOPInstanceUID]
    assert "instance_altered_on_disk" in house.daemon.log()


@pytest.mark.parametrize("keeps_it_open", [True, False])
def test_both_ways_of_reporting(pacs_house: tuple[House, Orthanc], keeps_it_open: bool) -> None:
    house, _ = pacs_house
    house.peer.reports.got.clear()
    if not keeps_it_open:
        house.peer.listen()
    series = chest_series()[:5]
    association, uid = house.peer.associate(), generate_uid()
    for data_set in series:
        assert association.send_c_store(data_set).Status == 0
    assert ask_on(association, [*references(series), STRANGER], uid) == 0
    if not keeps_it_open:
        association.release()
    Orthanc.wait_until(lambda: bool(house.peer.reports.got), 10)
    house.wait_for(uid, CommitmentState.REPORTED)
    if keeps_it_open:
        association.release()
    house.peer.hang_up()
    assert house.peer.reports.got == [(uid, 2, {STRANGER[1]: 0x0112}, "same" if keeps_it_open else "new")]


def test_killed_anywhere_the_report_still_arrives_once(pacs_house: tuple[House, Orthanc]) -> None:
    """Each child, and the whole node, dies at a random moment after the request was acknowledged; the peer is away at first."""
    house, _ = pacs_house
    house.peer.reports.got.clear()
    asked = []
    for victim in ("receivers", "pipeline-0", "sender-0", "node"):
        series = chest_series()[:4]
        house.peer.store(series)
        asked.append(house.peer.ask(references(series)))
        pause.wait(random.uniform(0, 0.3))
        if victim == "node":
            house.daemon.kill()
            house.daemon.start()
        else:
            if victim == "receivers":
                house.daemon.kill_receivers()
            else:
                house.daemon.kill_child(victim)
            Orthanc.wait_until(house.daemon._listens, 20)
    house.wait_for_reason(asked[-1], "nobody listens there")
    house.peer.listen()
    for uid in asked:
        house.wait_for(uid, CommitmentState.REPORTED)
    house.peer.hang_up()
    assert sorted(house.peer.reports.got) == sorted((uid, 1, {}, "new") for uid in asked)
    shown = json.loads(house.daemon.run("commitments", "show", asked[0], "--json").stdout)
    assert [e["to_state"] for e in shown["events"]][:2] == ["REQUESTED", "VERIFIED"]
    assert shown["events"][-1]["reason"] == "answered with success on the new association"


def test_receiver_killed_while_it_holds_the_association_leaves_the_report_to_the_sender(pacs_house: tuple[House, Orthanc]) -> None:
    house, _ = pacs_house
    house.peer.reports.got.clear()
    house.peer.listen()
    association, uid = house.peer.associate(), generate_uid()
    assert ask_on(association, [STRANGER], uid) == 0
    house.daemon.kill_receivers()  # within the quarter of a second in which nothing is reported
    house.wait_for(uid, CommitmentState.REPORTED)
    house.peer.hang_up()
    association.abort()
    assert house.peer.reports.got == [(uid, 2, {STRANGER[1]: 0x0112}, "new")]
    Orthanc.wait_until(house.daemon._listens, 20)


def test_announced_study_is_shown_with_what_has_arrived(pacs_house: tuple[House, Orthanc]) -> None:
    house, _ = pacs_house
    series: list[Dataset] = chest_series()[:4]
    house.peer.store(series[:3])
    association = house.peer.associate()
    status, _ = association.send_n_create(notice(series), "1.2.840.10008.5.1.4.33", generate_uid())
    assert status.Status == 0
    association.release()

    def is_shown() -> bool:
        shown = house.daemon.run("studies", "show", str(series[0].StudyInstanceUID)).stdout
        return "announced by CT" in shown and "4 instances in 1 series (4 ONLINE); 3 of them have arrived" in shown

    Orthanc.wait_until(is_shown, 20)
