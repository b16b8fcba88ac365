from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.config.loader import find_models
from dicom_node.errors import ModelError
from dicom_node.inference.bundle import BundleFaults, find_bundles, load_bundle
from dicom_node.inference.bundle.files import bundle_files, digest_of, file_problem, name_problem
from tests.unit.bundle.manifests import SEGMENTATION, bundle, faults

RECIPE = """\
schema: 1
package: {name: some-package, version: 1.0.0, wheel: some_package-1.0.0-py3-none-any.whl, sha256: SHA, licence: MIT, authors: Somebody}
networks: [{file: network.onnx, member: data/network.onnx, sha256: SHA}]
""".replace("SHA", "ab" * 32)
PARTS = st.one_of(st.sampled_from(["..", ".", "", "a", "b.onnx", "C:", "~", "...", "a..b"]), st.text("ab./\\: \0", max_size=4))


@given(parts=st.lists(PARTS, min_size=1, max_size=5), rooted=st.booleans())
def test_no_name_that_passes_leads_out_of_the_bundle(parts: list[str], rooted: bool) -> None:
    name = ("/" if rooted else "") + "/".join(parts)
    if name_problem(name):
        return
    folder = PurePosixPath("/srv/models/one")
    path = PurePosixPath(os.path.normpath(folder / name))
    assert path == folder or folder in path.parents
    assert "\\" not in name
    assert not name.startswith("/")


@pytest.mark.parametrize("name", ["network.onnx", "a/b/c.onnx", "./a", "a..b", "...", "cases/ct 1/"])
def test_ordinary_names_pass(name: str) -> None:
    assert name_problem(name) == ""


@pytest.mark.parametrize("name", ["", " ", "/a", "..", "a/../b", "../a", "a\\b", "c:/a", "C:a", "a\0", "a\nb"])
def test_unsafe_names_are_refused(name: str) -> None:
    assert name_problem(name)


def test_links_may_stay_inside_and_not_lead_out(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "one", ("file: network.onnx", "file: current.onnx"))
    (tmp_path / "outside.onnx").write_bytes(b"x")
    (folder / "current.onnx").symlink_to("network.onnx")
    assert faults(folder) == []
    (folder / "current.onnx").unlink()
    (folder / "current.onnx").symlink_to("../outside.onnx")
    assert {fault.path for fault in faults(folder)} == {"network.file", ""}
    assert all("leads out" in fault.message for fault in faults(folder))


def test_link_to_a_folder_outside_and_a_loop_of_links_are_refused(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "one")
    (folder / "data").symlink_to(tmp_path)
    (folder / "loop").symlink_to("loop")
    assert sorted(fault.message.split()[0] for fault in faults(folder)) == ["'data'", "'loop'"]


def test_bundle_that_is_itself_a_link_is_read(tmp_path: Path) -> None:
    bundle(tmp_path / "store" / "v1")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "current").symlink_to(tmp_path / "store" / "v1")
    assert list(find_bundles(tmp_path / "models")) == ["two-organs"]


def test_digest_covers_every_name_and_content(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "one")
    (folder / "cases").mkdir()
    (folder / "cases" / "a.npz").write_bytes(b"1")
    digests = {digest_of(folder)}
    (folder / "cases" / "a.npz").write_bytes(b"2")
    digests.add(digest_of(folder))
    (folder / "cases" / "a.npz").rename(folder / "cases" / "b.npz")
    digests.add(digest_of(folder))
    (folder / "cases" / "b.npz").unlink()
    digests.add(digest_of(folder))
    assert len(digests) == 4
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert digest_of(tmp_path / "elsewhere") in digests
    assert [p.name for p in bundle_files(folder)] == ["model.yaml", "network.onnx"]


def test_file_problem_tells_folder_from_file(tmp_path: Path) -> None:
    (tmp_path / "cases").mkdir()
    assert "is a folder" in file_problem(tmp_path, "cases")
    assert file_problem(tmp_path, "cases", directory=True) == ""
    assert "no file" in file_problem(tmp_path, "missing", directory=True)


def test_faults_of_all_bundles_are_said_at_once_and_names_must_differ(tmp_path: Path) -> None:
    bundle(tmp_path / "a")
    bundle(tmp_path / "b", ("stage: research", "stage: none"))
    bundle(tmp_path / "c")
    with pytest.raises(BundleFaults) as caught:
        find_bundles(tmp_path)
    assert [(Path(f.file).parent.name, f.line, f.path) for f in caught.value.faults] == [("b", 6, "stage"), ("c", 2, "name")]
    assert f"is used by {tmp_path / 'a'} too" in caught.value.faults[1].message


def test_hidden_folders_are_left_alone(tmp_path: Path) -> None:
    bundle(tmp_path / "a")
    bundle(tmp_path / ".b.adding", ("stage: research", "stage: none"))
    assert list(find_bundles(tmp_path)) == ["two-organs"]
    assert list(find_models(tmp_path)) == ["two-organs"]


def test_bundle_whose_networks_are_to_be_fetched_is_left_out_and_known_to_be(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "a")
    (folder / "network.onnx").unlink()
    with pytest.raises(BundleFaults, match="no file"):
        find_bundles(tmp_path)
    (folder / "weights.yaml").write_text(RECIPE)
    assert find_bundles(tmp_path) == {}
    assert find_models(tmp_path)["two-organs"].lacks_networks
    with pytest.raises(BundleFaults, match="models add two-organs"):
        load_bundle(folder)
    (folder / "model.yaml").write_text(SEGMENTATION.replace("segment: liver", "segment: kidney"))
    with pytest.raises(BundleFaults, match="kidney"):
        find_bundles(tmp_path)


def test_unreadable_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = bundle(tmp_path / "a")

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("dicom_node.inference.bundle.loading.network_sha256", refuse)
    with pytest.raises(ModelError, match=r"network\.onnx: cannot be read: Permission denied"):
        load_bundle(folder)
