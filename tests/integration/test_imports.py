"""Import of files, folders, DICOMDIR media and zips; hostile zips; the `import` command."""

from __future__ import annotations

import json
import os
import shutil
import stat
import struct
import subprocess
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from dicom_node.domain.durability import Durability
from dicom_node.domain.instances import AssociationPeer
from dicom_node.pipeline.imports import Importer, Outcome, Result
from dicom_node.pipeline.imports.importer import find
from dicom_node.pipeline.imports.media import listed_files
from dicom_node.scp.door import Door, DoorSettings
from dicom_node.storage import InstanceFiles
from dicom_node.storage.archives import ArchiveLimits
from tests.arrivals import PROGRAM, PYDICOM_FILES, REFUSED_PYDICOM_FILES, data_set_of, write_config
from tests.phantoms import chest_series, write

MEDIUM = PYDICOM_FILES / "dicomdirtests"
ORIGIN = AssociationPeer("IMPORT", "AINODE", "localhost")


def run(files: InstanceFiles, *paths: Path, min_free: int = 0, limits: ArchiveLimits | None = None) -> list[Result]:
    door = Door(files, DoorSettings("import-1", Durability.NONE, min_free))
    return list(Importer(lambda kind: door.begin(ORIGIN, kind), limits=limits).files(find(paths)))


def kept(files: InstanceFiles) -> list[bytes]:
    assert not list(files.incoming.glob(".*.partial"))
    return sorted(data_set_of(p.read_bytes()) for p in files.pending())


def counts(results: list[Result]) -> dict[Outcome, int]:
    return dict(Counter(r.outcome for r in results))


@pytest.fixture
def slices(tmp_path: Path) -> list[Path]:
    return write(chest_series()[:4], tmp_path / "slices")


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_folder_is_imported_with_all_below_it_and_other_files_are_skipped(files: InstanceFiles, slices: list[Path]) -> None:
    folder = slices[0].parent
    (folder / "deep" / "er").mkdir(parents=True)
    slices[3].rename(folder / "deep" / "er" / "IM1")
    (folder / "notes.txt").write_text("no image")
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to(slices[0])
    results = run(files, folder)
    assert counts(results) == {Outcome.STORED: 4, Outcome.SKIPPED: 3}
    assert kept(files) == sorted(data_set_of(p.read_bytes()) for p in [*slices[:3], folder / "deep" / "er" / "IM1"])


def test_what_an_operator_names_must_be_dicom(files: InstanceFiles, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    results = run(files, tmp_path / "notes.txt", tmp_path / "nothing", Path("/dev/null"))
    assert [(r.outcome, r.reason) for r in results] == [
        (Outcome.FAILED, "no DICOM file: preamble and DICM prefix are missing"),
        (Outcome.FAILED, "cannot be read: No such file or directory"),
        (Outcome.FAILED, "no regular file"),
    ]


def test_files_that_pydicom_ships_are_kept_byte_for_byte_or_refused(files: InstanceFiles) -> None:
    results = run(files, *(p for p in PYDICOM_FILES.iterdir() if p.is_file()))
    by_outcome = {o: {r.source.name for r in results if r.outcome is o} for o in Outcome}
    refused = REFUSED_PYDICOM_FILES[0xC000] | REFUSED_PYDICOM_FILES[0xA900]
    assert by_outcome[Outcome.FAILED] == {p.name for p in PYDICOM_FILES.iterdir()} & refused
    assert kept(files) == sorted(data_set_of((PYDICOM_FILES / name).read_bytes()) for name in by_outcome[Outcome.STORED])


@pytest.mark.parametrize(("directory", "listed"), [("DICOMDIR", 31), ("DICOMDIR-bigEnd", 31), ("DICOMDIR-reordered", 31)])
def test_a_dicomdir_imports_what_it_lists(files: InstanceFiles, tmp_path: Path, directory: str, listed: int) -> None:
    medium = tmp_path / "medium"
    shutil.copytree(MEDIUM, medium, copy_function=shutil.copyfile)
    chosen = medium / directory if directory == "DICOMDIR" else (medium / directory).rename(medium / "dicomdir")
    results = run(files, chosen)
    assert counts(results) == {Outcome.STORED: listed, Outcome.SKIPPED: 1}
    assert len(kept(files)) == listed


def test_files_that_a_dicomdir_lists_and_nobody_finds_are_named(files: InstanceFiles, tmp_path: Path) -> None:
    medium = tmp_path / "medium"
    shutil.copytree(MEDIUM, medium, copy_function=shutil.copyfile)
    gone = listed_files(medium / "DICOMDIR")[0]
    assert gone.path is not None
    gone.path.unlink()
    for paths in ([medium / "DICOMDIR"], [medium]):
        missing = [r for r in run(files, *paths) if r.outcome is Outcome.FAILED and r.source.name == "DICOMDIR"]
        assert [(r.member, r.reason) for r in missing] == [(gone.file_id, "listed in DICOMDIR, but missing")]


def test_a_dicomdir_cannot_lead_out_of_its_folder(tmp_path: Path, slices: list[Path]) -> None:
    medium = tmp_path / "medium"
    medium.mkdir()
    content = (MEDIUM / "DICOMDIR").read_bytes()
    for old, new in ((rb"77654033\CR1\6154", rb"..\slices\000.dcm"), (rb"77654033\CR2\6247", rb"/etc\..\passwd   ")):
        assert old in content
        content = content.replace(old, new)
    (medium / "DICOMDIR").write_bytes(content)
    (medium / "77654033").mkdir()
    (medium / "77654033" / "CR3").symlink_to(slices[0].parent)
    by_id = {item.file_id: item for item in listed_files(medium / "DICOMDIR")}
    assert all(item.path is None for item in by_id.values())
    assert by_id["../slices/000.dcm"].reason == "listed in DICOMDIR under a name that is none"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_of_a_zip_are_kept_byte_for_byte(files: InstanceFiles, tmp_path: Path, slices: list[Path], method: int) -> None:
    members = {f"a/b/{p.name}": p.read_bytes() for p in slices} | {"DICOMDIR": (MEDIUM / "DICOMDIR").read_bytes(), "viewer.exe": b"MZ"}
    results = run(files, zipped(tmp_path / "study.zip", members, method))
    assert counts(results) == {Outcome.STORED: 4, Outcome.SKIPPED: 2}
    assert kept(files) == sorted(data_set_of(p.read_bytes()) for p in slices)


def test_hostile_members_are_refused_and_the_others_kept(files: InstanceFiles, tmp_path: Path, slices: list[Path]) -> None:
    good = slices[0].read_bytes()
    names = ["../../evil.dcm", "/etc/cron.d/evil", "..\\evil.dcm", "C:/evil.dcm", "ok.dcm"]
    path = zipped(tmp_path / "evil.zip", dict.fromkeys(names, good))
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("link.dcm")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("inner.zip", path.read_bytes())
        archive.writestr(zipfile.ZipInfo("packed.dcm"), good, zipfile.ZIP_BZIP2)
    results = {r.member: (r.outcome, r.reason) for r in run(files, path)}
    assert results.pop("ok.dcm") == (Outcome.STORED, "")
    assert results.pop("inner.zip") == (Outcome.SKIPPED, "archive within an archive")
    assert {outcome for outcome, _ in results.values()} == {Outcome.FAILED}
    assert results["../../evil.dcm"][1] == "name leads out of the archive"
    assert len(kept(files)) == 1
    assert not list(tmp_path.rglob("evil.dcm"))


def test_bombs_are_refused_before_they_go_off(files: InstanceFiles, tmp_path: Path, slices: list[Path]) -> None:
    good = slices[0].read_bytes()
    bomb = zipped(tmp_path / "bomb.zip", {"a.dcm": good, "b.dcm": good + bytes(8 << 20), "c.dcm": good})
    results = run(files, bomb, limits=ArchiveLimits(ratio=10, always_bytes=1 << 20))
    assert [r.outcome for r in results] == [Outcome.STORED, Outcome.FAILED]
    assert "unpacks to more than 10 times" in results[-1].reason
    assert len(kept(files)) == 1
    many = zipped(tmp_path / "many.zip", {f"{n}": b"x" for n in range(50)})
    assert "50 members" in run(files, many, limits=ArchiveLimits(members=49))[0].reason
    assert "directory has" in run(files, many, limits=ArchiveLimits(directory_bytes=1000))[0].reason


def test_damaged_zips_are_named_and_keep_nothing_of_a_damaged_member(files: InstanceFiles, tmp_path: Path, slices: list[Path]) -> None:
    path = zipped(tmp_path / "damaged.zip", {p.name: p.read_bytes() for p in slices}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[content.find(slices[0].read_bytes()) + 5000] ^= 1
    path.write_bytes(content)
    assert counts(run(files, path)) == {Outcome.FAILED: 1, Outcome.STORED: 3}
    path.write_bytes(content[:-200])
    assert [r.outcome for r in run(files, path)] == [Outcome.FAILED]
    content[-6:-2] = struct.pack("<I", 2**32 - 1)
    path.write_bytes(content)
    assert [r.outcome for r in run(files, path)][-1] is Outcome.FAILED
    assert len(kept(files)) == 3


def test_a_full_disk_is_said_to_pass(files: InstanceFiles, slices: list[Path]) -> None:
    (result,) = run(files, slices[0], min_free=1 << 60)
    assert (result.outcome, result.reason, result.retryable) == (Outcome.FAILED, "free space below watermark", True)


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(PROGRAM), "import", *map(str, arguments)], capture_output=True, text=True, check=False)


def test_the_command_counts_names_failures_and_exits_1(tmp_path: Path, slices: list[Path]) -> None:
    config = write_config(tmp_path / "node")
    store = InstanceFiles(tmp_path / "node" / "data")
    (slices[0].parent / "notes.txt").write_text("no image")
    dry = command(slices[0].parent, "--config", config, "--dry-run")
    assert (dry.returncode, dry.stdout.splitlines()[-1]) == (0, "4 would be stored, 1 skipped, 0 failed"), dry.stderr
    assert not store.data_dir.exists()
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(slices[0].read_bytes()[:400])
    done = command(slices[0].parent, broken, "--config", config, "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 1
    assert {k: answer[k] for k in ("stored", "skipped", "failed")} == {"stored": 4, "skipped": 1, "failed": 1}
    assert [f["name"] for f in answer["files"] if f["outcome"] == "failed"] == [str(broken)]
    assert kept(store) == sorted(data_set_of(p.read_bytes()) for p in slices)
    again = command(broken, "--config", config)
    assert again.stdout.splitlines()[-1] == "0 stored, 0 skipped, 1 failed"
    assert f"{broken}:" in again.stderr
