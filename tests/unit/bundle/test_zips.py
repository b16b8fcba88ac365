from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path
from unittest.mock import patch

import pytest

from dicom_node.config.loader import find_models
from dicom_node.errors import ModelError
from dicom_node.inference.bundle import BundleFaults, find_bundles, load_bundle
from dicom_node.inference.bundle.zips import unpacked_bundle
from dicom_node.storage.archives import ArchiveLimits
from tests.unit.bundle.manifests import bundle


def packed(folder: Path, path: Path, top: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"{top}{file.relative_to(folder)}")
    return path


@pytest.mark.parametrize("top", ["", "two-organs-1.2.0/"])
def test_zip_is_the_same_model_as_its_folder(tmp_path: Path, top: str) -> None:
    folder = bundle(tmp_path / "folder")
    (folder / "cases").mkdir()
    (folder / "cases" / "a.npz").write_bytes(b"1")
    path = packed(folder, tmp_path / "models" / "two-organs.zip", top)
    found = find_bundles(tmp_path / "models", tmp_path / "cache")
    assert (found["two-organs"].digest, found["two-organs"].origin) == (load_bundle(folder).digest, path)
    assert found["two-organs"].network_path.is_relative_to(tmp_path / "cache")
    assert find_models(tmp_path / "models")["two-organs"].path == path


def test_zip_is_unpacked_once_and_anew_when_it_changes(tmp_path: Path) -> None:
    path = packed(bundle(tmp_path / "folder"), tmp_path / "two.zip")
    first = load_bundle(path, tmp_path / "cache")
    with patch("dicom_node.inference.bundle.zips.unpack", side_effect=AssertionError("unpacked again")):
        assert load_bundle(path, tmp_path / "cache") == first
    packed(bundle(tmp_path / "folder", ("version: 1.2.0", "version: 1.3.0")), path)
    second = load_bundle(path, tmp_path / "cache")
    assert second.digest != first.digest
    assert first.network_path.is_file()
    assert not [p for p in (tmp_path / "cache").iterdir() if p.name.startswith(".")]


def test_without_a_cache_zips_are_unpacked_beside_themselves(tmp_path: Path) -> None:
    packed(bundle(tmp_path / "folder"), tmp_path / "models" / "two.zip")
    assert find_bundles(tmp_path / "models")["two-organs"].folder.is_relative_to(tmp_path / "models" / ".unpacked")
    assert list(find_bundles(tmp_path / "models")) == ["two-organs"]


def test_what_no_zip_has_needed_for_a_month_is_removed(tmp_path: Path) -> None:
    path = packed(bundle(tmp_path / "folder"), tmp_path / "two.zip")
    old, fresh = tmp_path / "cache" / "old", tmp_path / "cache" / "fresh"
    for folder in (old, fresh):
        folder.mkdir(parents=True)
    os.utime(old, (1, 1))
    load_bundle(path, tmp_path / "cache")
    assert (old.exists(), fresh.exists()) == (False, True)


def hostile(path: Path, name: str, content: bytes = b"x", mode: int = 0, twice: bool = False) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.yaml", "name: x")
        for one in [name, name.upper()] if twice else [name]:
            info = zipfile.ZipInfo(one)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


@pytest.mark.parametrize(
    ("name", "mode", "words"),
    [
        ("../evil.onnx", 0, "leads out"),
        ("a/../../evil.onnx", 0, "leads out"),
        ("/etc/cron.d/evil", 0, "absolute path"),
        ("..\\evil.onnx", 0, "backslash"),
        ("C:/evil.onnx", 0, "absolute path"),
        ("a\x07b", 0, "control character"),
        ("link", stat.S_IFLNK | 0o777, "no regular file"),
        ("device", stat.S_IFCHR | 0o666, "no regular file"),
    ],
)
def test_hostile_member_is_refused_and_nothing_is_left(tmp_path: Path, name: str, mode: int, words: str) -> None:
    path = hostile(tmp_path / "evil.zip", name, mode=mode)
    with pytest.raises(BundleFaults, match=words) as caught:
        load_bundle(path, tmp_path / "cache")
    assert caught.value.faults[0].file == str(path)
    assert list((tmp_path / "cache").iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "evil.zip"]


def test_names_that_differ_in_capitals_only_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleFaults, match="capitals only"):
        load_bundle(hostile(tmp_path / "evil.zip", "readme", twice=True), tmp_path / "cache")


def test_bombs_are_refused(tmp_path: Path) -> None:
    path = hostile(tmp_path / "bomb.zip", "zeros", bytes(1 << 20))
    with pytest.raises(BundleFaults, match="unpacks to more than"):
        unpacked_bundle(path, tmp_path / "cache", ArchiveLimits(ratio=2, always_bytes=1 << 10))
    with pytest.raises(BundleFaults, match="has 2 members"):
        unpacked_bundle(path, tmp_path / "cache", ArchiveLimits(members=1))


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_zip_or_holds_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.zip").write_bytes(content)
    with pytest.raises(BundleFaults, match="zip"):
        load_bundle(tmp_path / "broken.zip", tmp_path / "cache")
    assert find_models(tmp_path) == {}


def test_zip_with_a_damaged_member_leaves_nothing(tmp_path: Path) -> None:
    path = packed(bundle(tmp_path / "folder"), tmp_path / "two.zip")
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF  # within the first member
    path.write_bytes(bytes(content))
    with pytest.raises(BundleFaults, match="damaged"):
        load_bundle(path, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_faults_of_an_unpacked_manifest_have_their_lines(tmp_path: Path) -> None:
    packed(bundle(tmp_path / "folder", ("stage: research", "stage: none")), tmp_path / "models" / "two.zip")
    with pytest.raises(BundleFaults) as caught:
        find_bundles(tmp_path / "models", tmp_path / "cache")
    wanted = str(tmp_path / "models" / "two.zip" / "model.yaml")
    assert [(f.file, f.line, f.path) for f in caught.value.faults] == [(wanted, 6, "stage")]


def test_folder_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    path = packed(bundle(tmp_path / "folder"), tmp_path / "two.zip")
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ModelError, match="cannot be unpacked into"):
        load_bundle(path, tmp_path / "cache")
