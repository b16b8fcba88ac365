"""What is no regular volume is refused with figures, or resampled where that is declared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_node.domain.volume import Volume
from dicom_node.errors import VolumeError
from dicom_node.inference import GeometryPolicy, ReadImages, images_from_instances, volume_from_instances
from tests.unit.pixels.series import OBLIQUE, Block, single_frames

RESAMPLE = GeometryPolicy(uneven="resample", tilted="resample")


def read(slices: Sequence[Dataset], policy: GeometryPolicy = RESAMPLE) -> tuple[Volume, ReadImages]:
    found = images_from_instances("volume", slices, policy)
    assert isinstance(found.images, Volume)
    return found.images, found


def moved(slices: list[Dataset], offsets_mm: Sequence[np.ndarray]) -> list[Dataset]:
    for ds, offset in zip(slices, offsets_mm, strict=True):
        ds.ImagePositionPatient = [float(v) for v in np.array(ds.ImagePositionPatient, float) + offset]
    return slices


def ramp(slices: list[Dataset], gradient: np.ndarray) -> list[Dataset]:
    """Fill the slices with a value that grows linearly in the patient, so that linear resampling gives it back exactly."""
    for ds in slices:
        x, y = np.array(ds.ImageOrientationPatient[:3], float), np.array(ds.ImageOrientationPatient[3:], float)
        i, j = np.mgrid[: ds.Rows, : ds.Columns]
        places = np.array(ds.ImagePositionPatient, float) + i[..., None] * y * ds.PixelSpacing[0] + j[..., None] * x * ds.PixelSpacing[1]
        ds.RescaleSlope, ds.RescaleIntercept = 0.001, 0
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 32, 32, 31
        ds.PixelData = np.rint(places @ gradient * 1000).astype(np.int32).tobytes()
    return slices


def assert_ramp(volume: Volume, gradient: np.ndarray, outside: float, slack: float = 2e-3) -> int:
    """Check every voxel inside against the ramp at its place; return how many were inside."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in volume.values.shape), indexing="ij"), axis=-1)
    places = index @ volume.affine_lps_mm[:3, :3].T + volume.affine_lps_mm[:3, 3]
    error = np.abs(volume.values - places @ gradient)
    inside = np.abs(volume.values - outside) > 500
    assert error[inside].max() < slack
    return int(inside.sum())


GRADIENT = np.array([3.0, -2.0, 5.0])


@pytest.mark.parametrize("missing", [1, 3])
def test_missing_slice_is_refused_with_the_figures(missing: int) -> None:
    slices = single_frames(Block())
    del slices[missing]
    with pytest.raises(
        VolumeError, match=rf"2.500 to 5.000 mm, usually 2.500 mm; 1 of 4 distances differ, the first after instance {missing} "
    ) as error:
        volume_from_instances(slices)
    assert "1 slice seems to be missing" in str(error.value)
    assert "uneven: resample" in error.value.hint


def test_missing_slice_is_filled_where_declared_and_it_is_said() -> None:
    block = Block(OBLIQUE)
    slices = single_frames(block)
    del slices[2]
    volume, found = read(slices)
    expected = block.stored() - 1024.0
    expected[2] = (expected[1] + expected[3]) / 2
    assert np.allclose(volume.values, expected)
    assert np.allclose(volume.affine_lps_mm, block.affine)
    assert volume.source_sop_instance_uids[:2] == tuple(d.SOPInstanceUID for d in slices[:2])
    assert len(volume.source_sop_instance_uids) == 6
    assert found.instances == slices
    (sentence,) = found.warnings
    assert sentence.startswith("slices are not evenly spaced")
    assert "resampled linearly from 5 to 6 slices 2.500 mm apart" in sentence


def test_regular_series_is_not_touched_by_a_policy_that_would_resample() -> None:
    volume, found = read(single_frames(Block()))
    assert np.array_equal(volume.values, Block().stored() - 1024.0)
    assert found.warnings == ()


@given(st.lists(st.floats(0.7, 1.9), min_size=5, max_size=9))
@settings(max_examples=25)
def test_uneven_slices_are_resampled_to_what_lies_there(steps: list[float]) -> None:
    block = Block(OBLIQUE, spacing_mm=(1.0, 0.75, 0.5), shape=(len(steps) + 1, 4, 5))
    along = np.concatenate([[0], np.cumsum(steps)])
    slices = ramp(moved(single_frames(block), [block.normal * (a - k) for k, a in enumerate(along)]), GRADIENT)
    volume, _ = read(slices)
    assert np.allclose(np.linalg.norm(volume.affine_lps_mm[:3, 0]) * (len(volume.values) - 1), along[-1])
    assert assert_ramp(volume, GRADIENT, outside=-1e6) == volume.values.size
    assert len(volume.source_sop_instance_uids) == len(volume.values)


def test_gap_of_several_slices_is_not_filled_even_where_resampling_is_declared() -> None:
    slices = single_frames(Block(shape=(12, 2, 2)))
    del slices[4:8]
    with pytest.raises(VolumeError, match=r"a gap of 12.50 mm is more than 3 times the usual distance"):
        read(slices)


@pytest.mark.parametrize("degrees", [-20.0, 3.0, 20.0])
@pytest.mark.parametrize("policy", [GeometryPolicy(), GeometryPolicy(uneven="resample")])
def test_gantry_tilt_is_refused_with_its_angle(degrees: float, policy: GeometryPolicy) -> None:
    block = Block()
    shift = np.array(block.directions[1]) * np.tan(np.radians(degrees)) * block.spacing_mm[0]
    with pytest.raises(VolumeError, match=rf"tilted gantry\): .* mm over 12.5 mm, {abs(degrees):.1f} degrees"):
        volume_from_instances(moved(single_frames(block), [shift * k for k in range(6)]), policy)


@pytest.mark.parametrize("degrees", [-25.0, 10.0, 25.0])
@pytest.mark.parametrize("uneven", [False, True])
def test_tilted_series_is_straightened_to_what_lies_there(degrees: float, uneven: bool) -> None:
    block = Block(OBLIQUE, origin_lps_mm=(400.0, -300.0, 500.0))
    direction = np.array(block.directions[1]) + 0.3 * np.array(block.directions[0])
    shift = direction * np.tan(np.radians(degrees)) * block.spacing_mm[0]
    slices = moved(single_frames(block), [shift * k for k in range(6)])
    if uneven:
        del slices[2]
    slices = ramp(slices, GRADIENT)
    volume, found = read(slices)
    assert abs(volume.affine_lps_mm[:3, 0] @ volume.affine_lps_mm[:3, 1]) < 1e-9
    assert abs(volume.affine_lps_mm[:3, 0] @ volume.affine_lps_mm[:3, 2]) < 1e-9
    assert len(volume.values) == 6
    assert len(found.warnings) == 1 + uneven
    assert "resampled within their planes" in found.warnings[-1]
    inner = assert_ramp_inside(volume, slices)
    assert inner > 0.6 * block.stored().size


def assert_ramp_inside(volume: Volume, slices: Sequence[Dataset]) -> int:
    """Check the voxels that lie wholly within the sources against the ramp."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in volume.values.shape), indexing="ij"), axis=-1)
    places = index @ volume.affine_lps_mm[:3, :3].T + volume.affine_lps_mm[:3, 3]
    truth = places @ GRADIENT
    x, y = (np.array(slices[0].ImageOrientationPatient[k : k + 3], float) for k in (0, 3))
    first, last = (np.array(slices[n].ImagePositionPatient, float) for n in (0, -1))
    share = np.linspace(0, 1, len(volume.values))[:, None, None, None]
    from_corner = places - (first + share * (last - first))
    i, j = from_corner @ y / slices[0].PixelSpacing[0], from_corner @ x / slices[0].PixelSpacing[1]
    inside = (i >= 1) & (i <= slices[0].Rows - 2) & (j >= 1) & (j <= slices[0].Columns - 2)
    assert np.abs(volume.values - truth)[inside].max() < 5e-3
    return int(((i >= 0) & (i <= slices[0].Rows - 1) & (j >= 0) & (j <= slices[0].Columns - 1)).sum())


def test_slice_beside_the_others_is_refused_by_its_number() -> None:
    offsets = [np.zeros(3)] * 6
    offsets[3] = np.array([2.0, 0, 0])
    with pytest.raises(VolumeError, match=r"instance 4 .* lies 2.00 mm beside the line of the others"):
        volume_from_instances(moved(single_frames(Block()), offsets))


def test_two_images_at_one_position_are_refused_with_both_names() -> None:
    slices = single_frames(Block())
    slices[3].ImagePositionPatient = slices[4].ImagePositionPatient
    with pytest.raises(VolumeError, match=r"same position: instance 4 .* and instance 5 .*, 0.0000 mm apart"):
        read(slices)


DIFFERENT = {
    "Rows x Columns": ({"Columns": 9}, r"8 x 10 \(5 slices\), 8 x 9 \(1 slices\)"),
    "Image Orientation": ({"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}, r"1\\0\\0\\0\\1\\0 \(5 slices\), 0\\1"),
    "Pixel Spacing": ({"PixelSpacing": [0.75, 0.6]}, r"0.75 x 0.5 mm \(5 slices\), 0.75 x 0.6 mm \(1 slices\)"),
    "frames of reference": ({"FrameOfReferenceUID": "1.2.3"}, "2 frames of reference"),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_slices_that_differ_are_refused_with_how_many(name: str) -> None:
    change, words = DIFFERENT[name]
    slices = single_frames(Block())
    for keyword, value in change.items():
        setattr(slices[2], keyword, value)
    with pytest.raises(VolumeError, match=words) as error:
        read(slices)
    assert name in str(error.value)


IMPOSSIBLE = {
    "no position": ({"ImagePositionPatient": None}, r"instance 1 .* gives no Image Position \(Patient\)"),
    "two coordinates": ({"ImagePositionPatient": [1, 2]}, "has 2 values, 3 finite ones are needed"),
    "skew axes": ({"ImageOrientationPatient": [1, 0, 0, 0.5, 0.8, 0]}, "off by 0.500 from two unit vectors"),
    "zero spacing": ({"PixelSpacing": [0, 1]}, "Pixel Spacing is 0, 1 mm"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_place_is_refused(name: str) -> None:
    change, words = IMPOSSIBLE[name]
    with pytest.raises(VolumeError, match=words):
        read(single_frames(Block(), **change))


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_slices_are_no_volume(count: int) -> None:
    with pytest.raises(VolumeError, match=f"at least 2 slices, the series has {count}"):
        read(single_frames(Block())[:count])
