"""What is cut: runs under the preloaded shim, forks a child for every cut, prints one JSON line for each.

`python -m tests.crash.program store DURABILITY FOLDER` keeps instances through the door, `receive` has the accelerator keep them;
`index` indexes what another run kept; `faults` serves a real association while one call fails.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from pathlib import Path
from typing import TypeAlias

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import CTImageStorage

from dicom_node.config import Configuration, Peer
from dicom_node.domain.durability import Durability
from dicom_node.domain.instances import AssociationPeer
from dicom_node.ops.logs import configure_logs
from dicom_node.pipeline.intake import AvailableModel, Intake
from dicom_node.scp.door import Client, Door, DoorSettings, InstanceKind
from dicom_node.scp.listener import ListenOn
from dicom_node.scp.places import Places
from dicom_node.scp.policy import AccessPolicy, Limits
from dicom_node.scp.server import Receiver
from dicom_node.scp.store_service import StoreService
from dicom_node.storage import Database, InstanceFiles
from tests.exchange import Exchange
from tests.integration.raw_peer import status_of
from tests.integration.raw_peer import store as store_stream
from tests.phantoms import chest_series
from tests.requestor import ATTENTIVE
from tests.unit.test_config import load

STUDY = "2.25.4711"
THREADS = 3
_PIECE = 700_000  # the largest instance is written in several pieces, and its write-out starts early
_shim = ctypes.CDLL(None)
if hasattr(_shim, "shim_failed"):
    _shim.shim_failed.restype = ctypes.c_char_p


class Mode(IntEnum):
    COUNT, KILL_BEFORE, KILL_AFTER, FAIL = 1, 2, 3, 4


def instances() -> list[Dataset]:
    """Three of one study, always the same; the last is larger than what starts write-out."""
    series = chest_series(STUDY)[:THREADS]
    for number, ds in enumerate(series):
        ds.SOPInstanceUID = f"{STUDY}.1.{number}"
        ds.SeriesInstanceUID = f"{STUDY}.1"
        ds.FrameOfReferenceUID = f"{STUDY}.2"
        ds.PixelData = bytes([number + 1]) * (4096 if number < THREADS - 1 else 2_200_000)
    return series


def encoded(ds: Dataset) -> bytes:
    content = encode(ds, is_implicit_vr=False, is_little_endian=True)
    assert content is not None
    return content


def kind_of(ds: Dataset) -> InstanceKind:
    return InstanceKind(ds.SOPClassUID, ds.SOPInstanceUID, ExplicitVRLittleEndian)


def new_intake(configuration: Configuration, database: Database, files: InstanceFiles) -> Intake:
    return Intake(configuration, database, files, {"chest-ct-densitometry": AvailableModel("1", "digest")})


Keep: TypeAlias = Callable[[Door, Dataset, bytes], None]


def _through_the_door(door: Door, ds: Dataset, content: bytes) -> None:
    pieces = [content[at : at + _PIECE] for at in range(0, len(content), _PIECE)]
    door.keep(AssociationPeer("PACS", "AINODE", "127.0.0.1"), kind_of(ds), pieces)


def _through_the_accelerator(door: Door, ds: Dataset, content: bytes) -> None:
    client = Client(AssociationPeer("PACS", "AINODE", "127.0.0.1"), Limits())
    service = StoreService(door, client, {1: (ds.SOPClassUID, ExplicitVRLittleEndian)})
    with Exchange(service, accelerated=True) as exchange:
        exchange.send(store_stream(ds.SOPInstanceUID, content, fragment=131072))
        assert [status_of(answer) for answer in exchange.answers] == [0]
        assert exchange.by_hand == 0


def _store(
    folder: Path, durability: Durability, ready: list[tuple[Dataset, bytes]], acknowledge: Callable[[str], None], keep_one: Keep
) -> None:
    files = InstanceFiles(folder)
    files.prepare()
    door = Door(files, DoorSettings("receiver-0", durability, min_free_bytes=0))

    def keep(ds: Dataset, content: bytes) -> None:
        keep_one(door, ds, content)
        acknowledge(ds.SOPInstanceUID)

    if durability is not Durability.GROUP:
        for item in ready:
            keep(*item)
        return
    threads = [threading.Thread(target=keep, args=item) for item in ready]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def _child(run: Callable[[int], None]) -> Iterator[tuple[str, int]]:
    """Run in a forked child; what it wrote into the pipe and its exit status."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            run(writing)
            status = 0
        except BaseException:  # noqa: BLE001 - a child must never return into the parent's loop
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as stream:
        told = stream.read()
    yield told, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _cut_everywhere(
    run: Callable[[Path, Callable[[str], None]], None], root: Path, fresh: Callable[[Path], None], modes: Sequence[Mode]
) -> None:
    """Kill at every call, until a run ends by itself."""

    def armed(folder: Path, mode: Mode, at: int) -> Callable[[int], None]:
        def child(writing: int) -> None:
            log = os.open(folder.with_suffix(".log"), os.O_CREAT | os.O_WRONLY | os.O_APPEND) if mode is Mode.COUNT else -1

            def acknowledge(uid: str) -> None:
                _shim.shim_note(b"ack\t" + uid.encode())
                os.write(writing, f"{uid}\n".encode())

            _shim.shim_arm(int(mode), ctypes.c_long(at), 0, bytes(folder), log)
            run(folder, acknowledge)

        return child

    at = 0
    for mode in modes:
        at, status = 0, -9
        while status:
            at += 1
            folder = root / f"{mode.name.lower()}-{at}"
            fresh(folder)
            with _child(armed(folder, mode, at)) as (told, status):
                assert status in (0, -9), (folder, status)
                sys.stdout.write(json.dumps({"folder": str(folder), "acknowledged": told.split(), "ended": not status}) + "\n")


def store(durability: Durability, root: Path, keep_one: Keep = _through_the_door) -> None:
    ready = [(ds, encoded(ds)) for ds in instances()]

    def run(folder: Path, acknowledge: Callable[[str], None]) -> None:
        _store(folder, durability, ready, acknowledge, keep_one)

    _cut_everywhere(run, root, lambda _: None, tuple(Mode)[:3])


def receive(durability: Durability, root: Path) -> None:
    store(durability, root, _through_the_accelerator)


def index(root: Path) -> None:
    """Cut the intake, one thread, so that behind a call is before the next; `root` holds what was kept, with its database, under `kept`."""
    (root / "config").mkdir()
    configuration = load(root / "config")

    def run(folder: Path, acknowledge: Callable[[str], None]) -> None:
        database = Database(f"sqlite:///{folder / 'node.db'}")
        intake = new_intake(configuration, database, InstanceFiles(folder))
        intake.index_pending(lambda: True)
        intake.close_due(datetime.now(UTC) + timedelta(hours=1))
        database.close()

    _cut_everywhere(run, root, lambda folder: shutil.copytree(root / "kept", folder), [Mode.KILL_BEFORE])


def _served(folder: Path, durability: Durability, at: int, number: int, begins_at: str) -> Callable[[int], None]:
    def child(writing: int) -> None:
        first, second = instances()[-2:][::-1]
        files = InstanceFiles(folder)
        files.prepare()
        receiver = Receiver(
            Door(files, DoorSettings("receiver-0", durability, 0)),
            AccessPolicy("AINODE", [Peer(name="pacs", ae_title="PACS", host="localhost")], 5),
            Places(files.run),
        )
        port = receiver.start(ListenOn("127.0.0.1", 0, 131072, 10, 30))
        ae = AE("PACS")
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
        association = ae.associate(
            "127.0.0.1",
            port,
            contexts=[build_context(CTImageStorage, ExplicitVRLittleEndian)],
            ae_title="AINODE",
            evt_handlers=[ATTENTIVE],
        )
        _shim.shim_arm(int(Mode.FAIL), ctypes.c_long(at), number, bytes(files.incoming), -1)
        _shim.shim_begin_at(begins_at.encode())
        failed = association.send_c_store(first).get("Status", -1)
        calls, refused = _shim.shim_calls(), _shim.shim_failed().decode()
        _shim.shim_arm(0, ctypes.c_long(0), 0, b"", -1)
        partials = len(list(files.incoming.glob(".*.partial")))
        after = association.send_c_store(second).get("Status", -1)
        report = {
            "at": at,
            "error": errno.errorcode[number],
            "calls": calls,
            "failed": refused,
            "status": failed,
            "partials": partials,
            "next": after,
        }
        report |= {"established": association.is_established, "kept": len(files.pending())}
        os.write(writing, json.dumps(report).encode())

    return child


def faults(durability: Durability, root: Path) -> None:
    """Let each call of one C-STORE fail in each way; another C-STORE follows on the same association."""
    both = ("", "rename")  # a data set comes in more or fewer pieces, so that what ends it is counted by itself
    ways = {errno.ENOSPC: both, errno.EIO: both, errno.EDQUOT: ("rename",), errno.EMFILE: ("",)}  # a quota is as a full disk to us
    for number, begins_at in ((number, begins_at) for number, places in ways.items() for begins_at in places):
        at = calls = 0
        while calls >= at:  # until the failing call is one that no longer comes
            at += 1
            with _child(_served(root / f"{number}-{begins_at}{at}", durability, at, number, begins_at)) as (told, status):
                assert status == 0, told
                calls = json.loads(told)["calls"]
                sys.stdout.write(told + "\n")


if __name__ == "__main__":
    configure_logs("program", level="CRITICAL")
    what, *rest = sys.argv[1:]
    if what == "index":
        index(Path(rest[0]))
    else:
        {"store": store, "receive": receive, "faults": faults}[what](Durability(rest[0]), Path(rest[1]))
