from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from dicom_node.domain.frames import FrameSet
from dicom_node.domain.volume import Volume
from dicom_node.errors import ModelError
from dicom_node.inference.bundle.verification_schema import Case
from dicom_node.inference.gate.case_files import inside, read_mask, read_volume
from dicom_node.inference.gate.case_inputs import CaseInputs
from dicom_node.inference.gate.phantoms import phantom
from dicom_node.inference.gate.subject import subject_of
from dicom_node.inference.model import Inputs
from dicom_node.pipeline.model_engines import read_folder
from tests.phantoms import chest_series, chest_values, write
from tests.unit.gate.bundles import write_bundle

AXIAL = np.array([[0, 0, 2.0, -7], [0, 3.0, 0, -8], [5.0, 0, 0, -9], [0, 0, 0, 1]])
"""Slices of 5 mm upwards, rows of 3 mm to the back, columns of 2 mm to the left."""
VALUES = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def nifti(path: Path, values: np.ndarray, affine_lps_mm: np.ndarray) -> Path:
    """Write as NIfTI does: first axis the columns, coordinates to the right and to the front."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps_mm[:, [2, 1, 0, 3]]
    nibabel.save(nibabel.Nifti1Image(values.transpose(), affine), path)
    return path


@pytest.mark.parametrize("name", ["volume.nii", "volume.nii.gz", "volume.npz"])
def test_a_volume_comes_back_with_its_place_in_the_patient(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith(".npz"):
        np.savez(path, values=VALUES, affine_lps_mm=AXIAL)
    else:
        nifti(path, VALUES, AXIAL)
    volume = read_volume(path)
    assert np.array_equal(volume.values, VALUES)
    assert volume.affine_lps_mm == pytest.approx(AXIAL, abs=1e-5)
    assert len(set(volume.source_sop_instance_uids)) == 2


def test_slices_that_run_against_their_normal_are_read_from_the_other_end(tmp_path: Path) -> None:
    downwards = AXIAL.copy()
    downwards[2, 0], downwards[2, 3] = -5.0, -4.0
    volume = read_volume(nifti(tmp_path / "volume.nii", VALUES[::-1], downwards))
    assert np.array_equal(volume.values, VALUES)
    assert volume.affine_lps_mm == pytest.approx(AXIAL, abs=1e-5)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"values": VALUES}, "KeyError"),
        ({"values": VALUES[0], "affine_lps_mm": AXIAL}, "values have 2 axes"),
        ({"values": VALUES, "affine_lps_mm": np.zeros((4, 4))}, "an invertible 4x4 is|an invertible 4x4 are"),
        ({"values": np.array([{}]), "affine_lps_mm": AXIAL}, "ValueError"),
    ],
)
def test_what_is_no_volume_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    np.savez(tmp_path / "volume.npz", **arrays)
    with pytest.raises(ModelError, match=said):
        read_volume(tmp_path / "volume.npz")


@pytest.mark.parametrize("name", ["volume.nii", "volume.npz", "volume.nii.gz"])
def test_a_file_that_is_damaged_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\0" * 400)
    with pytest.raises(ModelError, match="no volume can be read"):
        read_volume(tmp_path / name)


def test_masks_lie_where_the_images_lie(tmp_path: Path) -> None:
    images = Volume(VALUES, AXIAL, "", ("1", "2"))
    truth = VALUES > 7
    nifti(tmp_path / "here.nii", truth.astype(np.uint8), AXIAL)
    moved = AXIAL + np.eye(4)[:, [3]] * 0 + np.pad(np.ones((3, 1)), ((0, 1), (3, 0)))
    nifti(tmp_path / "moved.nii", truth.astype(np.uint8), moved)
    np.savez(tmp_path / "mask.npz", mask=truth)
    assert np.array_equal(read_mask(tmp_path / "here.nii", images), truth)
    assert np.array_equal(read_mask(tmp_path / "mask.npz", images), truth)
    with pytest.raises(ModelError, match="lies in another place"):
        read_mask(tmp_path / "moved.nii", images)


def test_files_lie_in_the_bundle(tmp_path: Path) -> None:
    (tmp_path / "outside.npz").touch()
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "link.npz").symlink_to(tmp_path / "outside.npz")
    for name in ("../outside.npz", "link.npz", "/etc/hostname"):
        with pytest.raises(ModelError, match="leads out of the bundle"):
            inside(tmp_path / "bundle", name)
    with pytest.raises(ModelError, match="is missing"):
        inside(tmp_path / "bundle", "absent.npz")


def loaded(folder: Path, recipe: dict[str, object], **slot: object) -> Inputs:
    subject = subject_of(write_bundle(folder, inputs=[{"name": "images", "kind": "volume", **slot}]))
    case = Case.model_validate({"name": "c", "inputs": {"images": recipe}, "expect": {"warning": "x"}})
    return CaseInputs(read_folder).load(subject, case)


RAMP = {"generator": "gradient", "parameters": {"size": [3, 4, 5], "high": 300}, "attributes": {"Modality": "MR", "ImageType": ["A", "B"]}}


def test_a_recipe_gives_a_volume_with_the_header_that_it_names(tmp_path: Path) -> None:
    images = loaded(tmp_path, RAMP)["images"]
    assert np.array_equal(images.images.values, phantom("gradient", RAMP["parameters"]).volume().values)
    assert images.attributes == {"Modality": ("MR",), "ImageType": ("A", "B")}


@pytest.mark.parametrize("color", ["gray", "rgb"])
def test_an_input_of_frames_gets_each_slice_as_a_frame(tmp_path: Path, color: str) -> None:
    images = loaded(tmp_path, RAMP, kind="frames", color=color)["images"].images
    values = phantom("gradient", RAMP["parameters"]).volume().values
    assert isinstance(images, FrameSet)
    assert [(f.frame_number, f.pixel_spacing_mm) for f in images.frames] == [(1, (5.0, 5.0))] * 3
    assert len({f.sop_instance_uid for f in images.frames}) == 3
    if color == "gray":
        assert np.array_equal(images.frames[1].values, values[1])
    else:
        assert (images.frames[2].values.dtype, images.frames[2].values.shape) == (np.uint8, (4, 5, 3))
        assert images.frames[2].values.max() == 255


def test_a_folder_of_dicom_files_is_read_as_the_node_reads_what_it_receives(tmp_path: Path) -> None:
    write(chest_series(), tmp_path / "series" / "deeper")
    images = loaded(tmp_path, {"file": "series", "attributes": {"Modality": "MR"}})["images"]
    assert np.array_equal(images.images.values, chest_values())
    assert (images.attributes["Modality"], images.attributes["BodyPartExamined"]) == (("MR",), ("CHEST",))


def test_a_series_that_is_no_volume_is_said_with_its_folder(tmp_path: Path) -> None:
    write(chest_series()[:1], tmp_path / "series")
    with pytest.raises(ModelError, match="series: a case's images cannot be read"):
        loaded(tmp_path, {"file": "series"})


def test_a_case_that_leaves_an_input_out_is_refused(tmp_path: Path) -> None:
    slots = [{"name": "images", "kind": "volume"}, {"name": "prior", "kind": "volume", "optional": True}]
    subject = subject_of(write_bundle(tmp_path, inputs=slots))
    both = Case.model_validate({"name": "c", "inputs": {"prior": RAMP, "images": RAMP}, "expect": {"warning": "x"}})
    assert list(CaseInputs(read_folder).load(subject, both)) == ["images", "prior"]
    alone = both.model_copy(update={"inputs": {"prior": both.inputs["prior"]}})
    with pytest.raises(ModelError, match="inputs are prior, the model has images, prior"):
        CaseInputs(read_folder).load(subject, alone)
