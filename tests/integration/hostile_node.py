"""A receiver under attack: short time-outs, its log kept, and a look at what is left when the attack is over."""

from __future__ import annotations

import gc
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from structlog.testing import LogCapture

from dicom_node.config import Peer
from dicom_node.domain.durability import Durability
from dicom_node.scp.door import Door, DoorSettings
from dicom_node.scp.listener import ListenOn
from dicom_node.scp.places import Places
from dicom_node.scp.policy import AccessPolicy
from dicom_node.scp.server import Receiver
from dicom_node.storage import InstanceFiles
from tests.integration.raw_peer import RawPeer, data_set

PEERS = [Peer(name="pacs", ae_title="PACS", host="localhost"), Peer(name="good", ae_title="GOOD", host="localhost")]
pause = threading.Event()


def wait_until(reached: Callable[[], bool], limit_s: float, what: Callable[[], object] = lambda: "") -> None:
    deadline = monotonic() + limit_s
    while not reached():
        assert monotonic() < deadline, f"not reached in {limit_s} s: {what()}"
        pause.wait(0.01)


class HostileNode:
    """A receiver, the instances it keeps, and its log."""

    def __init__(
        self, files: InstanceFiles, log: LogCapture, *, timeout_s: float = 1.5, max_associations: int = 400, max_instance: int = 0
    ) -> None:
        self.files, self.entries = files, log.entries
        self.door = Door(files, DoorSettings("receiver-0", Durability.NONE, 0, max_instance))
        self.receiver = Receiver(self.door, AccessPolicy("AINODE", PEERS, max_associations), Places(files.run))
        self.port = self.receiver.start(ListenOn("127.0.0.1", 0, 131072, timeout_s, timeout_s))
        gc.collect()  # what earlier tests left open must not go while this one counts
        self._at_rest = self._now()
        self._kept: dict[Path, bytes] = {}

    def peer(self, **request: object) -> RawPeer:
        """A peer with an association."""
        peer = RawPeer(self.port)
        answer = peer.associate(**request)
        assert answer[0] == 2, answer
        return peer

    def events(self, name: str) -> list[dict]:  # type: ignore[type-arg]
        return [dict(entry) for entry in self.entries if entry["event"] == name]

    def kept(self) -> list[bytes]:
        """The data sets below their final names."""
        for path in self.files.pending():
            if path not in self._kept:
                self._kept[path] = _data_set_of(path.read_bytes())
        return list(self._kept.values())

    def kept_of(self, uid: str) -> list[bytes]:
        return [content for content in self.kept() if uid.encode() in content[:200]]

    def wait_for_rest(self, limit_s: float = 10) -> None:
        """No thread, descriptor or partial file of an association is left."""
        wait_until(lambda: self._now() == self._at_rest, limit_s, lambda: (self._now(), self._at_rest, threading.enumerate()))
        assert not [p.name for p in self.files.incoming.iterdir() if p.suffix != ".dcm"]
        assert not self.receiver._admitted
        crashes = ("process_crashed", "instance_failed", "connection_failed")
        assert not [e for e in self.entries if e["event"] in crashes]

    @contextmanager
    def bystander(self, instances: int = 10) -> Iterator[None]:
        """A good association that stores before, while and after something happens; each instance byte-identical."""
        sent = []
        with self.peer(calling="GOOD") as good:

            def store(number: int) -> None:
                uid = f"1.9.{number}"
                sent.append(data_set(uid, 20_000))
                status = good.store(uid, sent[-1], number)
                assert status == 0, f"instance {number}: {status:04X}, {self.entries[-3:]}"

            stop, failed = threading.Event(), list[BaseException]()

            def keep_storing() -> None:
                number = 1
                try:
                    while not stop.wait(0.02) or number < instances:
                        store(number)
                        number += 1
                except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
                    failed.append(error)

            storing = threading.Thread(target=keep_storing)
            storing.start()
            try:
                yield
            finally:
                stop.set()
                storing.join(30)
            assert not failed, failed
            assert good.release()[0] == 6
        kept = self.kept()
        assert all(content in kept for content in sent)

    def _now(self) -> tuple[int, int]:
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


def _data_set_of(content: bytes) -> bytes:
    assert content[128:132] == b"DICM"
    [length] = struct.unpack_from("<I", content, 140)
    return content[144 + length :]
