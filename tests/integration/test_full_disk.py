"""A disk that is really full: refused with A700 and nothing else, and receiving goes on by itself when there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom.sop_class import CTImageStorage

from dicom_node.config import Peer
from dicom_node.domain.durability import Durability
from dicom_node.scp.door import Door, DoorSettings
from dicom_node.scp.listener import ListenOn
from dicom_node.scp.places import Places
from dicom_node.scp.policy import AccessPolicy
from dicom_node.scp.server import Receiver
from dicom_node.storage import InstanceFiles
from tests.acceptance.orthanc import Orthanc
from tests.phantoms import chest_series
from tests.requestor import ATTENTIVE

pytestmark = pytest.mark.usefixtures("receive_path")
MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"this machine does not let a test mount a small disk: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["/bin/umount", "--lazy", folder], check=True)


class Sender:
    def __init__(self, folder: Path, durability: Durability, min_free: int) -> None:
        self.files = InstanceFiles(folder / "data")
        self.files.prepare()
        door = Door(self.files, DoorSettings("receiver-0", durability, min_free))
        policy = AccessPolicy("AINODE", [Peer(name="pacs", ae_title="PACS", host="localhost")], 5)
        self.receiver = Receiver(door, policy, Places(self.files.run))
        ae = AE("PACS")
        port = self.receiver.start(ListenOn("127.0.0.1", 0, 131072, 10, 30))
        self.association = ae.associate(
            "127.0.0.1",
            port,
            contexts=[build_context(CTImageStorage, ExplicitVRLittleEndian)],
            ae_title="AINODE",
            evt_handlers=[ATTENTIVE],
        )

    def send(self) -> int:
        return int(self.association.send_c_store(chest_series(PixelData=os.urandom(MIB))[0]).Status)

    def end(self) -> None:
        assert self.association.is_established
        self.association.release()
        self.receiver.drain(2)


def alerts(logs: list[dict]) -> list[tuple[str, str]]:  # type: ignore[type-arg]
    return [(line["log_level"], line["event"]) for line in logs if line["event"].startswith("disk_")]


@pytest.mark.parametrize("durability", Durability)
def test_full_disk_is_answered_a700_until_there_is_room(small_disk: Path, durability: Durability) -> None:
    (small_disk / "ballast").write_bytes(bytes(4 * MIB))
    with structlog.testing.capture_logs() as logs:
        sender = Sender(small_disk, durability, min_free=0)
        statuses = [sender.send() for _ in range(8)]
        taken = statuses.count(0)
        assert statuses == [0] * taken + [0xA700] * (8 - taken)
        assert 0 < taken < 5
        assert not list(sender.files.incoming.glob(".*.partial"))
        (small_disk / "ballast").unlink()
        assert [sender.send(), sender.send()] == [0, 0]
        assert len(sender.files.pending()) == taken + 2

        def resumed() -> bool:
            assert sender.send() == 0
            sender.files.pending()[0].unlink()
            return len(alerts(logs)) == 2

        Orthanc.wait_until(resumed, 10)
        sender.end()
    assert alerts(logs) == [("error", "disk_nearly_full"), ("info", "disk_has_space")]


def test_watermark_refuses_before_the_disk_is_full_and_says_so_once(small_disk: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        sender = Sender(small_disk, Durability.GROUP, min_free=6 * MIB)
        assert sender.send() == 0
        (small_disk / "ballast").write_bytes(bytes(3 * MIB))
        Orthanc.wait_until(lambda: sender.send() == 0xA700, 5, every_s=0.01)
        assert [sender.send() for _ in range(3)] == [0xA700] * 3
        (small_disk / "ballast").unlink()
        for path in sender.files.pending():
            path.unlink()
        Orthanc.wait_until(lambda: sender.send() == 0, 5, every_s=0.01)
        sender.end()
    assert alerts(logs) == [("error", "disk_nearly_full"), ("info", "disk_has_space")]
    assert all(line["refused_below_bytes"] == 6 * MIB for line in logs if line["event"] == "disk_nearly_full")
