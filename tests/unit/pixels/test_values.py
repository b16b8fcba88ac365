from __future__ import annotations

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, RLELossless

from dicom_node.errors import PixelError, VolumeError
from dicom_node.inference import frame_set_from_instances, to_hounsfield, volume_from_instances
from dicom_node.inference.pixels.frame_header import FrameHeader
from dicom_node.inference.pixels.image_format import image_format
from dicom_node.inference.pixels.values import stored_values, value_transform
from tests.unit.pixels.series import PYDICOM_DATA, Block, image, single_frames

SMALL = Block(shape=(2, 2, 3))


def meant(pixels: np.ndarray, **elements: object) -> np.ndarray:
    """The values of one instance."""
    ds = image(pixels, **elements)
    found = image_format(ds)
    out = np.empty(pixels.shape, np.float32)
    value_transform(FrameHeader(ds), found).apply(stored_values(pixels, found), out)
    return out


@given(
    arrays(st.sampled_from([np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32]), (3, 4)),
    st.floats(1e-3, 1e3).flatmap(lambda v: st.sampled_from([v, -v])),
    st.floats(-1e4, 1e4),
)
@settings(max_examples=60)
def test_rescale_is_slope_times_stored_plus_intercept(stored: np.ndarray, slope: float, intercept: float) -> None:
    exact = stored.astype(np.float64) * slope + intercept
    largest = np.abs(stored.astype(np.float64) * slope).max() + abs(intercept)
    values = to_hounsfield(stored, rescale_slope=slope, rescale_intercept=intercept)
    assert values.dtype == np.float32
    assert np.abs(values - exact).max() <= 3e-7 * largest


@given(st.integers(2, 16), st.integers(0, 16), st.booleans(), arrays(np.uint16, (3, 4)))
@settings(max_examples=80)
def test_bits_outside_the_stored_ones_never_count(stored_bits: int, above: int, signed: bool, garbage: np.ndarray) -> None:
    high = min(15, stored_bits - 1 + above)
    low = high + 1 - stored_bits
    truth = (np.arange(12).reshape(3, 4) * 977) % 2**stored_bits
    mask = ((1 << stored_bits) - 1) << low
    pixels = (garbage.astype(np.int64) & ~mask) | (truth << low)
    pixels = pixels.astype(np.uint16).view(np.int16 if signed else np.uint16)
    expected = np.where(truth >= 2 ** (stored_bits - 1), truth - 2**stored_bits, truth) if signed else truth
    assert np.array_equal(meant(pixels, BitsStored=stored_bits, HighBit=high), expected)


def test_overlay_planes_in_the_upper_bits_are_cut_off() -> None:
    pixels = np.array([[0x0FFF, 0x8001], [0x1002, 0xF003]], np.uint16)
    assert meant(pixels, BitsStored=12, HighBit=11).tolist() == [[4095, 1], [2, 3]]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_values_in_the_upper_bits_are_found_there(syntax: pydicom.uid.UID) -> None:
    """As old devices store 12 bits: with High Bit 15."""
    truth = np.arange(1024, dtype=np.uint16).reshape(32, 32) * 4 + 3
    ds = image((truth << 4) | 9, BitsStored=12, HighBit=15)
    if syntax.is_encapsulated:
        ds.compress(syntax, generate_instance_uid=False)
    assert np.array_equal(frame_set_from_instances([ds])[0].frames[0].values, truth)


def test_values_of_32_bits_keep_their_last_digit_until_the_intercept_brings_them_down() -> None:
    stored = np.array([[2**31 + 5, 2**31 - 7]], np.uint32)
    assert to_hounsfield(stored, rescale_slope=1, rescale_intercept=-(2**31)).tolist() == [[5, -7]]


def test_slope_and_intercept_count_slice_by_slice() -> None:
    slices = single_frames(SMALL)
    slices[0].RescaleSlope, slices[0].RescaleIntercept = 0.5, 10
    slices[1].RescaleSlope, slices[1].RescaleIntercept = 2, -3
    values = volume_from_instances(slices)[0].values
    assert np.array_equal(values[0], SMALL.stored()[0] * 0.5 + 10)
    assert np.array_equal(values[1], SMALL.stored()[1] * 2.0 - 3)


def test_slices_of_different_rescale_types_are_refused() -> None:
    slices = single_frames(SMALL)
    slices[1].RescaleType = "US"
    with pytest.raises(VolumeError, match="differ in Rescale Type: HU, US"):
        volume_from_instances(slices)


@pytest.mark.parametrize(("slope", "words"), [(0, "Rescale Slope is zero")])
def test_impossible_slope_is_refused_with_its_instance(slope: float, words: str) -> None:
    slices = single_frames(SMALL, RescaleSlope=slope)
    with pytest.raises(PixelError, match=f"instance 1 .*{words}"):
        volume_from_instances(slices)


def lut(first: int, entries: list[int], bits: int = 16, data: bytes | None = None) -> list[Dataset]:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    item.ModalityLUTType = "US"
    item.add_new("LUTData", "US" if data is None else "OW", entries if data is None else data)
    return [item]


def test_modality_lut_replaces_rescale_and_holds_at_its_ends() -> None:
    pixels = np.array([[-5, -2, 0], [1, 2, 30000]], np.int16)
    values = meant(pixels, ModalityLUTSequence=lut(-2, [100, 200, 300, 65000]), RescaleSlope=7, RescaleIntercept=7)
    assert values.tolist() == [[100, 100, 300], [65000, 65000, 65000]]


def test_modality_lut_as_words_is_read_in_the_encoding_of_its_instance() -> None:
    pixels = np.array([[0, 1]], np.uint16)
    big = image(pixels, ModalityLUTSequence=lut(0, [258, 3], data=b"\x01\x02\x00\x03"))
    big.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    out = np.empty((1, 2), np.float32)
    value_transform(FrameHeader(big), image_format(big)).apply(pixels, out)
    assert out.tolist() == [[258, 3]]


def test_modality_lut_with_too_few_entries_is_refused() -> None:
    item = lut(0, [1, 2, 3])
    item[0].LUTDescriptor = [5, 0, 16]
    with pytest.raises(PixelError, match="has 3 entries, its descriptor says 5"):
        meant(np.zeros((1, 1), np.uint16), ModalityLUTSequence=item)


def test_real_modality_lut_gives_what_pydicom_gives() -> None:
    ds = pydicom.dcmread(PYDICOM_DATA / "mlut_18.dcm")
    pixels = ds.pixel_array
    out = np.empty(pixels.shape, np.float32)
    value_transform(FrameHeader(ds), image_format(ds)).apply(pixels, out)
    assert np.array_equal(out, apply_modality_lut(pixels, ds))


def test_real_world_value_map_is_not_applied() -> None:
    mapping = Dataset()
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = 100.0, 5.0
    assert meant(np.array([[3]], np.int16), RealWorldValueMappingSequence=[mapping]).tolist() == [[3]]


@pytest.mark.parametrize(("modality", "value"), [("CT", -1024.0), ("MR", 0.0)])
def test_padding_becomes_the_declared_value(modality: str, value: float) -> None:
    slices = single_frames(SMALL, Modality=modality, PixelPaddingValue=-2000)
    pixels = SMALL.stored()[0].copy()
    pixels[0] = -2000
    slices[0].PixelData = pixels.tobytes()
    values = volume_from_instances(slices)[0].values
    assert (values[0, 0] == value).all()
    assert np.array_equal(values[0, 1], pixels[1] - 1024.0)


def test_padding_range_covers_all_between_its_ends_in_either_order() -> None:
    pixels = np.array([[10, 20, 30, 31]], np.uint16)
    for ends in ((20, 30), (30, 20)):
        ds = image(pixels, PixelPaddingValue=ends[0], PixelPaddingRangeLimit=ends[1])
        out = np.empty(pixels.shape, np.float32)
        where = value_transform(FrameHeader(ds), image_format(ds)).apply(pixels, out)
        assert where is not None
        assert where.tolist() == [[False, True, True, False]]


def test_padding_written_in_the_wrong_signedness_means_the_same_bits() -> None:
    pixels = np.array([[-2000, 5]], np.int16)
    ds = image(pixels)
    ds.add_new("PixelPaddingValue", "US", 63536)
    where = value_transform(FrameHeader(ds), image_format(ds)).apply(pixels, np.empty((1, 2), np.float32))
    assert where is not None
    assert where.tolist() == [[True, False]]


@pytest.mark.parametrize(("keyword", "dtype"), [("FloatPixelData", np.float32), ("DoubleFloatPixelData", np.float64)])
def test_float_pixel_data_are_taken_as_they_are(keyword: str, dtype: type) -> None:
    slices = single_frames(SMALL, RescaleIntercept=0)
    for ds, values in zip(slices, SMALL.stored(), strict=True):
        for gone in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
            del ds[gone]
        ds.BitsAllocated = np.dtype(dtype).itemsize * 8
        setattr(ds, keyword, (values * dtype(0.25)).tobytes())
    assert np.array_equal(volume_from_instances(slices)[0].values, SMALL.stored() * np.float32(0.25))
