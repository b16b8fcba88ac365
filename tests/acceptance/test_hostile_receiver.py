"""The receiver as a process under attack: descriptors, threads and memory are afterwards what they were before."""

from __future__ import annotations

import contextlib
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.acceptance.orthanc import Orthanc
from tests.acceptance.receivers import Receivers
from tests.integration.raw_peer import ABORTING, RawPeer, associate_request, data_set, echo_command, p_data, pdu, pdv, store, store_command
from tests.integration.test_hostile_peers import CONTRADICTIONS, UNREADABLE

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]
UID = "1.2.3.4.5"
MIB = 1 << 20
pause = threading.Event()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receivers]:
    running = Receivers(tmp_path / "node", ["PACS", "GOOD"], count=1, acse_timeout="1s", network_timeout="2s", max_instance="8MiB")
    yield running
    running.close()


def attack(receiver: Receivers, stream: bytes, *, associated: bool = True, end: str = "close") -> RawPeer:
    peer = RawPeer(receiver.port)
    with contextlib.suppress(OSError):
        if associated:
            peer.associate()
        peer.send(stream)
        if end == "reset":
            peer.reset()
        elif end == "close":
            peer.socket.close()
    return peer


def attack_in_every_way(receiver: Receivers) -> None:
    left_open = [attack(receiver, b"", associated=False, end="none") for _ in range(300)]
    for _ in range(300):
        attack(receiver, b"", associated=False)
    for stream, _ in CONTRADICTIONS.values():
        attack(receiver, stream, end="reset")
        left_open.append(attack(receiver, stream, end="none"))
    left_open += [attack(receiver, request, associated=False, end="none") for request in UNREADABLE.values()]
    message = store(UID, data_set(UID, 40_000))
    for cut in range(1, len(message), 1000):
        attack(receiver, message[:cut], end="reset")
        attack(receiver, message[:cut] + ABORTING)
        left_open.append(attack(receiver, message[:cut], end="none"))
    endless = p_data(pdv(store_command(UID), command=True)) + p_data(pdv(bytes(MIB), last=False)) * 32
    attack(receiver, endless)
    attack(receiver, pdu(0x42, b"") + bytes(8 * MIB))
    attack(receiver, p_data(pdv(echo_command(), context=3, command=True)) * 20_000)
    for peer in left_open:
        peer.socket.close()


def test_process_is_after_an_attack_what_it_was_before(receiver: Receivers) -> None:
    with RawPeer(receiver.port) as good:
        good.associate(calling="GOOD")
        good.store("1.9.0")
        good.release()
    at_rest = receiver.used_at_rest("receiver-0")
    attack_in_every_way(receiver)  # memory that the allocator keeps is taken once
    assert receiver.used_at_rest("receiver-0") == at_rest
    resident = receiver.used("receiver-0")[2]
    with RawPeer(receiver.port) as good:
        good.associate(calling="GOOD")
        stop = threading.Event()
        attacking = threading.Thread(target=lambda: (attack_in_every_way(receiver), stop.set()))
        attacking.start()
        sent = [data_set(f"1.9.{number}", 100_000) for number in range(1, 200)]
        for number, content in enumerate(sent, 1):
            assert good.store(f"1.9.{number}", content, number) == 0
            stop.wait(0.02)
        attacking.join()
        good.release()
    assert receiver.used_at_rest("receiver-0") == at_rest
    assert receiver.used("receiver-0")[2] - resident < 16 * MIB
    assert receiver.used("receiver-0")[2] < 160 * MIB
    assert receiver.processes["receiver-0"].poll() is None
    kept = [path.read_bytes() for path in receiver.files.pending()]
    assert all(any(content.endswith(one) for content in kept) for one in sent)
    assert not list(receiver.files.incoming.glob(".*.partial"))
    assert not [word for word in ("process_crashed", "instance_failed", "connection_failed") if word in receiver.log()]


def test_receiver_without_free_descriptors_waits_and_recovers(receiver: Receivers) -> None:
    process = psutil.Process(receiver.processes["receiver-0"].pid)
    process.rlimit(resource.RLIMIT_NOFILE, (40, process.rlimit(resource.RLIMIT_NOFILE)[1]))
    crowd = [RawPeer(receiver.port) for _ in range(60)]
    Orthanc.wait_until(lambda: "connection_not_accepted" in receiver.log(), 10)
    before = sum(process.cpu_times()[:2])
    pause.wait(0.5)
    assert sum(process.cpu_times()[:2]) - before < 0.25, "it spins"
    for peer in crowd:
        peer.socket.close()
    with RawPeer(receiver.port) as good:
        assert good.associate(calling="GOOD")[:1] == b"\2"
        assert good.store(UID) == 0
        good.release()


def test_requests_that_come_while_descriptors_run_out_are_rejected_or_served(receiver: Receivers) -> None:
    process = psutil.Process(receiver.processes["receiver-0"].pid)
    process.rlimit(resource.RLIMIT_NOFILE, (40, process.rlimit(resource.RLIMIT_NOFILE)[1]))
    peers = [RawPeer(receiver.port) for _ in range(30)]
    for peer in peers:
        peer.send(associate_request())
    answers = [peer.receive()[:1] for peer in peers]
    assert answers.count(b"\2") >= 5
    for peer in peers:
        peer.socket.close()
    with RawPeer(receiver.port) as good:
        Orthanc.wait_until(lambda: good.associate(calling="GOOD")[:1] == b"\2", 10)
        assert good.store(UID) == 0
        good.release()
