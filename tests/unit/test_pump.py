"""The accelerator: what it serves by itself, what it leaves to the Python path untouched, and that it leaves nothing behind."""

from __future__ import annotations

import gc
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import psutil
import pytest
import structlog

from dicom_node.domain.durability import Durability
from dicom_node.domain.instances import AssociationPeer
from dicom_node.scp.accelerator import SWITCH, accelerator
from dicom_node.scp.command_set import StoreRequest, store_response
from dicom_node.scp.door import Client, Door, DoorSettings
from dicom_node.scp.haste import Haste
from dicom_node.scp.inflow import Inflow
from dicom_node.scp.policy import Limits
from dicom_node.scp.pump import Why
from dicom_node.scp.store_service import StoreService
from dicom_node.scp.visits import VisitBook
from dicom_node.storage import InstanceFiles
from dicom_node.storage.files import InstanceName
from dicom_node.storage.visits import VisitFiles
from tests.conftest import ROOT
from tests.exchange import BUFFER_BYTES, Exchange
from tests.fuzz.receiving import CONTEXTS, Reception
from tests.integration.raw_peer import (
    CT,
    RELEASE,
    command_set,
    data_set,
    echo_command,
    element,
    p_data,
    pdv,
    status_of,
    store,
    store_command,
    uid_bytes,
)
from tests.unit.test_header_scan import FILES, data_set_of, header_of

UID = "1.2.3.4.5"
pytestmark = pytest.mark.skipif(accelerator().pump is None, reason="the accelerator is not built here, or switched off")
PEER = AssociationPeer("PACS", "AINODE", "127.0.0.1")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


@pytest.fixture
def reception(tmp_path: Path) -> Reception:
    return Reception(tmp_path, accelerated=True)


def service_of(files: InstanceFiles, durability: Durability = Durability.NONE, limit: int = 0) -> StoreService:
    door = Door(files, DoorSettings("receiver-0", durability, 0))
    return StoreService(door, Client(PEER, Limits(max_instance_bytes=limit)), CONTEXTS)


def explicit(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    if vr in (b"SQ", b"OB", b"UN"):
        return struct.pack("<HH2sHI", group, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


CONTENT = data_set(UID, 5000)
SEQUENCE = bytes.fromhex("080005105351 0000ffffffff feff00e0ffffffff 0800501155490400312e3200 feff0de000000000 feffdde000000000")
OPEN_UN = bytes.fromhex("0900 1010 554e 0000 ffffffff feff00e0 00000000 feffdde0 00000000")
COMMAND = p_data(pdv(store_command(UID), command=True))


def with_header(*elements: bytes) -> bytes:
    """A data set with elements between its SOP and its study UIDs."""
    at = CONTENT.index(struct.pack("<HH", 0x20, 0x0D))
    return CONTENT[:at] + b"".join(elements) + CONTENT[at:]


def message(content: bytes, context: int = 1) -> bytes:
    return p_data(pdv(store_command(UID), context=context, command=True)) + p_data(pdv(content, context=context))


def implicit(content: bytes) -> bytes:
    """The same data set without VRs."""
    found, at = b"", 0
    while at < len(content):
        group, number, vr, length = struct.unpack_from("<HH2sH", content, at)
        header = 12 if vr == b"OW" else 8
        if header == 12:
            [length] = struct.unpack_from("<I", content, at + 8)
        found += struct.pack("<HHI", group, number, length) + content[at + header : at + header + length]
        at += header + length
    return found


PLAIN = {
    "one PDV a PDU": message(CONTENT),
    "small PDUs": store(UID, CONTENT, fragment=600),
    "command and data in one PDU": p_data(pdv(store_command(UID), command=True), pdv(CONTENT)),
    "several PDVs in a PDU": COMMAND + p_data(pdv(CONTENT[:900], last=False), pdv(b"", last=False), pdv(CONTENT[900:])),
    "empty last PDV": COMMAND + p_data(pdv(CONTENT, last=False)) + p_data(pdv(b"")),
    "implicit": message(implicit(CONTENT), context=3),
    "sequence of undefined length": message(with_header(SEQUENCE)),
    "sequence of defined length": message(with_header(explicit(8, 0x1140, b"SQ", bytes(400)))),
    "private elements": message(with_header(explicit(9, 0x10, b"LO", b"VENDOR"), explicit(9, 0x1010, b"UN", bytes(3000)))),
    "move originator": p_data(pdv(store_command(UID, extra=element(0x1030, b"ARCHIVE ") + element(0x1031, b"\1\0")), command=True))
    + p_data(pdv(CONTENT)),
}
ODD = {
    "command in two PDVs": p_data(pdv(store_command(UID)[:30], command=True, last=False))
    + p_data(pdv(store_command(UID)[30:], command=True))
    + p_data(pdv(CONTENT)),
    "unknown command element": p_data(pdv(store_command(UID, extra=element(0x5555, b"x")), command=True)) + p_data(pdv(CONTENT)),
    "command elements out of order": p_data(
        pdv(
            command_set(
                element(0x1000, uid_bytes(UID)),
                element(0x0002, uid_bytes(CT)),
                element(0x0100, b"\1\0"),
                element(0x0110, b"\1\0"),
                element(0x0800, b"\1\0"),
            ),
            command=True,
        )
    )
    + p_data(pdv(CONTENT)),
    "group length wrong": p_data(pdv(element(0, b"\5\0\0\0") + store_command(UID)[12:], command=True)) + p_data(pdv(CONTENT)),
    "header over two PDVs": COMMAND + p_data(pdv(CONTENT[:20], last=False)) + p_data(pdv(CONTENT[20:])),
    "implicit VR in an UN": message(with_header(OPEN_UN)),
    "implicit element in an explicit data set": message(with_header(struct.pack("<HHI", 9, 0x10, 4) + b"abcd")),
    "other SOP Instance UID": message(data_set("1.2.3.4.6")),
    "other SOP Class UID": message(data_set(UID, sop_class="1.2.840.10008.5.1.4.1.1.4")),
    "no Study Instance UID": message(CONTENT.replace(struct.pack("<HH2sH", 0x20, 0x0D, b"UI", 6) + b"1.2.3\0", b"")),
    "no data set": p_data(pdv(store_command(UID, data_set=False), command=True)),
    "hostile UID": store("../../x"),
    "long UID": store("1." * 35 + "1"),
    "big endian": p_data(pdv(store_command(UID), command=True, context=7), pdv(CONTENT, context=7)),
    "second message in the PDU": p_data(pdv(store_command(UID), command=True), pdv(CONTENT), pdv(store_command(UID), command=True))
    + p_data(pdv(CONTENT)),
    "C-ECHO": p_data(pdv(echo_command(), context=9, command=True)),
    "release": RELEASE,
}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("durability", Durability)
def test_plain_instance_is_stored_without_the_python_path_and_as_by_it(tmp_path: Path, name: str, durability: Durability) -> None:
    found = Reception(tmp_path / "c", accelerated=True, durability=durability).receive(PLAIN[name], 1 << 16)
    by_hand = Reception(tmp_path / "python", durability=durability).receive(PLAIN[name], 1 << 16)
    assert (found.by_hand, found.statuses) == (0, [0])
    assert (found.responses, found.files) == (by_hand.responses, by_hand.files)


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("before", [b"", message(CONTENT)], ids=["first", "second"])
def test_what_is_not_plain_is_left_to_the_python_path_and_the_next_plain_one_is_taken_again(
    tmp_path: Path, reception: Reception, name: str, before: bytes
) -> None:
    stream = before + ODD[name]
    found, by_hand = reception.receive(stream, 1 << 16), Reception(tmp_path / "python").receive(stream, 1 << 16)
    assert found.by_hand > 0
    assert found.error is by_hand.error is None
    assert (found.responses, found.files) == (by_hand.responses, by_hand.files)
    with Exchange(service_of(reception._files), accelerated=True) as exchange:
        exchange.send(stream)
        taken = exchange.by_hand
        exchange.send(message(CONTENT))
        assert exchange.by_hand == taken
        assert status_of(exchange.answers[-1]) == 0
    reception._take_files()


ENDS = {
    "another context": p_data(pdv(CONTENT[900:], context=3)),
    "a context that was not accepted": p_data(pdv(CONTENT[900:], context=11)),
    "a command": COMMAND,
    "a command of another context": p_data(pdv(store_command(UID), context=3, command=True)),
    "another context in the PDU": p_data(pdv(b"12", last=False), pdv(CONTENT[900:], context=3)),
    "a command in the PDU": p_data(pdv(b"12", last=False), pdv(store_command(UID), command=True)),
    "a PDV of length 0": p_data(pdv(b"", length=0)),
    "a PDV longer than its PDU": p_data(pdv(b"1234", length=100)),
    "bytes left in a PDU": p_data(pdv(b"1234", last=False), b"123"),
    "an empty PDU": p_data(),
    "a PDU of an unknown type": b"\x42\0\0\0\0\4abcd",
    "a release of 2^32-1 bytes": b"\5\0\xff\xff\xff\xff",
}


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("durability", [Durability.NONE, Durability.STRICT])
@pytest.mark.parametrize("step", [1 << 16, 100])
def test_contradiction_within_a_data_set_is_the_python_paths_to_name(tmp_path: Path, name: str, durability: Durability, step: int) -> None:
    stream = COMMAND + p_data(pdv(CONTENT[:900], last=False)) + ENDS[name]
    found, by_hand = (Reception(tmp_path / str(way), accelerated=way, durability=durability).receive(stream, step) for way in (True, False))
    assert found.error is not None
    assert str(found.error) == str(by_hand.error)
    assert (found.responses, found.files) == (by_hand.responses, by_hand.files) == ([], [])


@pytest.mark.parametrize("path", FILES, ids=[Path(p).name for p in FILES])
def test_real_files_are_kept_or_refused_as_by_the_python_path(tmp_path: Path, path: str) -> None:
    found = data_set_of(path)
    assert found is not None
    content, syntax = found
    header = header_of(path)
    contexts = {1: (str(header.SOPClassUID), syntax)}
    command = store_command(str(header.SOPInstanceUID), sop_class=str(header.SOPClassUID))
    pieces = [content[at : at + 16000] for at in range(0, len(content), 16000)]
    stream = p_data(pdv(command, command=True)) + b"".join(p_data(pdv(p, last=n == len(pieces) - 1)) for n, p in enumerate(pieces))
    outcomes = [Reception(tmp_path / str(way), accelerated=way).receive(stream, 1 << 16, contexts) for way in (True, False)]
    assert (outcomes[0].responses, outcomes[0].files) == (outcomes[1].responses, outcomes[1].files)
    assert (len(outcomes[0].files) == 1) == (outcomes[0].statuses == [0])


def test_most_real_files_are_plain(tmp_path: Path) -> None:
    by_hand = 0
    for number, path in enumerate(FILES):
        content, syntax = data_set_of(path) or (b"", "")
        header = header_of(path)
        stream = p_data(pdv(store_command(str(header.SOPInstanceUID), sop_class=str(header.SOPClassUID)), command=True), pdv(content))
        outcome = Reception(tmp_path / str(number), accelerated=True).receive(stream, 1 << 16, {1: (str(header.SOPClassUID), syntax)})
        by_hand += outcome.statuses == [0] and outcome.by_hand > 0
    assert by_hand < len(FILES) // 4


def test_response_is_the_python_paths_for_every_length_of_uid(files: InstanceFiles) -> None:
    with Exchange(service_of(files), accelerated=True) as exchange:
        for length in range(1, 65):
            uid = ("1." * 32 + "1")[:length].rstrip(".") or "1"
            exchange.send(store(uid, data_set(uid), 1000 + length))
            assert exchange.answers[-1] == store_response(StoreRequest(1, 1000 + length, CT, uid, has_data_set=True), 0)
        assert exchange.by_hand == 0


def test_name_tells_time_and_size_and_no_two_are_alike(files: InstanceFiles) -> None:
    service = service_of(files)
    with Exchange(service, accelerated=True) as one, Exchange(service, accelerated=True) as other:
        for number in range(5):
            for exchange in (one, other):
                exchange.send(store(f"1.2.{number}"))
    kept = files.pending()
    assert len(kept) == 10
    for path in kept:
        name = InstanceName.parse(path.name)
        assert name is not None
        assert name.size_bytes == path.stat().st_size
        assert f"-receiver-0.{os.getpid()}-" in path.name
        assert path.stat().st_mode & 0o777 == 0o600
    times = [int(path.name[:20]) for path in kept]
    assert times == sorted(times)


@pytest.mark.parametrize("fragment", [500, 16000, 1 << 20])
def test_instance_over_the_limit_is_refused_at_that_byte_and_its_file_goes(files: InstanceFiles, fragment: int) -> None:
    with Exchange(service_of(files, limit=100_000), accelerated=True) as exchange:
        exchange.send(store(UID, data_set(UID, 300_000), fragment=fragment) + store("1.2.7"))
        assert [status_of(a) for a in exchange.answers] == [0xA700, 0]
    assert len(list(files.incoming.iterdir())) == 1


@pytest.mark.parametrize("at", [10, 200, 3000])
def test_what_is_dropped_leaves_no_file(files: InstanceFiles, at: int) -> None:
    with Exchange(service_of(files), accelerated=True) as exchange:
        exchange.send(message(CONTENT)[:at])
        assert len(list(files.incoming.iterdir())) == (at > 400)
    assert list(files.incoming.iterdir()) == []


def test_watermark_stops_an_instance_within_sixteen_megabytes(files: InstanceFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    service = service_of(files)
    block = p_data(pdv(bytes(1 << 20), last=False))
    with Exchange(service, accelerated=True) as exchange:
        exchange.send(COMMAND + p_data(pdv(CONTENT, last=False)))
        monkeypatch.setattr(service.door.space, "_free_bytes", lambda: -1)
        service.door.space._look_at = 0.0
        for _ in range(17):
            exchange.send(block)
        assert list(files.incoming.iterdir()) == []
        exchange.send(p_data(pdv(b"")) + message(CONTENT))
        assert [status_of(a) for a in exchange.answers] == [0xA700, 0xA700]
        monkeypatch.undo()
        service.door.space._look_at = 0.0
        exchange.send(message(CONTENT))
        assert status_of(exchange.answers[-1]) == 0


def test_nothing_is_begun_after_the_last_look_at_free_space_is_old(files: InstanceFiles) -> None:
    service = service_of(files)
    with Exchange(service, accelerated=True) as exchange:
        exchange.send(message(CONTENT)[:-1])  # under way: goes on; the next one waits
        pump = exchange._inflow._pump
        assert pump is not None
        exchange._theirs.sendall(message(CONTENT)[-1:] + message(CONTENT))
        head = tail = kept = 0
        for _ in range(3):
            code, head, tail, *_, durable_after_s = pump._pump.run(exchange._ours.fileno(), head, tail, 0, False, monotonic() - 1)
            assert code == Why.TIME_IS_OVER
            kept += len(durable_after_s)
        assert kept == len(files.pending()) == 1
        code, *_ = pump._pump.run(exchange._ours.fileno(), head, tail, 0, False, monotonic() + 10)
        assert code == Why.NOTHING_CAME
    assert len(files.pending()) == 2


def test_run_that_stored_something_is_not_idle_so_that_the_next_one_follows_at_once(files: InstanceFiles) -> None:
    """After an idle one pynetdicom sleeps for a millisecond, which a sender would wait for with every instance."""
    with Exchange(service_of(files), accelerated=True) as exchange:
        exchange._theirs.sendall(message(CONTENT))
        runs = [exchange._inflow.run(exchange._ours.fileno(), Haste(), 0) for _ in range(2)]
    assert [run.idle for run in runs] == [False, True]


@pytest.mark.parametrize("durability", Durability)
def test_twenty_thousand_instances_leave_neither_descriptors_nor_memory(tmp_path: Path, durability: Durability) -> None:
    files = InstanceFiles(tmp_path)
    files.prepare()
    me, stream = psutil.Process(), b"".join(store(f"1.2.{n}", data_set(f"1.2.{n}", 500)) for n in range(50))
    rounds = 400 if durability is Durability.NONE else 20

    def receive(times: int) -> None:
        for _ in range(times):
            with Exchange(service_of(files, durability), accelerated=True) as exchange:
                exchange.send(stream + store("../x") + store(UID, CONTENT)[:-100])
                assert [status_of(a) for a in exchange.answers] == [0] * 50 + [0xA900]
            for path in files.incoming.iterdir():
                path.unlink()
        gc.collect()  # doors of this test, each with its folder

    receive(rounds // 10)
    descriptors, before = me.num_fds(), me.memory_info().rss
    receive(rounds)
    assert me.num_fds() == descriptors
    assert me.memory_info().rss - before < 4 << 20


def test_arguments_that_cannot_be_served_are_refused(files: InstanceFiles) -> None:
    made = accelerator().pump
    assert made is not None
    buffer = bytearray(1000)
    for contexts, prefix in [(((1, b"x", False, b"", b""),), "p"), (((1, b"1.2", False, bytes(900), b""),), "p"), ((), "p" * 300)]:
        with pytest.raises(ValueError, match=r"cannot be served|out of range"):
            made(buffer, contexts, 0, 0, prefix, 0)
    pump = made(buffer, (), 0, 0, "p", 0)
    with pytest.raises(ValueError, match="outside"):
        pump.run(0, 0, 1001, 0, False, 0.0)
    with pytest.raises(ValueError, match="outside"):
        pump.run(0, -1, 0, 0, False, 0.0)
    with pytest.raises(RuntimeError, match="no instance"):
        pump.answer()
    with pytest.raises(BufferError):
        buffer.append(0)
    assert pump.hand_over() == (None, 0, 0, -1)
    del pump
    buffer.append(0)


def test_switch_leaves_the_python_path_alone(files: InstanceFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "off")
    assert accelerator().words == f"switched off by {SWITCH}"
    assert not Inflow(memoryview(bytearray(BUFFER_BYTES)), service_of(files), accelerated=True).accelerated


def test_numbers_of_the_c_source_are_those_of_python() -> None:
    source = (ROOT / "dicom_node" / "scp" / "_pump.c").read_text("utf-8")
    assert all(f"    {why.name} = {why.value}," in source for why in Why)


def test_first_instance_of_each_study_is_left_to_the_python_path_while_visits_are_noted(tmp_path: Path, files: InstanceFiles) -> None:
    other = message(data_set(UID, 5000, study=b"7.8"))
    book = VisitBook(files.run, "receiver-0", wanted=True)
    door, visit = Door(files, DoorSettings("receiver-0", Durability.NONE, 0)), book.open()
    plain = message(CONTENT)
    with Exchange(StoreService(door, Client(PEER, Limits(), visit), CONTEXTS), accelerated=True) as exchange:
        exchange.send(plain)
        assert exchange.by_hand == len(plain)
        exchange.send(plain * 3)
        assert exchange.by_hand == len(plain)
        exchange.send(other)
        assert exchange.by_hand == len(plain) + len(other)
        book.wanted = False
        exchange.send(plain + other)
        assert exchange.by_hand == len(plain) + len(other)
        assert [status_of(answer) for answer in exchange.answers] == [0] * 7
    [seen] = VisitFiles(files.run).look()
    assert seen.study_instance_uids == {"1.2.3", "7.8"}
    visit.end(released=True)
