"""Sharing the folder's sync: who is covered by which, and who is told when it fails."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from dicom_node.domain.durability import Durability
from dicom_node.errors import StorageError
from dicom_node.storage.commit import commit_for
from dicom_node.storage.instance_writer import InstanceWriter


class Syncs:
    """Stands in for the disk: a folder's sync lasts until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[list[str]] = []
        self.begun, self.go = threading.Semaphore(0), threading.Semaphore(0)
        self.error: BaseException | None = None
        monkeypatch.setattr(os, "fsync", self._fsync)

    def _fsync(self, folder: int) -> None:
        self.seen.append([name for name in os.listdir(folder) if name.endswith(".dcm")])
        self.begun.release()
        assert self.go.acquire(timeout=10)
        if self.error is not None:
            raise self.error


class Writers:
    def __init__(self, folder: Path) -> None:
        self.commit = commit_for(Durability.GROUP, folder)
        self.names: dict[int, str] = {}
        self.refused: dict[int, BaseException] = {}
        self.threads: list[threading.Thread] = []
        self.renamed = threading.Semaphore(0)
        rename = self.commit.rename

        def told(writer: InstanceWriter) -> str:
            name = rename(writer)
            self.renamed.release()
            return name

        self.commit.rename = told  # type: ignore[method-assign]

    def start(self, number: int) -> None:
        def keep() -> None:
            writer = InstanceWriter(f"unit-{number}", self.commit)
            writer.write([b"content"])
            try:
                self.names[number] = writer.commit()
            except BaseException as error:  # noqa: BLE001 - the test asks for it
                self.refused[number] = error

        thread = threading.Thread(target=keep)
        self.threads.append(thread)
        thread.start()
        assert self.renamed.acquire(timeout=10)

    def join(self) -> None:
        for thread in self.threads:
            thread.join(10)


def test_instance_that_comes_during_a_sync_waits_for_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, writers = Syncs(monkeypatch), Writers(tmp_path)
    writers.start(0)
    assert disk.begun.acquire(timeout=10)
    for number in (1, 2, 3):
        writers.start(number)
    disk.go.release()
    assert disk.begun.acquire(timeout=10)
    assert set(writers.names) <= {0}
    disk.go.release()
    disk.go.release()
    writers.join()
    assert set(writers.names) == {0, 1, 2, 3}
    for name in writers.names.values():
        assert any(name in seen for seen in disk.seen)
    assert 2 <= len(disk.seen) <= 3
    assert len(disk.seen[0]) == 1


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), MemoryError()])
@pytest.mark.filterwarnings("ignore")
def test_everyone_who_shared_a_failed_sync_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    disk, writers = Syncs(monkeypatch), Writers(tmp_path)
    disk.error = error
    for number in range(3):
        writers.start(number)
    for _ in range(3):
        disk.go.release()
    writers.join()
    assert writers.names == {}
    assert set(writers.refused) == {0, 1, 2}
    assert any(isinstance(e, StorageError) for e in writers.refused.values()) or isinstance(error, MemoryError)
    disk.error = None
    writers.start(3)
    disk.go.release()
    writers.join()
    assert set(writers.names) == {3}


def test_file_that_cannot_be_synced_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = commit_for(Durability.GROUP, tmp_path)
    first, second = InstanceWriter("a", commit), InstanceWriter("b", commit)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", lambda _descriptor: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
        with pytest.raises(StorageError):
            first.commit()
    assert [second.commit()] == [path.name for path in tmp_path.iterdir()]
