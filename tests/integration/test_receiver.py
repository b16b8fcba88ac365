"""The receiver against pynetdicom and DCMTK as senders."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE, build_context
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import CTImageStorage, Verification

from dicom_node.config import Peer
from dicom_node.domain.durability import Durability
from dicom_node.pipeline.headers import received_instance
from dicom_node.scp.door import Door, DoorSettings
from dicom_node.scp.listener import ListenOn
from dicom_node.scp.places import Places
from dicom_node.scp.policy import AccessPolicy
from dicom_node.scp.server import Receiver
from dicom_node.storage import InstanceFiles
from tests.phantoms import chest_series, write
from tests.requestor import ATTENTIVE

pause = threading.Event()
pytestmark = pytest.mark.usefixtures("receive_path")
PEERS = [Peer(name="pacs", ae_title="PACS", host="localhost")]


class Running:
    def __init__(self, files: InstanceFiles, max_associations: int = 5, min_free: int = 0) -> None:
        self.files = files
        self.stored = threading.Event()
        door = Door(files, DoorSettings("receiver-0", Durability.NONE, min_free), self.stored.set)
        self.receiver = Receiver(door, AccessPolicy("AINODE", PEERS, max_associations), Places(files.run))
        self.port = self.receiver.start(ListenOn("127.0.0.1", 0, 131072, 10, 30))

    def associate(self, contexts: list, calling: str = "PACS", called: str = "AINODE"):  # type: ignore[no-untyped-def]
        ae = AE(calling)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
        return ae.associate("127.0.0.1", self.port, contexts=contexts, ae_title=called, evt_handlers=[ATTENTIVE])


@pytest.fixture
def running(files: InstanceFiles) -> Iterator[Running]:
    node = Running(files)
    yield node
    node.receiver.drain(2)


def ct(syntax: str = ExplicitVRLittleEndian) -> list:  # type: ignore[type-arg]
    return [build_context(CTImageStorage, syntax)]


def raw_store(association, data_set: bytes, sop_class: str, sop_instance: str, syntax: str) -> int:  # type: ignore[no-untyped-def]
    """A C-STORE whose data set nobody checked on the way out."""
    request = C_STORE()
    request.MessageID, request.Priority = 7, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, sop_instance
    request.DataSet = BytesIO(data_set)
    context = next(c for c in association.accepted_contexts if c.transfer_syntax[0] == syntax)
    association._reactor_checkpoint.clear()  # as pynetdicom itself does, or its own thread may take the response
    pause.wait(0.01)  # its flag `_is_paused` can be stale
    association.dimse.send_msg(request, context.context_id)
    _, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    assert response is not None
    return int(response.Status)


def encoded(data_set: pydicom.Dataset) -> bytes:
    content = encode(data_set, is_implicit_vr=False, is_little_endian=True)
    assert content is not None
    return content


@pytest.mark.parametrize(
    ("calling", "called", "reason"),
    [("STRANGER", "AINODE", (1, 1, 3)), ("PACS", "OTHERNODE", (1, 1, 7)), ("STRANGER", "OTHERNODE", (1, 1, 7))],
)
def test_unknown_titles_are_rejected_with_the_standards_reason(
    running: Running, capsys: pytest.CaptureFixture[str], calling: str, called: str, reason: tuple[int, int, int]
) -> None:
    association = running.associate([build_context(Verification)], calling, called)
    assert association.is_rejected
    answer = association.acceptor.primitive
    assert (answer.result, answer.result_source, answer.diagnostic) == reason


def test_dcmtk_is_told_the_same(running: Running) -> None:
    done = subprocess.run(
        ["/usr/bin/echoscu", "-aet", "STRANGER", "-aec", "AINODE", "127.0.0.1", str(running.port)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "Calling AE Title Not Recognized" in done.stderr + done.stdout


def test_known_peer_gets_an_echo(running: Running) -> None:
    subprocess.run(["/usr/bin/echoscu", "-aet", "PACS", "-aec", "AINODE", "127.0.0.1", str(running.port)], check=True)


def test_more_associations_than_allowed_are_rejected_as_transient(files: InstanceFiles) -> None:
    node = Running(files, max_associations=1)
    first = node.associate([build_context(Verification)])
    second = node.associate([build_context(Verification)])
    answer = second.acceptor.primitive
    assert (first.is_established, second.is_rejected) == (True, True)
    assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
    first.release()
    node.receiver.drain(2)


def test_instance_is_on_disk_when_it_is_acknowledged(running: Running) -> None:
    association = running.associate(ct())
    for data_set in chest_series()[:3]:
        before = len(running.files.pending())
        assert association.send_c_store(data_set).Status == 0
        assert len(running.files.pending()) == before + 1
    association.release()


def test_file_names_sender_receiver_and_address_and_keeps_the_data_set(running: Running) -> None:
    data_set = chest_series()[0]
    association = running.associate(ct())
    association.send_c_store(data_set)
    association.release()
    [path] = running.files.pending()
    instance = received_instance(path)
    assert (instance.peer.calling_ae_title, instance.peer.called_ae_title, instance.peer.address) == ("PACS", "AINODE", "127.0.0.1")
    stored = pydicom.dcmread(path)
    assert stored == data_set
    assert path.read_bytes().endswith(encoded(data_set))


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small_RLE.dcm",
        "JPEG2000.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "ExplVR_BigEnd.dcm",
        "image_dfl.dcm",
        "rtdose.dcm",
        "reportsi.dcm",
        "waveform_ecg.dcm",
        "test-SR.dcm",
    ],
)
def test_every_kind_and_transfer_syntax_is_stored_byte_for_byte(running: Running, name: str) -> None:
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.fail(f"{name} does not come with pydicom any more: choose another")
    meta = pydicom.filereader.read_file_meta_info(path)
    content = Path(path).read_bytes()
    start = 132 + 12 + meta.FileMetaInformationGroupLength
    header = pydicom.dcmread(path, stop_before_pixels=True)
    association = running.associate([build_context(header.SOPClassUID, meta.TransferSyntaxUID)])
    status = raw_store(association, content[start:], header.SOPClassUID, header.SOPInstanceUID, meta.TransferSyntaxUID)
    association.release()
    assert status == 0
    [stored] = running.files.pending()
    assert stored.read_bytes().endswith(content[start:])
    assert pydicom.filereader.read_file_meta_info(stored).TransferSyntaxUID == meta.TransferSyntaxUID


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEG2000Lossless,
        JPEGLSLossless,
        "1.2.840.10008.1.2.4.202",
    ],
)
def test_every_transfer_syntax_is_accepted(running: Running, syntax: str) -> None:
    association = running.associate(ct(syntax))
    assert [c.transfer_syntax for c in association.accepted_contexts] == [[syntax]]
    association.release()


def test_private_sop_class_is_accepted(running: Running) -> None:
    association = running.associate([build_context("1.3.12.2.1107.5.9.1", ExplicitVRLittleEndian)])
    assert len(association.accepted_contexts) == 1
    association.release()


def test_bytes_that_are_no_data_set_are_answered_c000(running: Running) -> None:
    association = running.associate(ct())
    for junk in (b"this is no DICOM at all, but it is long enough to look at", b"\x08\x00", b"\xff" * 4096):
        assert raw_store(association, junk, CTImageStorage, "1.2.3", ExplicitVRLittleEndian) == 0xC000
    assert association.is_established
    association.release()
    assert not running.files.pending()


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SOPClassUID"])
def test_uid_that_differs_from_the_command_is_answered_a900(running: Running, keyword: str) -> None:
    data_set = chest_series()[0]
    command = (str(data_set.SOPClassUID), str(data_set.SOPInstanceUID))
    setattr(data_set, keyword, "1.2.3.4.5")
    association = running.associate(ct())
    assert raw_store(association, encoded(data_set), *command, ExplicitVRLittleEndian) == 0xA900
    association.release()
    assert not running.files.pending()


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", [b"../../../../tmp/x ", b"1.2/../../3\0", b"\0\0"])
def test_uid_that_could_name_a_path_is_refused(running: Running, keyword: str, value: bytes) -> None:
    data_set = chest_series()[0]
    original = str(data_set[keyword].value)
    original_bytes = original.encode() + b"\0" * (len(original) % 2)
    padded = value.ljust(len(original_bytes), b"\0")
    association = running.associate(ct())
    content = encoded(data_set).replace(original_bytes, padded)
    assert raw_store(association, content, data_set.SOPClassUID, data_set.SOPInstanceUID, ExplicitVRLittleEndian) == 0xA900
    association.release()
    assert not running.files.pending()


def test_full_disk_is_answered_a700_and_the_association_stays(files: InstanceFiles) -> None:
    node = Running(files, min_free=1 << 60)
    association = node.associate(ct())
    assert association.send_c_store(chest_series()[0]).Status == 0xA700
    assert association.is_established
    association.release()
    node.receiver.drain(2)


def test_storescu_pushes_a_folder(running: Running, tmp_path: Path) -> None:
    write(chest_series(), tmp_path / "ct")
    subprocess.run(
        ["/usr/bin/storescu", "-aet", "PACS", "-aec", "AINODE", "+sd", "127.0.0.1", str(running.port), str(tmp_path / "ct")], check=True
    )
    assert len(running.files.pending()) == 24


def test_draining_receiver_lets_an_open_association_end(files: InstanceFiles) -> None:
    node = Running(files)
    association = node.associate(ct())
    aborted: list[int] = []
    draining = threading.Thread(target=lambda: aborted.append(node.receiver.drain(10)))
    draining.start()
    assert association.send_c_store(chest_series()[0]).Status == 0
    association.release()
    draining.join(10)
    assert aborted == [0]
