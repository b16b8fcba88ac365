from __future__ import annotations

import math

import numpy as np
import pytest

from dicom_node.errors import ModelError
from dicom_node.inference.gate.phantoms import GENERATORS, phantom
from dicom_node.inference.models.lungs import segment_lungs

ORIENTATIONS = ("axial", "coronal", "sagittal")


def values_at_places(name: str, orientation: str) -> dict[tuple[float, ...], float]:
    """Value by patient coordinates."""
    bodies = [{"center_mm": [8, 4, -4], "radii_mm": [9, 14, 20], "value": 7}]
    parameters = {"ellipsoids": {"bodies": bodies}, "water-disc": {"diameter_mm": 20}, "lung-phantom": {"spacing_mm": [20, 20, 20]}}.get(
        name, {}
    )
    volume = phantom(name, {"size": [8, 8, 8], "orientation": orientation, **parameters}).volume()
    index = np.indices(volume.values.shape).reshape(3, -1)
    places = (volume.affine_lps_mm @ np.vstack([index, np.ones(index.shape[1])]))[:3].T
    return {tuple(np.round(place, 3) + 0.0): float(value) for place, value in zip(places, volume.values.reshape(-1), strict=True)}


@pytest.mark.parametrize("name", [n for n in GENERATORS if n != "noise"])
def test_a_place_in_the_patient_has_one_value_however_the_slices_lie(name: str) -> None:
    axial, coronal, sagittal = (values_at_places(name, orientation) for orientation in ORIENTATIONS)
    assert axial == coronal == sagittal
    assert len(set(axial.values())) > 1


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_slices_run_along_the_normal_of_rows_and_columns(orientation: str) -> None:
    affine = phantom("gradient", {"orientation": orientation}).volume().affine_lps_mm
    along_slices, along_rows, along_columns = affine[:3, 0], affine[:3, 1], affine[:3, 2]
    assert np.cross(along_columns, along_rows) @ along_slices > 0
    assert affine[:3, :3] @ ((np.array([32, 64, 64]) - 1) / 2) + affine[:3, 3] == pytest.approx([0, 0, 0])


def test_no_flip_and_no_swap_leaves_a_gradient_as_it_is() -> None:
    values = phantom("gradient", {"size": [6, 6, 6]}).volume().values
    assert (values.min(), values.max()) == (0.0, pytest.approx(1.0))
    for changed in (np.flip(values, 0), np.flip(values, 1), np.flip(values, 2), values.transpose(1, 0, 2), values.transpose(0, 2, 1)):
        assert np.abs(values - changed).max() > 0.1


def test_water_has_the_diameter_asked_for() -> None:
    volume = phantom("water-disc", {"size": [2, 256, 256], "spacing_mm": [5, 1, 1], "diameter_mm": 200}).volume()
    area_mm2 = np.count_nonzero(volume.values[0] == 0.0)
    assert 2 * math.sqrt(area_mm2 / math.pi) == pytest.approx(200, abs=0.1)


def test_lungs_have_the_volume_that_is_documented() -> None:
    volume = phantom("lung-phantom", {}).volume()
    whole_ml = np.count_nonzero(np.isin(volume.values, (-850.0, -970.0))) * volume.voxel_ml
    assert whole_ml == pytest.approx(1958 + 1272, rel=0.01)
    assert np.count_nonzero(volume.values == -970.0) * volume.voxel_ml == pytest.approx(63, rel=0.05)


def test_the_densitometry_model_finds_lungs_and_emphysema_of_the_phantom() -> None:
    volume = phantom("lung-phantom", {}).volume()
    lungs = segment_lungs(volume)
    truth = np.isin(volume.values, (-850.0, -970.0))
    assert 2 * np.count_nonzero(lungs & truth) / (np.count_nonzero(lungs) + np.count_nonzero(truth)) > 0.97
    assert np.count_nonzero(lungs & (volume.values == -970.0)) * volume.voxel_ml == pytest.approx(63, rel=0.05)


def test_noise_is_that_of_its_seed() -> None:
    first, again, other = (phantom("noise", {"size": [20, 20, 20], "mean": 5, "noise_sigma": 2, "seed": s}).volume() for s in (1, 1, 2))
    assert np.array_equal(first.values, again.values)
    assert not np.array_equal(first.values, other.values)
    assert (first.values.mean(), first.values.std()) == (pytest.approx(5, abs=0.1), pytest.approx(2, abs=0.1))
    assert first.source_sop_instance_uids == again.source_sop_instance_uids != other.source_sop_instance_uids
    assert len(set(first.source_sop_instance_uids)) == 20


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("lung-fantom", {}, "unknown; known: gradient, noise"),
        ("gradient", {"lo": 1}, "lo: Extra inputs are not permitted"),
        ("gradient", {"size": [0, 1, 1]}, "size.0: Input should be greater than or equal to 1"),
        ("gradient", {"spacing_mm": [1, 0, 1]}, "spacing_mm.1: Input should be greater than 0"),
        ("water-disc", {"diameter_mm": math.inf}, "diameter_mm: Input should be a finite number"),
        ("ellipsoids", {}, "bodies: Field required"),
    ],
)
def test_a_recipe_that_cannot_be_made_is_refused(name: str, parameters: dict[str, object], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        phantom(name, parameters)
