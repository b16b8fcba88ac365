"""Watched folders: what is put there is imported once it is whole, and nothing is lost when the importer is killed."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from dicom_node.config import Afterwards, WatchSection
from dicom_node.domain.durability import Durability
from dicom_node.domain.instances import AssociationPeer
from dicom_node.pipeline.imports import Importer
from dicom_node.pipeline.imports.watched_folder import WatchedFolder
from dicom_node.scp.door import Door, DoorSettings
from dicom_node.storage import InstanceFiles
from tests.acceptance.orthanc import Orthanc
from tests.arrivals import Process, data_set_of, write_config
from tests.phantoms import chest_series, write


class Watch:
    """A watched folder under a clock of the test's own."""

    def __init__(self, files: InstanceFiles, folder: Path, after: str = "delete") -> None:
        folder.mkdir(exist_ok=True)
        self.files, self.folder, self.now, self.min_free = files, folder, 100.0, 0
        section = WatchSection(name="drop", folder=folder, settle="5s", after=Afterwards(after))

        def begin(kind):  # type: ignore[no-untyped-def]
            door = Door(files, DoorSettings("importer-0", Durability.NONE, self.min_free))
            return door.begin(AssociationPeer("IMPORT", "AINODE", "localhost"), kind)

        self.watched = WatchedFolder(section, Importer(begin), files.run / "watched-drop.json")

    def pass_time(self, seconds: float) -> int:
        self.now += seconds
        return self.watched.look(self.now, lambda: True)

    def settle(self) -> int:
        return self.pass_time(0) + self.pass_time(5)

    def names(self) -> list[str]:
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*") if not p.is_dir())

    def kept(self) -> list[bytes]:
        return sorted(data_set_of(p.read_bytes()) for p in self.files.pending())


@pytest.fixture
def slices(tmp_path: Path) -> list[Path]:
    return write(chest_series()[:3], tmp_path / "slices")


def contents(paths: list[Path]) -> list[bytes]:
    return sorted(data_set_of(p.read_bytes()) for p in paths)


def test_a_file_is_imported_once_it_has_not_changed_for_long_enough(files: InstanceFiles, tmp_path: Path, slices: list[Path]) -> None:
    watch, whole = Watch(files, tmp_path / "drop"), slices[0].read_bytes()
    target = watch.folder / "growing.dcm"
    target.write_bytes(whole[:1000])
    assert watch.pass_time(0) == watch.pass_time(4.9) == 0
    target.write_bytes(whole)
    assert watch.pass_time(1) == watch.pass_time(4.9) == 0
    assert watch.pass_time(0.2) == 1
    assert (watch.kept(), watch.names()) == (contents(slices[:1]), [])


def test_a_folder_and_a_zip_are_imported_as_they_are(files: InstanceFiles, tmp_path: Path, slices: list[Path]) -> None:
    watch = Watch(files, tmp_path / "drop")
    shutil.copytree(slices[0].parent, watch.folder / "study" / "deep")
    with zipfile.ZipFile(watch.folder / "study.zip", "w") as archive:
        for path in slices:
            archive.write(path, path.name)
    assert watch.settle() == 2
    assert watch.kept() == sorted(contents(slices) * 2)
    assert list(watch.folder.iterdir()) == []


def test_what_is_refused_lies_aside_with_its_reason_and_the_rest_is_imported(
    files: InstanceFiles, tmp_path: Path, slices: list[Path]
) -> None:
    watch = Watch(files, tmp_path / "drop")
    shutil.copytree(slices[0].parent, watch.folder / "study")
    broken = watch.folder / "study" / "001.dcm"
    broken.write_bytes(broken.read_bytes()[:400])
    (watch.folder / "study" / "notes.txt").write_text("a letter")
    watch.settle()
    assert watch.kept() == contents([slices[0], slices[2]])
    assert watch.names() == [".refused/study.txt", ".refused/study/001.dcm", ".refused/study/notes.txt"]
    reasons = (watch.folder / ".refused" / "study.txt").read_text().splitlines()
    assert [line.partition(": ")[0] for line in reasons] == ["study/001.dcm", "study/notes.txt"]
    assert reasons[1] == "study/notes.txt: no DICOM file: preamble and DICM prefix are missing"
    (watch.folder / "study").write_bytes(b"again, of the same name")
    watch.settle()
    assert ".refused/study.2" in watch.names()


@pytest.mark.parametrize(("after", "prefix"), [("move", ".done/"), ("keep", "")])
def test_imported_files_are_moved_or_kept(files: InstanceFiles, tmp_path: Path, slices: list[Path], after: str, prefix: str) -> None:
    watch = Watch(files, tmp_path / "drop", after)
    (watch.folder / "study").mkdir()
    shutil.copy(slices[0], watch.folder / "study")
    (watch.folder / "study" / "notes.txt").write_text("a letter")
    assert watch.settle() == 1
    assert watch.names() == [f"{prefix}study/000.dcm", f"{prefix}study/notes.txt"]
    assert watch.settle() == 0
    assert Watch(files, watch.folder, after).settle() == 0  # a new process knows what was kept
    assert watch.kept() == contents(slices[:1])


def test_a_full_disk_leaves_the_file_and_it_is_tried_again(files: InstanceFiles, tmp_path: Path, slices: list[Path]) -> None:
    watch = Watch(files, tmp_path / "drop")
    shutil.copy(slices[0], watch.folder)
    watch.min_free = 1 << 60
    watch.settle()
    assert watch.names() == ["000.dcm"]
    watch.min_free = 0
    assert watch.pass_time(1) == 0
    assert watch.pass_time(30) == 1
    assert (watch.kept(), watch.names()) == (contents(slices[:1]), [])


def test_a_file_that_comes_while_its_folder_is_imported_stays(files: InstanceFiles, tmp_path: Path, slices: list[Path]) -> None:
    watch = Watch(files, tmp_path / "drop")
    (watch.folder / "study").mkdir()
    shutil.copy(slices[0], watch.folder / "study")
    watch.pass_time(0)
    watch.now += 5
    late = iter([lambda: shutil.copy(slices[1], watch.folder / "study")])
    watch.watched.look(watch.now, lambda: bool([step() for step in late]) or True)
    assert "study/001.dcm" in watch.names()
    watch.settle()
    assert set(watch.kept()) == set(contents(slices[:2]))


def test_hidden_files_and_links_are_left_alone_or_set_aside(files: InstanceFiles, tmp_path: Path, slices: list[Path]) -> None:
    watch = Watch(files, tmp_path / "drop")
    shutil.copy(slices[0], watch.folder / ".uploading")
    (watch.folder / "link.dcm").symlink_to(slices[0])
    watch.settle()
    assert watch.names() == [".refused/link.dcm", ".refused/link.dcm.txt", ".uploading"]
    assert slices[0].exists()
    assert watch.kept() == []


@pytest.fixture
def importer(tmp_path: Path) -> tuple[Path, Path]:
    drop = tmp_path / "drop"
    drop.mkdir()
    watch = {"name": "drop", "folder": str(drop), "settle": "100ms", "after": "delete"}
    return write_config(tmp_path / "node", watch=[watch]), drop


def test_a_killed_importer_loses_nothing(importer: tuple[Path, Path], tmp_path: Path) -> None:
    config, drop = importer
    sent = write([ds for _ in range(4) for ds in chest_series()], tmp_path / "sent")
    (tmp_path / "sent").rename(tmp_path / "moved")
    sent = [tmp_path / "moved" / p.name for p in sent]
    expected = set(contents(sent))
    (tmp_path / "moved").rename(drop / "study")
    for _ in range(2):
        process = Process(config, "watch")
        had = len(process.incoming())
        Orthanc.wait_until(lambda p=process, h=had: len(p.incoming()) > h + 20 or not (drop / "study").exists(), 30, every_s=0.002)
        process.close()
    begun = process.log().count("importer_watching")
    process = Process(config, "watch")
    try:
        process.wait_for("importer_watching", begun + 1)
        Orthanc.wait_until(lambda: not (drop / "study").exists(), 30)
        assert process.stop() == 0
        assert {data_set_of(p.read_bytes()) for p in process.incoming()} == expected
        assert process.partials() == []
        assert list(drop.iterdir()) == []
    finally:
        process.close()
