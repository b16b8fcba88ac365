"""Peers that break the rules: each costs itself its association and nobody else anything."""

from __future__ import annotations

import os
import random
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from time import monotonic

import psutil
import pytest
import structlog
from pynetdicom.acse import ACSE
from pynetdicom.fsm import StateMachine
from structlog.testing import LogCapture

from dicom_node.storage import InstanceFiles
from tests.integration.hostile_node import HostileNode, pause, wait_until
from tests.integration.raw_peer import (
    ABORTING,
    ASSOCIATE_RQ,
    CT,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    P_DATA,
    RELEASE,
    STUDY_ROOT_FIND,
    VERIFICATION,
    RawPeer,
    associate_request,
    command_set,
    data_set,
    echo_command,
    element,
    item,
    p_data,
    pdu,
    pdv,
    status_of,
    store,
    store_command,
)

ROUNDS = int(os.environ.get("DICOM_NODE_TEST_ROUNDS", "200"))
"""Changed exchanges over the network; more for a night."""
pytestmark = pytest.mark.usefixtures("receive_path")
UID = "1.2.3.4.5"
COMMAND = p_data(pdv(store_command(UID), command=True))
HALF = data_set(UID)[:80]


@pytest.fixture
def log() -> Iterator[LogCapture]:
    before = structlog.get_config()
    capture = LogCapture()
    structlog.configure(processors=[capture], wrapper_class=structlog.make_filtering_bound_logger("INFO"))
    yield capture
    structlog.configure(**before)


@pytest.fixture
def node(files: InstanceFiles, log: LogCapture) -> Iterator[HostileNode]:
    running = HostileNode(files, log)
    yield running
    running.wait_for_rest()
    running.receiver.drain(1)


@pytest.fixture
def patient_node(files: InstanceFiles, log: LogCapture) -> Iterator[HostileNode]:
    """One whose good peers may be kept from the processor for a while: silence is not what is tested."""
    running = HostileNode(files, log, timeout_s=6)
    yield running
    running.wait_for_rest()
    running.receiver.drain(1)


CONTRADICTIONS = {
    "PDV of length 0": (p_data(pdv(b"", length=0)), "PDV of 0 bytes"),
    "PDV of length 1": (p_data(pdv(b"", length=1)), "PDV of 1 bytes"),
    "PDV of length 2^32-1": (p_data(pdv(b"", length=0xFFFFFFFF)), "PDV of 4294967295 bytes"),
    "PDV of length 0 within a data set": (COMMAND + p_data(pdv(HALF, last=False)) + p_data(pdv(b"", length=0)), "PDV of 0 bytes"),
    "PDU of length 0": (pdu(P_DATA, b""), "0 bytes holds no PDV"),
    "PDU shorter than its PDV": (pdu(P_DATA, pdv(store_command(UID), command=True), length=40), "in 40 bytes of a PDU"),
    "PDU longer than its PDV": (pdu(P_DATA, pdv(store_command(UID), command=True), length=120) + bytes(200), "PDU"),
    "release of 2^32-1 bytes": (pdu(5, b"", length=0xFFFFFFFF), "PDU of type 05 and 4294967295"),
    "PDU of an unknown type": (pdu(0x42, b"1234"), "PDU of type 42"),
    "data before a command": (p_data(pdv(HALF)), "without a command set"),
    "context that was not proposed": (p_data(pdv(store_command(UID), context=5, command=True)), "context 5 was not accepted"),
    "context 0": (p_data(pdv(store_command(UID), context=0, command=True)), "context 0 was not accepted"),
    "context changes within a message": (COMMAND + p_data(pdv(HALF, context=3)), "context 3 within a message on 1"),
    "command within a data set": (COMMAND + p_data(pdv(HALF, last=False)) + COMMAND, "command set within a data set"),
    "command without Command Field": (p_data(pdv(element(0x800, b"\1\1"), command=True)), "(0000,0100)"),
    "command without SOP Instance UID": (
        p_data(pdv(command_set(element(2, CT.encode() + b"\0"), element(0x100, b"\1\0"), element(0x800, b"\1\0")), command=True)),
        "(0000,1000)",
    ),
    "command without Message ID": (p_data(pdv(store_command(UID).replace(b"\0\0\x10\1\2\0\0\0\1\0", b""), command=True)), "(0000,0110)"),
    "empty command": (p_data(pdv(b"", command=True)), "(0000,0800)"),
    "command element longer than the command": (p_data(pdv(element(2, b"1.2", length=0xFFFFFFFF), command=True)), "4294967295 bytes"),
    "Command Field of one byte": (p_data(pdv(element(0x100, b"\1") + element(0x800, b"\1\1"), command=True)), "(0000,0100)"),
    "endless command": (p_data(pdv(bytes(16000), command=True, last=False)) * 5, "command set of more than"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradiction_aborts_its_own_association_with_one_clear_line(node: HostileNode, name: str) -> None:
    stream, words = CONTRADICTIONS[name]
    with node.bystander(), node.peer() as peer:
        peer.send(stream)
        answer = peer.rest()
        assert (answer[0], answer[8]) == (7, 2), "an A-ABORT by the service provider"
    [entry] = node.events("association_malformed")
    assert words in entry["reason"]
    assert (entry["calling_ae"].strip(), entry["address"]) == ("PACS", "127.0.0.1")


@pytest.mark.parametrize(
    "second",
    [associate_request(), pdu(2, associate_request()[6:]), pdu(3, b"\0\1\1\1"), pdu(6, bytes(4))],
    ids=["A-ASSOCIATE-RQ", "A-ASSOCIATE-AC", "A-ASSOCIATE-RJ", "A-RELEASE-RP"],
)
@pytest.mark.parametrize("before", [b"", COMMAND, COMMAND + p_data(pdv(HALF, last=False))], ids=["idle", "command", "data"])
def test_pdu_out_of_place_aborts(node: HostileNode, second: bytes, before: bytes) -> None:
    with node.bystander(), node.peer() as peer:
        peer.send(before + second)
        assert peer.rest()[:1] == b"\7"
    assert len(node.events("association_aborted")) == 1


REQUESTS = {
    "data first": (store(UID), 2),
    "release first": (RELEASE, 2),
    "abort first": (ABORTING, 2),
    "unknown type": (b"GET / HTTP/1.1\r\n\r\n", 1),
    "2^32-1 bytes": (pdu(ASSOCIATE_RQ, b"", length=0xFFFFFFFF), 6),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_anything_but_a_request_first_is_aborted_with_the_reason(node: HostileNode, name: str) -> None:
    stream, reason = REQUESTS[name]
    with node.bystander(), RawPeer(node.port) as peer:
        peer.send(stream)
        assert peer.rest() == struct.pack(">BBIBBBB", 7, 0, 4, 0, 0, 2, reason)
    assert len(node.events("connection_without_association")) == 1


UNREADABLE = {
    "empty": pdu(ASSOCIATE_RQ, b""),
    "cut in the titles": pdu(ASSOCIATE_RQ, associate_request()[6:40]),
    "shorter than it is": pdu(ASSOCIATE_RQ, associate_request()[6:], length=100),
    "item longer than the request": associate_request()[:-2] + b"\xff\xff",
    "context ID even": associate_request(contexts=[(2, CT, [EXPLICIT])]),
    "context ID 0": associate_request(contexts=[(0, CT, [EXPLICIT])]),
    "abstract syntax of 1000 characters": associate_request(contexts=[(1, "1." * 499 + "11", [EXPLICIT])]),
    "abstract syntax not ASCII": associate_request(contexts=[(1, "1.2.\u00e9", [EXPLICIT])]),
    "garbage": pdu(ASSOCIATE_RQ, bytes(range(256)) * 4),
    "protocol version 0": pdu(ASSOCIATE_RQ, b"\0\0" + associate_request()[8:]),
    "user identity of unknown type": associate_request(user=item(0x58, b"\x09\0\0\4name\0\0")),
    "user identity longer than its item": associate_request(user=item(0x58, b"\2\0\xff\xffname")),
    "roles of 300 classes": associate_request(user=item(0x54, b"\0\0011\1\1") * 300),
    "no contexts": associate_request(contexts=[]),
    "context without abstract syntax": associate_request(contexts=[(1, "", [EXPLICIT])]),
    "context without transfer syntax": associate_request(contexts=[(1, CT, [])]),
    "one context ID twice": associate_request(contexts=[(1, CT, [EXPLICIT]), (1, VERIFICATION, [IMPLICIT])]),
    "titles not ASCII": associate_request().replace(b"PACS", b"P\xc3\xa9C"),
    "titles with NUL and line breaks": associate_request().replace(b"PACS  ", b"P\0\nC\r "),
    "titles empty": associate_request(" ", " "),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_request_is_answered_at_once_and_leaves_nothing(files: InstanceFiles, log: LogCapture, name: str) -> None:
    node, began = HostileNode(files, log, timeout_s=10), monotonic()
    with node.bystander(), RawPeer(node.port) as peer:
        peer.send(UNREADABLE[name])
        peer.half_close()
        answer = peer.rest()
        assert answer[0] in (2, 3, 7), "accepted without that context, rejected, or aborted"
    node.wait_for_rest(5)
    assert monotonic() - began < 8, "no time-out had to end it"
    node.receiver.drain(1)


def test_command_sets_with_odd_unknown_and_huge_elements_store(node: HostileNode) -> None:
    odd = element(0x5555, b"x") + struct.pack("<HHI", 9, 1, 3) + b"abc" + element(0x4000, bytes(40_000))
    with node.peer() as peer:
        content = data_set(UID)
        command = store_command(UID, extra=odd)
        pieces = [p_data(pdv(command[s : s + 9000], command=True, last=s + 9000 >= len(command))) for s in range(0, len(command), 9000)]
        peer.send(b"".join(pieces) + p_data(pdv(content)))
        assert status_of(peer.receive()) == 0
        peer.release()
    assert node.kept() == [content]


WAYS_TO_CUT: dict[str, Callable[[bytes, bytes], bytes]] = {
    "command and data in one PDU": lambda c, d: p_data(pdv(c, command=True), pdv(d)),
    "command over PDUs": lambda c, d: p_data(pdv(c[:9], command=True, last=False)) + p_data(pdv(c[9:], command=True)) + p_data(pdv(d)),
    "a byte a PDU": lambda c, d: (
        p_data(pdv(c, command=True)) + b"".join(p_data(pdv(d[n : n + 1], last=n == len(d) - 1)) for n in range(len(d)))
    ),
    "empty fragments": lambda c, d: (
        p_data(pdv(b"", command=True, last=False), pdv(c, command=True))
        + p_data(pdv(b"", last=False), pdv(d, last=False))
        + p_data(pdv(b""))
    ),
    "everything in one PDU": lambda c, d: p_data(
        pdv(c[:20], command=True, last=False), pdv(c[20:], command=True), pdv(d[:1], last=False), pdv(d[1:], last=False), pdv(b"")
    ),
}


@pytest.mark.parametrize("name", WAYS_TO_CUT)
def test_every_way_to_cut_a_message_stores_it(node: HostileNode, name: str) -> None:
    content = data_set(UID, 300)
    with node.peer() as peer:
        peer.send(WAYS_TO_CUT[name](store_command(UID), content))
        assert status_of(peer.receive()) == 0
        peer.release()
    assert node.kept() == [content]


@pytest.mark.parametrize(
    "uid", [b"../../../../tmp/x", b"1.2\0/../3", b"1." * 35, "1.2.\u00e9".encode(), b"", b"1..2", b"/etc/passwd", b"\xff" * 64, b"1.2 "]
)
@pytest.mark.parametrize("where", ["command", "command and data set", "study", "series"])
def test_hostile_uid_is_refused_and_names_no_path(node: HostileNode, uid: bytes, where: str) -> None:
    of_data_set = uid or b"\0" if where == "command and data set" else UID
    study, series = (uid if where == name else b"1.2" for name in ("study", "series"))
    content = data_set(of_data_set, study=study, series=series)
    with node.peer() as peer:
        peer.send(store(uid if where.startswith("command") else UID, content))
        assert status_of(peer.receive()) == 0xA900
        assert peer.store(UID) == 0
        peer.release()
    assert node.kept() == [data_set(UID)]
    assert len(node.events("instance_refused")) == 1
    assert {p.parent for p in node.files.data_dir.rglob("*.dcm")} == {node.files.incoming}


def test_never_ending_object_is_refused_and_its_disk_given_back(files: InstanceFiles, log: LogCapture) -> None:
    node = HostileNode(files, log, max_instance=1 << 20)
    block = p_data(pdv(bytes(1 << 17), last=False))
    with node.bystander(), node.peer() as peer:
        peer.send(COMMAND)
        for _ in range(64):
            peer.send(block)
        wait_until(lambda: len(node.events("instance_refused")) == 1, 5)
        assert [p for p in files.incoming.glob(".*.partial") if p.stat().st_size > 1 << 20] == []
    node.wait_for_rest()
    node.receiver.drain(1)


def test_watermark_stops_a_never_ending_object(node: HostileNode, monkeypatch: pytest.MonkeyPatch) -> None:
    block = p_data(pdv(bytes(1 << 17), last=False))
    with node.peer() as peer:
        peer.send(COMMAND + block)
        monkeypatch.setattr(node.receiver._door.space, "_free_bytes", lambda: -1)
        for _ in range(200):
            peer.send(block)
        peer.send(p_data(pdv(b"")))
        assert status_of(peer.receive()) == 0xA700
        monkeypatch.undo()
        wait_until(lambda: peer.store(UID) == 0, 5)
        peer.release()


SLOW = {
    "within a command": COMMAND[:40],
    "within a PDU header": COMMAND[:3],
    "between fragments": COMMAND + p_data(pdv(HALF, last=False)),
    "within a data set": COMMAND + p_data(pdv(HALF))[:60],
    "within a release": RELEASE[:7],
    "between command and data set": COMMAND,
}


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("every_s", [0.05, 30.0], ids=["trickle", "silence"])
def test_slow_sender_within_a_message_is_aborted(node: HostileNode, name: str, every_s: float) -> None:
    began, stop = monotonic(), threading.Event()
    with node.bystander(), node.peer() as peer:
        peer.send(SLOW[name])
        rest = store(UID, data_set(UID, 20_000))[len(SLOW[name]) :] if not name.endswith("release") else bytes(4)

        def trickle() -> None:
            for byte in rest:
                if stop.wait(every_s):
                    return
                try:
                    peer.send(bytes([byte]))
                except OSError:
                    return

        sending = threading.Thread(target=trickle)
        sending.start()
        answer = peer.rest()
        stop.set()
        sending.join()
    assert answer[:1] == b"\7" or name.endswith("release")
    assert monotonic() - began < 5
    assert not [c for c in node.kept() if c.startswith(HALF)]


@pytest.mark.parametrize("every_s", [0.05, 0.25])
def test_slow_line_that_makes_progress_is_left_alone(node: HostileNode, every_s: float) -> None:
    """Longer than the time-out for one object, at more than 1 KiB a second."""
    content, piece = data_set(UID, 24_000), int(every_s * 10_000)
    with node.peer() as peer:
        stream = store(UID, content)
        for start in range(0, len(stream), piece):
            peer.send(stream[start : start + piece])
            pause.wait(every_s)
        assert status_of(peer.receive()) == 0
        peer.release()
    assert node.kept() == [content]


@pytest.mark.parametrize("begun", [b"", associate_request()[:1], associate_request()[:6], associate_request()[:-1]])
def test_association_request_that_does_not_come_is_ended_by_artim(node: HostileNode, begun: bytes) -> None:
    began = monotonic()
    with node.bystander(), RawPeer(node.port) as peer:
        peer.send(begun)
        assert peer.rest() == b""
    assert 1.4 < monotonic() - began < 4
    [entry] = node.events("connection_without_association")
    assert f"{len(begun)} bytes came" in entry["reason"]


def test_a_byte_a_moment_does_not_lengthen_artim(node: HostileNode) -> None:
    began = monotonic()
    with RawPeer(node.port) as peer, pytest.raises(OSError):  # noqa: PT011, PT012 - broken pipe or reset
        for byte in associate_request():
            peer.send(bytes([byte]))
            pause.wait(0.05)
    assert monotonic() - began < 4


@pytest.mark.parametrize("every_s", [0.4, 0.06])
def test_silent_association_is_aborted_and_one_that_pings_is_not(node: HostileNode, every_s: float) -> None:
    with node.peer() as silent, node.peer() as pinging:
        for _ in range(int(3.6 / every_s)):
            pause.wait(every_s)
            assert pinging.echo() == 0
        assert silent.rest()[:1] == b"\7"
        pinging.release()


SUCCESS = element(0x0900, b"\0\0")
EXCHANGE = associate_request() + COMMAND + p_data(pdv(data_set(UID))) + RELEASE


@pytest.mark.parametrize("end", ["close", "reset", "abort", "half-close"])
def test_exchange_that_ends_at_any_byte_keeps_what_was_acknowledged_and_nothing_else(
    files: InstanceFiles, log: LogCapture, end: str
) -> None:
    node = HostileNode(files, log, timeout_s=30)  # no peer is silent here, however busy the machine
    request = len(associate_request())
    with node.bystander():
        for cut in range(1, len(EXCHANGE), 1 if end == "abort" else 5):
            before = len(node.kept_of(UID))
            with RawPeer(node.port) as peer:
                peer.send(EXCHANGE[: min(cut, request)])
                if cut >= request:
                    assert peer.receive()[:1] == b"\2"
                    peer.send(EXCHANGE[request:cut])
                ENDS[end](peer)
                acknowledged = b"" if end == "reset" else peer.rest()
            answered = acknowledged.count(SUCCESS)
            if end != "reset":
                assert len(node.kept_of(UID)) - before == answered
            if cut < len(EXCHANGE) - len(RELEASE) - len(ABORTING):  # the abort's bytes can be the last ones of the data set
                assert len(node.kept_of(UID)) == answered == 0
    node.wait_for_rest()
    assert len(node.kept_of(UID)) > 0
    node.receiver.drain(1)


def _ignore_errors(action: Callable[[], object]) -> None:
    try:
        action()
    except OSError:
        return


ENDS: dict[str, Callable[[RawPeer], object]] = {
    "close": lambda peer: _ignore_errors(peer.half_close),
    "half-close": lambda peer: _ignore_errors(peer.half_close),
    "reset": lambda peer: peer.reset(),
    "abort": lambda peer: _ignore_errors(lambda: (peer.send(ABORTING), peer.half_close())),
}


@pytest.mark.parametrize("last", [RELEASE, ABORTING], ids=["release", "abort"])
@pytest.mark.parametrize("before", [COMMAND, COMMAND + p_data(pdv(HALF, last=False))], ids=["after the command", "within the data set"])
def test_end_within_a_data_set_keeps_nothing(node: HostileNode, last: bytes, before: bytes) -> None:
    with node.bystander(), node.peer() as peer:
        peer.send(before + last)
        peer.rest()
    node.wait_for_rest()
    assert not node.kept_of(UID)


def test_peer_that_never_reads_is_ended_by_the_time_out(node: HostileNode) -> None:
    with node.bystander(), RawPeer(node.port) as peer:
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.associate()
        flood = p_data(pdv(store_command(UID, data_set=False), command=True)) * 2000
        with pytest.raises(OSError):  # noqa: PT011, PT012 - broken pipe, reset or time-out, whichever comes first
            for _ in range(100):
                peer.send(flood)
    node.wait_for_rest()


def test_flood_of_requests_waits_in_the_network_and_not_in_memory(node: HostileNode) -> None:
    """A hundred thousand C-ECHO requests at once, no response read."""
    me, echoes = psutil.Process(), p_data(pdv(echo_command(), context=3, command=True)) * 5000
    with node.bystander(), node.peer() as peer:
        before, answered = me.memory_info().rss, threading.Event()
        peer.socket.settimeout(2.0)
        try:
            for _ in range(20):
                peer.send(echoes)
        except OSError:
            answered.set()
        queued = [len(a.dimse.msg_queue.queue) for a in node.receiver._admitted]
        grown = me.memory_info().rss - before
        peer.reset()
    assert max(queued) < 10_000
    assert grown < 64 << 20
    node.wait_for_rest(30)


def test_flood_after_an_abort_does_not_hold_the_connection(node: HostileNode) -> None:
    block, began = bytes(1 << 16), monotonic()
    with node.bystander(), node.peer() as peer:
        peer.send(pdu(0x42, b""))
        with pytest.raises(OSError):  # noqa: PT011, PT012
            while monotonic() - began < 8:
                peer.send(block)
    assert monotonic() - began < 5


def test_a_storm_of_instances_does_not_keep_the_node_from_stopping(files: InstanceFiles, log: LogCapture) -> None:
    node, stop, sent = HostileNode(files, log), threading.Event(), [0]
    with node.peer() as peer:

        def storm() -> None:
            try:
                while not stop.is_set():
                    peer.store(f"1.2.{sent[0]}")
                    sent[0] += 1
            except (OSError, ValueError):
                return

        storming = threading.Thread(target=storm)
        storming.start()
        wait_until(lambda: sent[0] > 20, 10)
        began = monotonic()
        assert node.receiver.drain(0.5) == 1
        wait_until(lambda: not storming.is_alive(), 5)
        assert monotonic() - began < 4
        stop.set()
    assert len(node.kept()) >= sent[0]


@pytest.mark.parametrize("way", ["leave", "reset", "silent"])
def test_three_hundred_connections_do_not_harm_a_good_peer(files: InstanceFiles, log: LogCapture, way: str) -> None:
    node = HostileNode(files, log, timeout_s=60)  # on a busy machine the silent ones must not leave before they are all there
    crowd: list[RawPeer] = []
    slowest = 0.0
    with node.bystander():
        for number in range(300):
            crowd.append(RawPeer(node.port))
            if way == "leave":
                crowd[-1].socket.close()
            elif way == "reset":
                crowd[-1].reset()
            if number % 50 == 49:
                began = monotonic()
                with node.peer() as late:
                    assert late.store(f"1.5.{number}") == 0
                    late.release()
                slowest = max(slowest, monotonic() - began)
    assert slowest < 2.0
    if way == "silent":
        wait_until(lambda: node.events("waiting_room_full"), 10)  # each connection's thread has begun to wait
    for peer in crowd:
        peer.socket.close()
    node.wait_for_rest()
    assert len(node.events("waiting_room_full")) == (way == "silent")
    if way != "silent":
        assert not node.events("connection_without_association")
    node.receiver.drain(1)


def test_associations_beyond_the_limit_are_rejected_as_local_limit_exceeded(files: InstanceFiles, log: LogCapture) -> None:
    node = HostileNode(files, log, max_associations=8, timeout_s=30)
    open_ones = [node.peer() for _ in range(8)]
    for _ in range(20):
        with RawPeer(node.port) as extra:
            assert extra.associate()[6:10] == b"\0\2\3\2"
    for peer in open_ones:
        peer.release()
        peer.socket.close()
    wait_until(lambda: not node.receiver._admitted, 5)
    with node.bystander():
        pass
    assert len(node.events("association_rejected")) == 20
    node.wait_for_rest()
    node.receiver.drain(1)


def test_echo_and_store_interleaved(node: HostileNode) -> None:
    with node.peer() as peer:
        for number in range(20):
            assert peer.echo() == 0
            assert peer.store(f"1.2.{number}", message=number) == 0
        peer.send(store("1.3.1") + p_data(pdv(echo_command(9), context=3, command=True)) + store("1.3.2"))
        answers = [peer.receive() for _ in range(3)]
        assert [status_of(a) for a in answers] == [0, 0, 0]
        peer.release()
    assert len(node.kept()) == 22


def test_find_at_a_node_without_it_is_not_negotiated(node: HostileNode) -> None:
    with node.peer(contexts=[(1, CT, [EXPLICIT]), (5, STUDY_ROOT_FIND, [IMPLICIT])]) as peer:
        assert peer.store(UID) == 0
        peer.send(p_data(pdv(store_command(UID).replace(b"\0\1\2\0\0\0\1\0", b"\0\1\2\0\0\0\x20\0"), context=5, command=True)))
        assert peer.rest()[:1] == b"\7"
    [entry] = node.events("association_malformed")
    assert "context 5 was not accepted" in entry["reason"]


@pytest.mark.parametrize("field", [0x20, 0x21, 0x10, 0x8001, 0x0FFF, 0xFFFF, 0x140])
def test_other_service_on_a_storage_context_costs_only_its_association(node: HostileNode, field: int) -> None:
    command = store_command(UID).replace(b"\0\1\2\0\0\0\1\0", b"\0\1\2\0\0\0" + struct.pack("<H", field))
    with node.bystander(), node.peer() as peer:
        peer.send(p_data(pdv(command, command=True)) + p_data(pdv(data_set(UID))))
        peer.receive()
        _ignore_errors(peer.release)
    node.wait_for_rest()
    assert not node.kept_of(UID)


@pytest.mark.parametrize("fault", ["places", "policy"])
def test_association_that_cannot_be_checked_is_rejected_not_let_in(node: HostileNode, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    def broken(*arguments: object) -> None:
        raise OSError(24, "Too many open files")

    target = node.receiver._places if fault == "places" else node.receiver.policy
    monkeypatch.setattr(type(target), "take" if fault == "places" else "check", broken)
    with RawPeer(node.port) as peer:
        assert peer.associate()[6:10] == b"\0\2\3\1"
        assert peer.rest() == b""
    [entry] = node.events("association_not_admitted")
    assert entry["reason"] == "Too many open files"


@pytest.mark.parametrize("thread", ["association", "provider"])
def test_exception_in_one_of_the_librarys_threads_ends_both_and_tells_the_peer(
    node: HostileNode, monkeypatch: pytest.MonkeyPatch, thread: str
) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError

    target = (ACSE, "negotiate_association") if thread == "association" else (StateMachine, "do_action")
    monkeypatch.setattr(*target, broken)
    with RawPeer(node.port) as peer:
        peer.send(associate_request())
        assert peer.rest() == struct.pack(">BBIBBBB", 7, 0, 4, 0, 0, 2, 6)
    node.wait_for_rest()
    monkeypatch.undo()
    assert [e["error"] for e in node.events("association_failed")] == ["RuntimeError"]
    with node.bystander():
        pass


def test_deflated_bomb_is_refused_in_bounded_time_and_memory(node: HostileNode) -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    private = struct.pack("<HH2sHI", 9, 0x1010, b"OB", 0, 0xFFFFFFFE)
    bomb = deflate.compress(private + bytes(256 << 20)) + deflate.flush()
    me, began = psutil.Process(), monotonic()
    before = me.memory_info().rss
    with node.peer(contexts=[(1, CT, [DEFLATED])]) as peer:
        peer.send(store(UID, bomb))
        assert status_of(peer.receive()) in (0xC000, 0xA900)
        peer.release()
    assert monotonic() - began < 2
    assert me.memory_info().rss - before < 16 << 20


def test_peers_that_read_nothing_do_not_keep_the_node_from_stopping(files: InstanceFiles, log: LogCapture) -> None:
    node = HostileNode(files, log, timeout_s=30)
    flood = p_data(pdv(store_command(UID, data_set=False), command=True)) * 2000
    stuck = [RawPeer(node.port) for _ in range(3)]
    for peer in stuck:
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.associate()
        peer.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):  # noqa: PT012
            while True:
                peer.send(flood)
    began = monotonic()
    assert node.receiver.drain(0.2) == 3
    assert monotonic() - began < 5
    for peer in stuck:
        peer.socket.close()


def _changed(stream: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(stream))
        junk = bytes(
            chance.choice((0, 1, 2, 4, 0x20, 0x50, 0x7F, 0x80, 0xFF, chance.randrange(256))) for _ in range(chance.randrange(1, 4))
        )
        stream = stream[:at] + junk + stream[at + chance.choice((0, len(junk))) :]
    return stream


def test_changed_exchanges_over_the_network_leave_nothing_and_keep_what_was_acknowledged(patient_node: HostileNode) -> None:
    node = patient_node
    seed = random.randrange(1 << 32)
    chance, ends = random.Random(seed), list(ENDS.values())
    associating = associate_request(
        user=item(0x54, b"\0\x19" + CT.encode() + b"\1\1") + item(0x53, b"\0\1\0\1") + item(0x58, b"\1\0\0\1n\0\0")
    )
    messages = p_data(pdv(echo_command(), context=3, command=True)) + COMMAND + p_data(pdv(data_set(UID))) + RELEASE
    acknowledged = 0
    with node.bystander():
        for _ in range(ROUNDS):
            where = chance.randrange(3)
            with RawPeer(node.port, timeout_s=5) as peer:
                _ignore_errors(lambda: peer.send(_changed(associating, chance) if where == 0 else associating))  # noqa: B023
                if where and peer.receive()[:1] != b"\2":
                    continue
                _ignore_errors(lambda: peer.send(_changed(messages, chance) if where else messages))  # noqa: B023
                end = chance.choice([e for name, e in ENDS.items() if name != "reset"] if where else ends)
                end(peer)
                answers = peer.rest() if end is not ENDS["reset"] else b""
                acknowledged += answers.count(b"\x00\x01\x80") > 0 and answers.count(SUCCESS) > answers.count(b"\x30\x80")
    node.wait_for_rest()
    assert len([c for c in node.kept() if b"1.9." not in c]) >= acknowledged, f"seed {seed}"
