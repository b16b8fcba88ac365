"""A volume is the same whatever form its slices came in."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from highdicom.legacy import LegacyConvertedEnhancedCTImage
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from dicom_node.domain.volume import Volume
from dicom_node.errors import VolumeError
from dicom_node.inference import GeometryPolicy, images_from_instances, read_instances, volume_from_instances
from tests.unit.pixels.series import (
    AXIAL,
    CORONAL,
    FLIPPED,
    OBLIQUE,
    PYDICOM_DATA,
    SAGITTAL,
    Block,
    enhanced,
    image,
    single_frames,
)

ORIENTATIONS = {"axial": AXIAL, "sagittal": SAGITTAL, "coronal": CORONAL, "oblique": OBLIQUE, "flipped": FLIPPED}


def assert_same(volume: Volume, block: Block) -> None:
    assert np.array_equal(volume.values, block.stored() - 1024.0)
    assert np.allclose(volume.affine_lps_mm, block.affine, atol=1e-9)


@pytest.mark.parametrize("name", ORIENTATIONS)
@pytest.mark.parametrize("arrival", ["in order", "reversed", "shuffled"])
def test_single_frames_and_multi_frame_give_the_same_volume(name: str, arrival: str) -> None:
    block = Block(ORIENTATIONS[name])
    slices = single_frames(block)
    order = list(range(len(slices)))
    if arrival == "reversed":
        order.reverse()
    elif arrival == "shuffled":
        Random(3).shuffle(order)
    single, ordered = volume_from_instances([slices[i] for i in order])
    multi_source = enhanced(slices, order)
    multi, instances = volume_from_instances([multi_source])
    assert_same(single, block)
    assert_same(multi, block)
    assert ordered == slices
    assert single.source_frame_numbers == ()
    assert instances == [multi_source]
    assert multi.source_frame_numbers == tuple(order.index(i) + 1 for i in range(len(slices)))
    assert set(multi.source_sop_instance_uids) == {multi_source.SOPInstanceUID}
    assert multi.frame_of_reference_uid == single.frame_of_reference_uid


def test_every_voxel_lies_where_its_source_says() -> None:
    block = Block(OBLIQUE)
    slices = single_frames(block)
    volume, _ = volume_from_instances(slices[::-1])
    k, i, j = 4, 3, 7
    ds = slices[k]
    x, y = np.array(ds.ImageOrientationPatient[:3], float), np.array(ds.ImageOrientationPatient[3:], float)
    place = np.array(ds.ImagePositionPatient, float) + x * j * ds.PixelSpacing[1] + y * i * ds.PixelSpacing[0]
    assert np.allclose(volume.affine_lps_mm @ [k, i, j, 1], [*place, 1], atol=1e-6)
    assert volume.values[k, i, j] == block.stored()[k, i, j] - 1024


unit = st.floats(-1, 1)


@given(st.tuples(unit, unit, unit, unit).filter(lambda q: sum(v * v for v in q) > 0.05), st.tuples(*[st.floats(-500, 500)] * 3), st.data())
@settings(max_examples=25)
def test_any_orientation_spacing_and_origin_comes_back(
    q: tuple[float, ...], origin: tuple[float, float, float], data: st.DataObject
) -> None:
    w, x, y, z = np.array(q) / np.linalg.norm(q)
    row = (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y))
    column = (2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x))
    spacing = data.draw(st.tuples(st.floats(0.3, 8), st.floats(0.2, 3), st.floats(0.2, 3)))
    block = Block((row, column), origin, spacing, (4, 2, 3))
    slices = single_frames(block)
    for ds in slices:
        ds.ImagePositionPatient = [round(float(v), 6) for v in ds.ImagePositionPatient]
        ds.ImageOrientationPatient = [round(float(v), 9) for v in ds.ImageOrientationPatient]
        ds.PixelSpacing = [round(float(v), 9) for v in ds.PixelSpacing]
    for source in (slices, [enhanced(slices)]):
        volume, _ = volume_from_instances(source)
        assert np.array_equal(volume.values, block.stored() - 1024.0)
        assert np.allclose(volume.affine_lps_mm, block.affine, atol=1e-5)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_legacy_converted_object_gives_the_volume_of_its_sources() -> None:
    block = Block(OBLIQUE)
    extra = dict.fromkeys(("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"), "")
    extra |= {"AccessionNumber": "", "ReferringPhysicianName": "", "Manufacturer": "x", "SeriesNumber": 1, "PixelPaddingValue": -2000}
    slices = single_frames(block, **extra)
    for ds in slices:
        ds.ImagePositionPatient = [round(float(v), 6) for v in ds.ImagePositionPatient]
        pixels = np.frombuffer(ds.PixelData, np.int16).copy()
        pixels[:3] = -2000
        ds.PixelData = pixels.tobytes()
    converted = LegacyConvertedEnhancedCTImage(slices[::-1], generate_uid(), 2, generate_uid(), 1)
    single, _ = volume_from_instances(slices)
    multi, _ = volume_from_instances([converted])
    assert (single.values[:, 0, :3] == -1024).all()
    assert np.array_equal(multi.values, single.values)
    assert np.allclose(multi.affine_lps_mm, single.affine_lps_mm)


def test_real_enhanced_ct_is_ordered_by_position_and_not_by_frame() -> None:
    (ds,) = read_instances([PYDICOM_DATA / "eCT_Supplemental.dcm"])
    volume, _ = volume_from_instances([ds])
    assert volume.spacing_mm == pytest.approx((10.0, 0.388672, 0.388672))
    positions = [g.PlanePositionSequence[0].ImagePositionPatient for g in ds.PerFrameFunctionalGroupsSequence]
    frames = [n - 1 for n in volume.source_frame_numbers]
    assert sorted(frames) == [0, 1]
    for index, frame in enumerate(frames):
        assert np.allclose((volume.affine_lps_mm @ [index, 0, 0, 1])[:3], [float(v) for v in positions[frame]], atol=1e-6)
        assert np.array_equal(volume.values[index], ds.pixel_array[frame] - 1024.0)


def test_real_enhanced_mr_without_functional_groups_is_refused_with_its_frame() -> None:
    (ds,) = read_instances([PYDICOM_DATA / "emri_small.dcm"])
    with pytest.raises(VolumeError, match=r"frame 1 gives no Image Orientation \(Patient\)"):
        volume_from_instances([ds])


def test_concatenated_parts_are_one_volume() -> None:
    slices = single_frames(Block())
    parts = [enhanced(slices[3:]), enhanced(slices[:3])]
    volume, instances = volume_from_instances(parts)
    assert_same(volume, Block())
    assert volume.source_frame_numbers == (1, 2, 3, 1, 2, 3)
    assert instances == [parts[1], parts[0]]


def repeated(change: Callable[[Dataset, int], None]) -> Dataset:
    """Every slice twice, the second time changed."""
    slices = single_frames(Block())
    ds = enhanced([*slices, *slices])
    for number, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
        change(group, number // len(slices))
    return ds


def set_time(group: Dataset, number: int) -> None:
    group.FrameContentSequence[0].TemporalPositionIndex = number + 1


def set_b_value(group: Dataset, number: int) -> None:
    item = Dataset()
    item.DiffusionBValue = [0.0, 1000.0][number]
    group.MRDiffusionSequence = [item]


def set_stack(group: Dataset, number: int) -> None:
    group.FrameContentSequence[0].StackID = "AB"[number]


AMBIGUOUS = {
    "temporal position": (set_time, r"differ in Temporal Position Index \(1, 2\)", {"TemporalPositionIndex": "2"}),
    "b-value": (set_b_value, r"differ in Diffusion b-value \(0, 1000\)", {"DiffusionBValue": "1000"}),
    "stack": (set_stack, r"2 stacks \(Stack ID A, B\)", {"StackID": "B"}),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_ambiguous_dimension_is_named_unless_one_of_it_is_declared(name: str) -> None:
    change, words, only = AMBIGUOUS[name]
    source = repeated(change)
    with pytest.raises(VolumeError, match=words):
        volume_from_instances([source])
    read = images_from_instances("volume", [source], GeometryPolicy(only=only))
    assert isinstance(read.images, Volume)
    assert_same(read.images, Block())
    assert read.images.source_frame_numbers == (7, 8, 9, 10, 11, 12)
    assert len(read.warnings) == 1
    assert read.warnings[0].startswith("6 of 12 frames are used: those with")


def test_declared_value_that_no_frame_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(VolumeError, match="no frame has Temporal Position Index 7; there are 1, 2"):
        volume_from_instances([repeated(set_time)], GeometryPolicy(only={"TemporalPositionIndex": "7"}))


def test_single_frames_of_several_echoes_are_refused_by_the_echo() -> None:
    slices = [ds for echo in (1, 2) for ds in single_frames(Block(), EchoNumbers=echo, FrameOfReferenceUID="1.2.3")]
    with pytest.raises(VolumeError, match=r"up to 2 frames lie at one position .* Echo Number\(s\) \(1, 2\)"):
        volume_from_instances(slices)
    volume, ordered = volume_from_instances(slices, GeometryPolicy(only={"EchoNumbers": "2"}))
    assert ordered == slices[6:]
    assert_same(volume, Block())


def test_colour_is_no_volume() -> None:
    with pytest.raises(VolumeError, match="RGB: a volume is made of gray values"):
        volume_from_instances([image(np.zeros((2, 2, 3), np.uint8))] * 2)
