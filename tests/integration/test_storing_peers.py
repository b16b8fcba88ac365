"""C-STORE to storage SCPs that answer by hand: what they read is the file's data set, and whatever they do ends in words."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    generate_uid,
)

from dicom_node.delivery import scu
from dicom_node.delivery.outcomes import Outcome, Verdict
from dicom_node.domain.destinations import StorageScp
from dicom_node.errors import DeliveryError
from tests.integration.raw_acceptor import RELEASED, Conversation, RawAcceptor, Stored, response
from tests.integration.raw_peer import ABORT, ABORTING, RELEASE, RELEASE_RP, element, p_data, pdu, pdv

Script = Callable[[Conversation], None]
LARGE = 3_000_000
STALLS = 12_000_000


class Sending:
    """Sends files to scripts, one association each, and keeps what was answered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outcomes: dict[int, Outcome] = {}
        self.order: list[int] = []
        gc.collect()  # what earlier tests left open must not go while this one counts
        self._at_rest = set(threading.enumerate())
        self._descriptors = len(list(Path("/proc/self/fd").iterdir()))

    def file(self, size: int = 1000, *, syntax: str = ExplicitVRLittleEndian, sop_class: str = CTImageStorage) -> Path:
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = sop_class, generate_uid()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = UID(syntax)
        path = self.folder / f"{ds.SOPInstanceUID}.dcm"
        ds.save_as(path, enforce_file_format=True)
        with path.open("ab") as stream:  # pixel data of any length, odd ones too, as some writers leave it
            stream.write(struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, size) + (b"0123456789abcdef" * (size // 16 + 1))[:size])
        return path

    def send(self, paths: list[Path], *scripts: Script, timeout_s: float = 10, receive_buffer: int = 0) -> str:
        """Send; returns the error that ended it, or nothing."""
        acceptor = RawAcceptor(*scripts, receive_buffer=receive_buffer)
        said = ""
        try:
            scu.send("AINODE", StorageScp("pacs", "PACS", "127.0.0.1", acceptor.port, "", timeout_s), paths, self._answered)
        except DeliveryError as error:
            said = str(error)
        acceptor.close()
        assert set(threading.enumerate()) <= self._at_rest, "a thread is left"
        assert len(list(Path("/proc/self/fd").iterdir())) <= self._descriptors, "a descriptor is left"
        return said

    def verdicts(self) -> list[Verdict]:
        return [self.outcomes[index].verdict for index in sorted(self.outcomes)]

    def _answered(self, index: int, outcome: Outcome) -> None:
        assert index not in self.outcomes
        self.outcomes[index] = outcome
        self.order.append(index)


@pytest.fixture
def sending(tmp_path: Path) -> Sending:
    return Sending(tmp_path)


def accepted(script: Script, max_pdu: int = 16384) -> Script:
    def run(peer: Conversation) -> None:
        peer.accept(max_pdu)
        script(peer)

    return run


def data_set_of(path: Path) -> bytes:
    content = path.read_bytes()
    return content[pydicom.filereader.read_file_meta_info(path).FileMetaInformationGroupLength + 144 :]


@pytest.mark.parametrize("max_pdu", [8, 9, 4096, 16384, 0, 10_000_000])
def test_data_set_arrives_byte_for_byte_whatever_pdus_are_taken(sending: Sending, max_pdu: int) -> None:
    sizes = (1, 2, 777) if max_pdu < 10 else (0, 1, 16372, 131_065, 654_321, LARGE)
    paths = [sending.file(size) for size in sizes]
    found = []

    def keep(peer: Conversation) -> None:
        peer.accept(max_pdu)
        found.extend(peer.serve())

    assert sending.send(paths, keep) == ""
    assert sending.verdicts() == [Verdict.STORED] * len(paths)
    assert [stored.data_set for stored in found] == [data_set_of(path) for path in paths]
    assert [stored.command[0x1000].rstrip(b"\0").decode() for stored in found] == [path.stem for path in paths]
    assert [stored.message_id for stored in found] == list(range(1, len(paths) + 1))
    largest = max(max(stored.pdus) for stored in found)
    assert largest <= (max_pdu or 131_072)
    assert all(size % 2 == 0 for stored in found for size in stored.pdus[:-1])


def test_peer_that_takes_pdus_without_room_is_told_apart(sending: Sending) -> None:
    def wait_for_release(peer: Conversation) -> None:
        assert peer.pdu()[0] == 5
        peer.send(RELEASED)

    assert "PDUs of 7 bytes at most" in sending.send([sending.file()], accepted(wait_for_release, 7))


def test_response_may_come_in_any_pieces(sending: Sending) -> None:
    def trickle(peer: Conversation) -> None:
        stored = peer.stored()
        command = response(stored.message_id)
        pause = threading.Event()
        for byte in p_data(pdv(command, command=True)):  # TCP segments of one byte
            peer.send(bytes([byte]))
            pause.wait(0.001)
        stored = peer.stored()
        command = response(stored.message_id)
        peer.send(
            b"".join(p_data(pdv(command[at : at + 10], command=True, last=at + 10 >= len(command))) for at in range(0, len(command), 10))
        )
        stored = peer.stored()
        command = response(stored.message_id, 0xB007)
        peer.send(p_data(pdv(command[:20], command=True, last=False), pdv(command[20:], command=True)))
        assert peer.serve() == []

    assert sending.send([sending.file() for _ in range(3)], accepted(trickle)) == ""
    assert [outcome.status for outcome in sending.outcomes.values()] == [0, 0, 0xB007]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda n: p_data(pdv(response(n + 1), command=True)), "another message than the response"),
        (lambda n: p_data(pdv(response(n), command=True, context=77)), "another message than the response"),
        (lambda n: p_data(pdv(response(n, field=0x8020), command=True)), "another message than the response"),
        (lambda n: p_data(pdv(response(n)[:-10], command=True)), "sends what cannot be understood"),
        (lambda n: p_data(pdv(response(n, extra=element(0x0902, b"x", 500)), command=True)), "500 bytes"),
        (lambda _: p_data(pdv(b"no command set", command=True)), "sends what cannot be understood"),
        (lambda _: p_data(pdv(b"data")), "data set without a command set"),
        (lambda n: p_data(pdv(response(n), command=True, length=9000)), "PDV of 9000 bytes"),
        (lambda _: pdu(4, b"abc"), "holds no PDV"),
        (lambda _: p_data(pdv(bytes(100), command=True, last=False)) * 500, "message of more than 16384 bytes"),
    ],
)
def test_answer_that_is_none_aborts(sending: Sending, answer: Callable[[int], bytes], words: str) -> None:
    last = []

    def script(peer: Conversation) -> None:
        peer.send(answer(peer.stored().message_id))
        last.append(peer.end()[0])

    assert words in sending.send([sending.file(), sending.file()], accepted(script))
    assert sending.outcomes == {}
    assert last == [ABORT]


def test_bytes_that_are_no_pdu_abort(sending: Sending) -> None:
    def script(peer: Conversation) -> None:
        peer.stored()
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        assert peer.end()[0] == ABORT

    assert "sends what is no PDU of an association" in sending.send([sending.file()], accepted(script))


def test_abort_in_place_of_an_answer(sending: Sending) -> None:
    def script(peer: Conversation) -> None:
        peer.answer(peer.stored())
        peer.stored()
        peer.send(ABORTING)

    assert "association aborted by the destination" in sending.send([sending.file() for _ in range(3)], accepted(script))
    assert sending.verdicts() == [Verdict.STORED]


@pytest.mark.parametrize("farewell", [ABORTING, b""])
def test_end_before_anything_is_sent(sending: Sending, farewell: bytes) -> None:
    said = sending.send([sending.file()], accepted(lambda peer: peer.send(farewell)))
    assert said.startswith("pacs: association ")
    assert sending.outcomes == {}


def test_abort_in_the_middle_of_an_object(sending: Sending) -> None:
    def script(peer: Conversation) -> None:
        peer.pdu()
        peer.send(ABORTING)
        peer.connection.shutdown(socket.SHUT_WR)
        peer.end()

    said = sending.send([sending.file(STALLS)], accepted(script), receive_buffer=4096)
    assert "association aborted by the destination" in said


def test_release_in_place_of_an_answer_is_answered(sending: Sending) -> None:
    last = []

    def script(peer: Conversation) -> None:
        peer.stored()
        peer.send(RELEASE)
        last.append(peer.end()[0])

    assert "association released by the destination" in sending.send([sending.file()], accepted(script))
    assert last == [RELEASE_RP]


def test_release_in_the_middle_of_an_object_leaves_half_a_pdu_to_nobody(sending: Sending) -> None:
    last = []

    def script(peer: Conversation) -> None:
        peer.pdu()
        peer.send(RELEASE)
        threading.Event().wait(0.3)
        last.append(peer.end()[0])

    assert "association released by the destination" in sending.send([sending.file(STALLS)], accepted(script), receive_buffer=4096)
    assert last == [0]


def test_peer_that_stops_reading_is_left_after_the_time_out(sending: Sending) -> None:
    over = threading.Event()

    def script(peer: Conversation) -> None:
        peer.pdu()
        over.wait(20)

    acceptor = RawAcceptor(accepted(script), receive_buffer=4096)
    with pytest.raises(DeliveryError, match=r"takes no more data for 0\.3 s"):
        scu.send("AINODE", StorageScp("pacs", "PACS", "127.0.0.1", acceptor.port, "", 0.3), [sending.file(STALLS)], sending._answered)
    over.set()
    acceptor.close()
    assert sending.outcomes == {}


def test_slow_peer_is_not_given_up_while_it_reads(sending: Sending) -> None:
    """The whole takes several times the time-out, and the last of it lies in the kernel while the answer is waited for."""
    pause = threading.Event()

    def script(peer: Conversation) -> None:
        for _ in range(9):
            peer.pdu()
            pause.wait(0.1)
        peer.connection.settimeout(20)
        peer.answer(_rest_of(peer))
        assert peer.serve() == []

    path = sending.file(150_000)
    assert sending.send([path], accepted(script), timeout_s=0.35, receive_buffer=4096) == ""
    assert sending.verdicts() == [Verdict.STORED]


def _rest_of(peer: Conversation) -> Stored:
    """Read on to the end of the first object, whose beginning the script has read."""
    while True:
        kind, content = peer.pdu()
        assert kind == 4
        if content[5] == 2:
            return Stored(content[4], {0x0110: b"\1\0"}, b"", [])


def test_no_answer_is_a_time_out(sending: Sending) -> None:
    last = []

    def script(peer: Conversation) -> None:
        peer.stored()
        last.append(peer.end()[0])

    assert "no response within 0.3 s" in sending.send([sending.file()], accepted(script), timeout_s=0.3)
    assert last == [ABORT]


def test_answer_that_drips_is_a_time_out_too(sending: Sending) -> None:
    def script(peer: Conversation) -> None:
        whole = p_data(pdv(response(peer.stored().message_id), command=True))
        with contextlib.suppress(ConnectionError):
            for byte in whole[:8]:
                peer.send(bytes([byte]))
                threading.Event().wait(0.1)
        peer.end()

    assert "no response within 0.4 s" in sending.send([sending.file()], accepted(script), timeout_s=0.4)


def test_refusal_before_the_object_is_through_counts_and_the_next_one_follows(sending: Sending) -> None:
    def script(peer: Conversation) -> None:
        peer.pdu()
        peer.send(p_data(pdv(response(1, 0xA700), command=True)))
        threading.Event().wait(0.2)
        _rest_of(peer)
        peer.answer(peer.stored())
        assert peer.serve() == []

    assert sending.send([sending.file(STALLS), sending.file()], accepted(script), receive_buffer=4096) == ""
    assert sending.verdicts() == [Verdict.RETRY, Verdict.STORED]


def test_refusal_counts_even_if_the_peer_then_takes_no_more(sending: Sending) -> None:
    def script(peer: Conversation) -> None:
        peer.pdu()
        peer.send(p_data(pdv(response(1, 0xA900), command=True)))
        threading.Event().wait(1)

    said = sending.send([sending.file(STALLS), sending.file()], accepted(script), timeout_s=0.3, receive_buffer=4096)
    assert "takes no more data" in said
    assert sending.verdicts() == [Verdict.REFUSED]


def test_success_before_the_object_is_through_is_not_believed(sending: Sending) -> None:
    def script(peer: Conversation) -> None:
        peer.pdu()
        peer.send(p_data(pdv(response(1), command=True)))
        threading.Event().wait(0.2)
        _rest_of(peer)
        assert peer.end()[0] == ABORT

    said = sending.send([sending.file(STALLS)], accepted(script), receive_buffer=4096)
    assert "says that it stored an object before it had it whole" in said
    assert sending.outcomes == {}


@pytest.mark.parametrize("whole", [True, False])
def test_connection_that_is_reset(sending: Sending, whole: bool) -> None:
    def script(peer: Conversation) -> None:
        if whole:
            peer.stored()
        else:
            peer.pdu()
        peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    size = 1000 if whole else STALLS
    assert "association ended: the other side closed the connection" in sending.send([sending.file(size)], accepted(script))


def test_connection_that_is_closed(sending: Sending) -> None:
    assert "the other side closed the connection" in sending.send([sending.file()], accepted(lambda peer: peer.stored() and None))


def test_release_that_is_never_answered_ends(sending: Sending) -> None:
    def script(peer: Conversation) -> None:
        peer.answer(peer.stored())
        peer.end()

    assert sending.send([sending.file()], accepted(script), timeout_s=0.3) == ""
    assert sending.verdicts() == [Verdict.STORED]


def test_files_that_are_gone_or_cut_short_meanwhile_refuse_themselves_alone(sending: Sending) -> None:
    first, second, gone, headless, empty, last = (sending.file() for _ in range(6))

    def script(peer: Conversation) -> None:
        stored = peer.stored()
        gone.unlink()
        os.truncate(headless, 60)
        os.truncate(empty, len(empty.read_bytes()) - len(data_set_of(empty)))
        peer.answer(stored)
        assert len(peer.serve()) == 2

    assert sending.send([first, second, gone, headless, empty, last], accepted(script)) == ""
    assert sending.verdicts() == [Verdict.STORED] * 2 + [Verdict.REFUSED] * 3 + [Verdict.STORED]
    assert sending.order == list(range(6))
    assert all("is missing or no DICOM Part 10 file" in sending.outcomes[index].reason for index in (2, 3, 4))


@pytest.mark.parametrize("size", [STALLS - 100_000, 5_000, STALLS])
def test_file_that_changes_while_it_is_sent_never_arrives_whole(sending: Sending, size: int) -> None:
    path = sending.file(STALLS)

    def script(peer: Conversation) -> None:
        peer.pdu()
        if size == STALLS:
            os.utime(path)
        else:
            os.truncate(path, size)
        threading.Event().wait(0.2)
        with pytest.raises(AssertionError):
            _rest_of(peer)

    said = sending.send([path, sending.file()], accepted(script), receive_buffer=4096)
    assert "while it was sent" in said
    assert sending.verdicts() == [Verdict.RETRY]


def test_file_that_is_replaced_is_sent_as_it_is_now(sending: Sending) -> None:
    first, second, third, other = sending.file(), sending.file(), sending.file(), sending.file(50)
    found = []

    def script(peer: Conversation) -> None:
        stored = peer.stored()
        other.replace(third)
        peer.answer(stored)
        found.extend(peer.serve())

    assert sending.send([first, second, third], accepted(script)) == ""
    assert found[-1].data_set == data_set_of(third)
    assert found[-1].command[0x1000].rstrip(b"\0").decode() == other.stem


@pytest.mark.parametrize(
    ("own", "taken"), [(ExplicitVRLittleEndian, ImplicitVRLittleEndian), (ImplicitVRLittleEndian, ExplicitVRLittleEndian)]
)
def test_peer_of_one_syntax_gets_every_object_in_it(sending: Sending, own: str, taken: str) -> None:
    path = sending.folder / "own.dcm"
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Rows, ds.PatientID = CTImageStorage, generate_uid(), 7, "4711"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(own)
    ds.save_as(path, enforce_file_format=True)
    found = []

    def script(peer: Conversation) -> None:
        peer.accept(4096, takes=lambda _sop_class, syntax: syntax == taken)
        found.extend(peer.serve())

    assert sending.send([path], script) == ""
    ds.file_meta.TransferSyntaxUID = UID(taken)
    ds.save_as(path, implicit_vr=taken == ImplicitVRLittleEndian, little_endian=True, enforce_file_format=True)
    assert [stored.data_set for stored in found] == [data_set_of(path)]


def test_what_cannot_be_encoded_is_refused_alone(sending: Sending) -> None:
    paths = [sending.file(syntax=syntax) for syntax in (JPEG2000Lossless, ExplicitVRBigEndian, ExplicitVRLittleEndian)]

    def script(peer: Conversation) -> None:
        peer.accept(16384, takes=lambda _sop_class, syntax: syntax == ExplicitVRLittleEndian)
        assert len(peer.serve()) == 1

    assert sending.send(paths, script) == ""
    assert sending.verdicts() == [Verdict.REFUSED, Verdict.REFUSED, Verdict.STORED]
    assert "re-encoded from JPEG 2000 Image Compression (Lossless Only)" in sending.outcomes[0].reason


def test_more_contexts_than_there_are_numbers_take_several_associations(sending: Sending) -> None:
    paths = [sending.file(syntax=JPEG2000Lossless, sop_class=f"1.2.840.10008.5.1.4.1.1.{number}") for number in range(1, 100)]
    served: list[int] = []

    def script(peer: Conversation) -> None:
        peer.accept(16384)
        assert len(peer.contexts) <= 128
        served.append(len(peer.serve()))

    assert sending.send(paths, script, script, script) == ""
    assert served == [42, 42, 15]
    assert sending.order == list(range(99))
