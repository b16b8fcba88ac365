"""The intake while the database or a file is out of reach: nothing acknowledged waits for ever, nobody has to help."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from pynetdicom.dsutils import encode

from dicom_node.domain.instances import AssociationPeer
from dicom_node.errors import StorageError
from dicom_node.jobs import queue
from dicom_node.pipeline import headers
from dicom_node.scp.door import InstanceKind
from dicom_node.storage import Database, InstanceFiles, index, revisions
from tests.integration.test_intake import LATER, House
from tests.phantoms import chest_series

_HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """One that gives up on a lock at once."""
    opened = Database(f"sqlite:///{tmp_path / 'node.db'}", busy_timeout_ms=20)
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture
def house(tmp_path: Path, database: Database, files: InstanceFiles) -> House:
    return House(tmp_path, database, files)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process writes and does not come to an end."""
    with subprocess.Popen([sys.executable, "-c", _HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            holder.communicate()


def turn(house: House) -> list[int]:
    """As the pipeline's loop: an error of ours costs one turn."""
    try:
        return house.turn()
    except StorageError:
        return []


def test_instances_that_arrive_while_the_database_is_locked_are_indexed_and_routed_afterwards(house: House, tmp_path: Path) -> None:
    with locked(tmp_path / "node.db"):
        house.receive(chest_series()[:12])
        assert turn(house) == []
        house.receive(chest_series())
        assert turn(house) == []
        assert len(house.files.pending()) == 36
    assert len(turn(house)) == 2
    assert not house.files.pending()


def test_study_that_could_not_be_closed_is_closed_when_the_database_is_back(house: House, tmp_path: Path) -> None:
    house.receive(chest_series())
    house.intake.index_pending(lambda: True)
    with locked(tmp_path / "node.db"):
        assert turn(house) == []
        assert turn(house) == []
    assert len(turn(house)) == 1
    assert (house.study().instances, house.study().revision) == (24, 1)


def test_intake_starts_while_the_database_is_locked(house: House, tmp_path: Path) -> None:
    house.receive(chest_series())
    house.intake.index_pending(lambda: True)
    with locked(tmp_path / "node.db"):
        house.restarted()
        assert turn(house) == []
    assert len(turn(house)) == 1


def test_study_whose_files_could_not_be_moved_closes_when_they_can(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.receive(chest_series())
    moves = []

    def full(source: Path, target: Path) -> None:
        moves.append(source)
        if len(moves) == 5:
            raise StorageError("cannot move an instance")
        InstanceFiles.move(house.files, source, target)

    with monkeypatch.context() as patch:
        patch.setattr(house.files, "move", full)
        assert turn(house) == []
    assert house.intake.next_deadline() is None
    [job_id] = turn(house)
    with house.database.transaction() as session:
        job = queue.get(session, job_id)
    assert job is not None
    assert len(job.inputs[0].sop_instance_uids) == 24


def test_study_that_cannot_be_closed_holds_no_other_back(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = chest_series(), chest_series()
    house.receive(first)
    house.receive(second)
    freeze = index.freeze

    def broken(session, study_instance_uid, *rest):  # type: ignore[no-untyped-def]
        if study_instance_uid == first[0].StudyInstanceUID:
            raise StorageError("row is damaged")
        return freeze(session, study_instance_uid, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(index, "freeze", broken)
        assert turn(house) == []
        turn(house)
        with house.database.transaction() as session:
            assert revisions.waiting_studies(session) == [first[0].StudyInstanceUID]
    assert len(turn(house)) == 1


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.EACCES, errno.ENOMEM])
def test_file_that_cannot_be_read_for_a_while_is_not_set_aside(house: House, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    house.receive(chest_series())

    def fails(self: Path, *arguments: object, **named: object) -> object:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", fails)
        assert turn(house) == []
    assert len(house.files.pending()) == 24
    assert len(turn(house)) == 1


def test_file_that_never_can_be_read_holds_no_other_back_and_is_named_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.receive(chest_series())
    bad = house.files.pending()[3]
    opened = Path.open

    def fails(self: Path, *arguments: object, **named: object) -> object:
        if self == bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return opened(self, *arguments, **named)  # type: ignore[call-overload]

    with monkeypatch.context() as patch, structlog.testing.capture_logs() as logs:
        patch.setattr(Path, "open", fails)
        assert house.intake.index_pending(lambda: True) == 23
        assert house.intake.index_pending(lambda: True) == 0  # the loop must rest between attempts
        assert len(turn(house)) == 1
    assert house.files.pending() == [bad]
    assert [line["file"] for line in logs if line["event"] == "instance_waits"] == [bad.name]
    assert len(turn(house)) == 1
    assert (house.study().instances, house.study().revision) == (24, 2)


def _accepted_but_damaged() -> list[tuple[str, bytes]]:
    """Data sets whose identifying UIDs are fine and whose rest breaks a reader in its own way."""
    whole = encode(chest_series()[0], is_implicit_vr=False, is_little_endian=True)
    assert whole is not None
    ends = whole.index(b"\x20\x00\x10\x00")  # Study ID: behind both UIDs
    nested = b"".join(b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" for _ in range(2000))
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = packer.compress(whole) + packer.flush(zlib.Z_SYNC_FLUSH)
    return [
        (ExplicitVRLittleEndian, whole[:ends] + b"\x20\x00\x13\x00IS\xff\x7f1"),
        (ExplicitVRLittleEndian, whole[:ends] + nested),
        (ExplicitVRLittleEndian, whole[:ends] + b"\x28\x00\x10\x00US\x01\x00\0"),
        (ExplicitVRLittleEndian, whole[:ends] + b"\x40\x00\x75\x02SQ\0\0\x40\0\0\0\xfe\xff\x0d\xe0"),
        (DeflatedExplicitVRLittleEndian, deflated + b"\xff" * 64),
    ]


@pytest.mark.parametrize("damage", range(5))
@pytest.mark.filterwarnings("ignore")
def test_accepted_instance_that_breaks_a_reader_stops_nobody_elses(house: House, damage: int) -> None:
    syntax, content = _accepted_but_damaged()[damage]
    uid = _sop_instance_uid(content, syntax)
    house.door.keep(
        AssociationPeer("PACS", "AINODE", "127.0.0.1"), InstanceKind(CTImageStorage, uid, syntax), [content[:-64], content[-64:]]
    )
    house.receive(chest_series())
    house.intake.index_pending(lambda: True)
    assert not house.files.pending()
    assert len(list(house.files.studies.rglob("*.dcm"))) + len(list((house.files.incoming / ".unreadable").glob("*"))) == 25
    assert len(house.intake.close_due(datetime.now(UTC) + LATER)) >= 1


def _sop_instance_uid(content: bytes, syntax: str) -> str:
    plain = zlib.decompressobj(wbits=-zlib.MAX_WBITS).decompress(content, 4096) if syntax == DeflatedExplicitVRLittleEndian else content
    at = plain.index(b"\x08\x00\x18\x00UI")
    length = int.from_bytes(plain[at + 6 : at + 8], "little")
    return plain[at + 8 : at + 8 + length].rstrip(b"\0").decode()


@pytest.mark.parametrize("left", [0, 1, 200, 4000, -1])
def test_file_shorter_than_what_was_received_is_set_aside(house: House, left: int, capsys: pytest.CaptureFixture[str]) -> None:
    house.receive(chest_series())
    torn = house.files.pending()[0]
    os.truncate(torn, left if left >= 0 else torn.stat().st_size - 1)
    house.intake.index_pending(lambda: True)
    [aside] = (house.files.incoming / ".unreadable").iterdir()
    assert aside.name == torn.name
    assert house.study().instances == 23


@pytest.mark.parametrize(
    "content", [b"", b"garbage", bytes(70_000), b"DICM" * 50, bytes(128) + b"DICM", bytes(128) + b"DICM" + b"\xff" * 500]
)
@pytest.mark.filterwarnings("ignore")
def test_garbage_under_a_final_name_is_set_aside(house: House, content: bytes) -> None:
    house.receive(chest_series())
    name = house.files.pending()[0].name.rsplit("-", 1)[0].replace("test", "other")
    (house.files.incoming / f"{name}-{len(content)}.dcm").write_bytes(content)
    house.intake.index_pending(lambda: True)
    assert len(list((house.files.incoming / ".unreadable").iterdir())) == 1
    assert house.study().instances == 24


def test_instance_moved_back_into_incoming_is_indexed_again(house: House, database: Database) -> None:
    """How an operator rebuilds a lost index."""
    house.receive(chest_series())
    house.intake.index_pending(lambda: True)
    with sqlite3.connect(Path(database.url.removeprefix("sqlite:///"))) as connection:
        connection.executescript("DELETE FROM instance; DELETE FROM series; DELETE FROM study_event; DELETE FROM study;")
    for path in house.files.studies.rglob("*.dcm"):
        path.rename(house.files.incoming / path.name)
    house.restarted()
    assert len(turn(house)) == 1
    assert house.study().instances == 24


def test_large_instance_is_hashed_without_being_held_in_memory(house: House) -> None:
    import tracemalloc  # noqa: PLC0415

    size = 64 << 20
    ds = chest_series(PixelData=bytes(size))[0]
    house.receive([ds])
    [path] = house.files.pending()
    tracemalloc.start()
    instance = headers.received_instance(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert instance.size_bytes > size
    assert peak < size // 8


def test_database_file_that_is_gone_is_named_and_its_return_is_noticed(house: House, tmp_path: Path) -> None:
    house.receive(chest_series()[:12])
    house.intake.index_pending(lambda: True)
    away = tmp_path / "away"
    away.mkdir()
    house.database.close()
    for path in tmp_path.glob("node.db*"):
        path.rename(away / path.name)
    house.receive(chest_series())
    with pytest.raises(StorageError, match=r"node\.db does not exist"):
        house.turn()
    assert not (tmp_path / "node.db").exists()
    for path in away.iterdir():
        path.rename(tmp_path / path.name)
    assert len(turn(house)) == 2


def test_database_file_removed_under_an_open_connection_is_not_written_to(house: House, tmp_path: Path) -> None:
    house.receive(chest_series()[:12])
    house.intake.index_pending(lambda: True)
    (tmp_path / "node.db").rename(tmp_path / "moved.db")
    house.receive(chest_series())
    with pytest.raises(StorageError, match="does not exist"):
        house.turn()
    assert len(house.files.pending()) == 24


def test_database_file_replaced_under_an_open_connection_is_opened_anew(house: House, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "node.db") as source, sqlite3.connect(tmp_path / "backup.db") as target:
        source.backup(target)
    source.close()
    target.close()
    house.receive(chest_series()[:12])
    house.intake.index_pending(lambda: True)
    for name in ("node.db-wal", "node.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / "backup.db").rename(tmp_path / "node.db")
    house.receive(chest_series())
    jobs = turn(house) or turn(house)  # the first may still ask for a study that only the lost file knew
    assert len(jobs) == 1
    with house.database.transaction() as session:
        assert revisions.waiting_studies(session) == []


@pytest.mark.parametrize("obstacle", ["folder", "file above"])
def test_database_that_cannot_be_opened_is_named_and_taken_up_again(house: House, tmp_path: Path, obstacle: str) -> None:
    """Permissions do not stop the superuser who may run this test; these do."""
    house.receive(chest_series())
    house.database.close()
    place, away = tmp_path / "state", tmp_path / "away"
    place.mkdir()
    shutil.copy(tmp_path / "node.db", place)
    house.database = Database(f"sqlite:///{place / 'node.db'}", busy_timeout_ms=20)
    house.restarted()
    place.rename(away)
    if obstacle == "folder":
        (place / "node.db").mkdir(parents=True)
    else:
        place.write_bytes(b"")
    with pytest.raises(StorageError, match=r"unable to open database file|cannot be reached"):
        house.turn()
    if obstacle == "folder":
        shutil.rmtree(place)
    else:
        place.unlink()
    away.rename(place)
    assert len(turn(house)) == 1
    house.database.close()


def test_data_dir_that_is_away_for_a_while_costs_turns_only(house: House, tmp_path: Path) -> None:
    house.receive(chest_series())
    away = tmp_path / "away"
    house.files.data_dir.rename(away)
    with pytest.raises(StorageError, match="incoming"):
        house.turn()
    away.rename(house.files.data_dir)
    assert len(turn(house)) == 1


def test_asking_for_the_schema_makes_no_database(tmp_path: Path) -> None:
    found, newest = Database(f"sqlite:///{tmp_path / 'absent.db'}").schema_version()
    assert (found, bool(newest)) == (None, True)
    assert not (tmp_path / "absent.db").exists()


def test_receivers_acknowledge_while_the_database_is_locked(house: House, tmp_path: Path) -> None:
    done = threading.Event()

    def push() -> None:
        house.receive(chest_series())
        done.set()

    with locked(tmp_path / "node.db"):
        thread = threading.Thread(target=push)
        thread.start()
        assert done.wait(10)
        thread.join()
    assert len(turn(house)) == 1


def test_data_set_that_names_its_uids_twice_blocks_nobody(house: House) -> None:
    """The door reads the first, a reader the last."""
    ds = chest_series()[0]
    content = encode(ds, is_implicit_vr=False, is_little_endian=True)
    assert content is not None
    at = content.index(b"\x20\x00\x10\x00")
    twice = content[:at] + b"\x20\x00\x0d\x00UI\x08\x00../../x\0" + content[at:]
    house.door.keep(
        AssociationPeer("PACS", "AINODE", "127.0.0.1"), InstanceKind(ds.SOPClassUID, ds.SOPInstanceUID, ExplicitVRLittleEndian), [twice]
    )
    house.receive(chest_series())
    house.intake.index_pending(lambda: True)
    assert not house.files.pending()
    assert len(list((house.files.incoming / ".unreadable").iterdir())) == 1
