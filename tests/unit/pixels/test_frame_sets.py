"""Frames are as they are meant to be seen: bright is bright, colours are RGB, spacing is that of the patient."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, convert_color_space
from pydicom.uid import ExplicitVRBigEndian

from dicom_node.domain.frames import Frame, FrameSet
from dicom_node.errors import PixelError, VolumeError
from dicom_node.inference import frame_set_from_instances, images_from_instances, read_instances
from tests.unit.pixels.series import PYDICOM, PYDICOM_DATA, image


def frame(ds: Dataset) -> Frame:
    return frame_set_from_instances([ds])[0].frames[0]


GRAY = np.array([[0, 1000], [2000, 4095]], np.uint16)


def test_frames_stand_by_instance_number_then_uid_then_frame() -> None:
    uids = ["1.2.9", "1.2.3", "1.2.4", "1.2.5"]
    numbers = [3, 1, 1, None]
    found = [
        image(np.full((2, 2, 2), index, np.uint16), NumberOfFrames=2, SOPInstanceUID=uid, InstanceNumber=number or "")
        for index, (uid, number) in enumerate(zip(uids, numbers, strict=True))
    ]
    found[3].InstanceNumber = None
    read = images_from_instances("frames", found)
    assert isinstance(read.images, FrameSet)
    assert [(f.sop_instance_uid, f.frame_number) for f in read.images.frames] == [
        (uid, n) for uid in ("1.2.3", "1.2.4", "1.2.9", "1.2.5") for n in (1, 2)
    ]
    assert read.instances == [found[1], found[2], found[0], found[3]]
    assert [int(f.values[0, 0]) for f in read.images.frames] == [1, 1, 2, 2, 0, 0, 3, 3]


def test_sizes_and_colours_may_differ_within_a_series() -> None:
    frames, _ = frame_set_from_instances([image(GRAY), image(np.zeros((3, 5, 3), np.uint8), InstanceNumber=2)])
    assert [(f.values.shape, f.values.dtype) for f in frames.frames] == [((2, 2), np.float32), ((3, 5, 3), np.uint8)]
    assert not any(f.values.flags.writeable for f in frames.frames)


def test_no_images_are_refused() -> None:
    with pytest.raises(VolumeError, match="no images"):
        frame_set_from_instances([])


@pytest.mark.parametrize(("function", "center"), [("LINEAR", 4095 - 1000 + 1), ("LINEAR_EXACT", 4095 - 1000)])
def test_monochrome1_is_turned_with_its_window(function: str, center: float) -> None:
    elements = {"BitsStored": 12, "HighBit": 11, "WindowCenter": [1000, 7], "WindowWidth": [500, 7], "VOILUTFunction": function}
    turned = frame(image(GRAY, PhotometricInterpretation="MONOCHROME1", **elements))
    assert np.array_equal(turned.values, 4095.0 - GRAY)
    assert turned.window == (center, 500)
    as_is = frame(image(GRAY, **elements))
    assert np.array_equal(as_is.values, GRAY)
    assert as_is.window == (1000, 500)


def shown(values: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """PS3.3 C.11.2.1.2.1, from 0 to 1."""
    return np.clip((values - (window[0] - 0.5)) / (window[1] - 1) + 0.5, 0, 1)


def test_turned_image_in_its_turned_window_is_the_inverted_picture() -> None:
    elements = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 1500, "WindowWidth": 3000, "RescaleSlope": 2, "RescaleIntercept": -100}
    one, two = frame(image(GRAY, PhotometricInterpretation="MONOCHROME1", **elements)), frame(image(GRAY, **elements))
    assert one.window is not None
    assert two.window is not None
    assert np.allclose(shown(one.values, one.window), 1 - shown(two.values, two.window), atol=1e-6)


def test_signed_monochrome1_is_turned_within_its_own_range() -> None:
    pixels = np.array([[-2048, 2047]], np.int16)
    values = frame(image(pixels, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)).values
    assert values.tolist() == [[2047, -2048]]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_as_dark_as_the_darkest_of_the_rest(photometric: str) -> None:
    elements = {"PhotometricInterpretation": photometric, "BitsStored": 12, "HighBit": 11, "PixelPaddingValue": 0}
    values = frame(image(GRAY, **elements)).values
    assert values[0, 0] == (0 if photometric == "MONOCHROME1" else 1000)
    assert values.argmax() == (1 if photometric == "MONOCHROME1" else 3)


def test_real_radiograph_is_turned() -> None:
    (ds,) = read_instances([PYDICOM_DATA / "RG3_UNCI.dcm"])
    assert ds.PhotometricInterpretation == "MONOCHROME1"
    assert np.array_equal(frame(ds).values, 2**ds.BitsStored - 1 - ds.pixel_array.astype(np.float32))


def test_windows_stand_per_frame() -> None:
    ds = image(np.zeros((2, 2, 2), np.uint16), NumberOfFrames=2, WindowCenter=1, WindowWidth=2)
    groups = []
    for center in (40, 50):
        window, group = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = center, 100
        group.FrameVOILUTSequence = [window]
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = groups
    frames, _ = frame_set_from_instances([ds])
    assert [f.window for f in frames.frames] == [(40, 100), (50, 100)]


def test_what_stands_per_frame_counts_more_than_what_is_shared_and_that_more_than_the_instance() -> None:
    def with_slope(value: float) -> Dataset:
        group, transformation = Dataset(), Dataset()
        transformation.RescaleSlope, transformation.RescaleIntercept = value, 0
        group.PixelValueTransformationSequence = [transformation]
        return group

    ds = image(np.ones((2, 2, 2), np.uint16), NumberOfFrames=2, RescaleSlope=7, RescaleIntercept=0)
    assert [f.values[0, 0] for f in frame_set_from_instances([ds])[0].frames] == [7, 7]
    ds.SharedFunctionalGroupsSequence = [with_slope(3)]
    ds.PerFrameFunctionalGroupsSequence = [with_slope(5), Dataset()]
    assert [f.values[0, 0] for f in frame_set_from_instances([ds])[0].frames] == [5, 3]


def region(delta_cm: float, units: int = 3, spatial_format: int = 1) -> Dataset:
    ds = Dataset()
    ds.RegionSpatialFormat, ds.PhysicalUnitsXDirection, ds.PhysicalUnitsYDirection = spatial_format, units, units
    ds.PhysicalDeltaX, ds.PhysicalDeltaY = delta_cm, -2 * delta_cm
    return ds


SPACINGS = {
    "pixel spacing first": ({"PixelSpacing": [0.3, 0.2], "ImagerPixelSpacing": [0.4, 0.4]}, (0.3, 0.2)),
    "imager spacing": ({"ImagerPixelSpacing": [0.4, 0.3]}, (0.4, 0.3)),
    "at the object": ({"ImagerPixelSpacing": [0.4, 0.3], "EstimatedRadiographicMagnificationFactor": 1.25}, (0.32, 0.24)),
    "ultrasound region": ({"SequenceOfUltrasoundRegions": [region(0.01)]}, (0.2, 0.1)),
    "regions agree": ({"SequenceOfUltrasoundRegions": [region(0.01), region(0.01)]}, (0.2, 0.1)),
    "regions differ": ({"SequenceOfUltrasoundRegions": [region(0.01), region(0.02)]}, None),
    "a spectrum beside": ({"SequenceOfUltrasoundRegions": [region(0.01), region(0.5, units=4, spatial_format=3)]}, (0.2, 0.1)),
    "a region without its delta": ({"SequenceOfUltrasoundRegions": [region(0)]}, None),
    "nothing": ({}, None),
    "zero": ({"PixelSpacing": [0, 0]}, None),
}


@pytest.mark.parametrize("name", SPACINGS)
def test_spacing_is_that_of_the_best_element(name: str) -> None:
    elements, expected = SPACINGS[name]
    found = frame(image(GRAY, **elements)).pixel_spacing_mm
    assert found == (None if expected is None else pytest.approx(expected))


RGB = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)


def test_both_planar_configurations_give_the_same_colours() -> None:
    by_plane = image(RGB, PlanarConfiguration=1, PixelData=RGB.transpose(2, 0, 1).tobytes())
    assert np.array_equal(frame(image(RGB)).values, RGB)
    assert np.array_equal(frame(by_plane).values, RGB)


def test_missing_planar_configuration_is_refused_not_guessed() -> None:
    with pytest.raises(PixelError, match="has no Planar Configuration"):
        frame(image(RGB, PlanarConfiguration=None))


def test_full_range_ybr_becomes_rgb() -> None:
    ybr = convert_color_space(RGB, "RGB", "YBR_FULL")
    assert np.abs(frame(image(ybr, PhotometricInterpretation="YBR_FULL")).values.astype(int) - RGB).max() <= 2


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_PARTIAL_422"])
def test_half_chroma_becomes_rgb(photometric: str) -> None:
    """One colour for each two pixels; the partial range goes from 16 to 235 and 240."""
    r, g, b = 200.0, 120.0, 40.0
    y = np.array([0.299 * r + 0.587 * g + 0.114 * b])
    cb, cr = (b - y) / 1.772 + 128, (r - y) / 1.402 + 128
    if photometric == "YBR_PARTIAL_422":
        y, cb, cr = 16 + y * 219 / 255, 128 + (cb - 128) * 224 / 255, 128 + (cr - 128) * 224 / 255
    group = [round(float(v[0])) for v in (y, y, cb, cr)]
    ds = image(RGB, PhotometricInterpretation=photometric, PixelData=bytes(group * 12))
    assert np.abs(frame(ds).values.astype(int) - [200, 120, 40]).max() <= 2


def test_real_half_chroma_file_is_what_pydicom_shows() -> None:
    (ds,) = read_instances([PYDICOM / "SC_ybr_full_422_uncompressed.dcm"])
    assert np.array_equal(frame(ds).values, pydicom.dcmread(PYDICOM / "SC_ybr_full_422_uncompressed.dcm").pixel_array)


def test_deep_colours_keep_their_upper_eight_bits() -> None:
    deep = (RGB.astype(np.uint16) << 4) + 7
    assert np.array_equal(frame(image(deep, BitsStored=12, HighBit=11)).values, RGB)


@pytest.mark.parametrize("photometric", ["CMYK", "HSV", "", "MONOCHROME2"])
def test_colours_without_a_rule_are_refused(photometric: str) -> None:
    with pytest.raises(PixelError, match=r"not supported|3 samples"):
        frame(image(RGB, PhotometricInterpretation=photometric))


def palette(pixels: np.ndarray, entries: np.ndarray, first: int, bits: int, data: list[bytes]) -> Dataset:
    ds = image(pixels, PhotometricInterpretation="PALETTE COLOR")
    for channel, stored in zip(("Red", "Green", "Blue"), data, strict=True):
        ds.add_new(f"{channel}PaletteColorLookupTableDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
        setattr(ds, f"{channel}PaletteColorLookupTableData", stored)
    return ds


@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (16, np.uint16), (8, np.uint16), (16, np.uint8)])
@pytest.mark.parametrize("count", [5, 300])
def test_palette_is_looked_up_and_holds_at_its_ends(bits: int, dtype: type, count: int) -> None:
    entries = np.random.default_rng(2).integers(0, 256, (count, 3))
    in_words = entries * 257 if bits == 16 and dtype is np.uint16 else entries
    data = [in_words[:, c].astype(dtype).tobytes() for c in range(3)]
    data = [d + b"\0" * (len(d) % 2) for d in data]
    pixels = np.array([[0, 9, 10], [12, 14, 60000]], np.uint16)
    values = frame(palette(pixels, entries, 10, bits, data)).values
    expected = entries[np.clip(pixels.astype(int) - 10, 0, count - 1)]
    assert np.array_equal(values, expected)


@pytest.mark.parametrize("segmented", [False, True])
@pytest.mark.parametrize(("bits", "entry"), [(16, 0x1234), (8, 0x12)])
def test_palette_in_big_endian_words_is_the_same(bits: int, entry: int, segmented: bool) -> None:
    entries = [entry, 0, 3 * entry, 2 * entry]
    data = [0, 4, *entries] if segmented else entries
    little = np.array(data, f"<u{bits // 8}").tobytes()
    ds = palette(np.array([[0, 1], [2, 3]], np.uint8), np.zeros(4), 0, bits, [b""] * 3)
    ds.file_meta.TransferSyntaxUID, ds["PixelData"].VR = ExplicitVRBigEndian, "OB"
    for name in ("Red", "Green", "Blue"):
        del ds[f"{name}PaletteColorLookupTableData"]
        keyword = f"{'Segmented' if segmented else ''}{name}PaletteColorLookupTableData"
        setattr(ds, keyword, np.frombuffer(little, np.uint16).byteswap().tobytes())
    assert frame(ds).values[..., 0].ravel().tolist() == [0x12, 0, 0x36, 0x24]


def test_signed_palette_may_begin_below_zero() -> None:
    entries = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90]])
    data = [entries[:, c].astype(np.uint8).tobytes() + b"\0" for c in range(3)]
    values = frame(palette(np.array([[-5, -1, 0, 1]], np.int16), entries, -1, 8, data)).values
    assert values[0].tolist() == [[10, 20, 30], [10, 20, 30], [40, 50, 60], [70, 80, 90]]


def test_segmented_palette_is_expanded() -> None:
    """Discrete, linear and indirect segments; the indirect one repeats the first two."""
    channel = [0, 2, 0, 4096, 1, 4, 20480, 2, 2, 0, 0]
    words = np.array(channel, np.uint16).tobytes()
    ds = palette(np.arange(12, dtype=np.uint16).reshape(3, 4), np.zeros(12), 0, 16, [b""] * 3)
    for name in ("Red", "Green", "Blue"):
        del ds[f"{name}PaletteColorLookupTableData"]
        setattr(ds, f"Segmented{name}PaletteColorLookupTableData", words)
    expected = [0, 16, 32, 48, 64, 80, 0, 16, 32, 48, 64, 80]
    assert frame(ds).values[..., 0].ravel().tolist() == expected


@pytest.mark.parametrize("name", ["gdcm-US-ALOKA-16.dcm", "OBXXXX1A.dcm"])
def test_real_palettes_look_as_pydicom_shows_them(name: str) -> None:
    ds = pydicom.dcmread(PYDICOM_DATA / name)
    shown_by_pydicom = apply_color_lut(ds.pixel_array, ds)
    expected = shown_by_pydicom >> 8 if shown_by_pydicom.dtype == np.uint16 else shown_by_pydicom
    assert np.array_equal(frame(ds).values, expected)


@pytest.mark.parametrize("keyword", ["GreenPaletteColorLookupTableData", "RedPaletteColorLookupTableDescriptor"])
def test_damaged_palette_is_refused(keyword: str) -> None:
    ds = palette(np.zeros((1, 1), np.uint16), np.zeros(4), 0, 8, [b"abcd"] * 3)
    del ds[keyword]
    with pytest.raises(PixelError, match="the colour palette cannot be read"):
        frame(ds)


def test_supplemental_palette_colours_only_what_lies_above_its_first_entry() -> None:
    ds = palette(np.array([[0, 50, 100], [101, 102, 900]], np.uint16), np.zeros(3), 101, 8, [b"\x0a\x14\x1e\0"] * 3)
    ds.PhotometricInterpretation, ds.PixelPresentation = "MONOCHROME2", "MIXED"
    ds.WindowCenter, ds.WindowWidth = 50.5, 101
    values = frame(ds).values
    assert values[0].tolist() == [[0] * 3, [128] * 3, [255] * 3]
    assert values[1].tolist() == [[10] * 3, [20] * 3, [30] * 3]


def test_real_supplemental_palette_is_shown_in_colour() -> None:
    (ds,) = read_instances([PYDICOM_DATA / "eCT_Supplemental.dcm"])
    values = frame(ds).values
    assert values.shape == (512, 512, 3)
    colored = ds.pixel_array[0] >= ds.RedPaletteColorLookupTableDescriptor[1]
    assert colored.any()
    assert np.ptp(values[colored].astype(int), axis=-1).max() > 50


IMPOSSIBLE = {
    "bits": ({"BitsStored": 17, "HighBit": 16}, "Bits Stored 17 and High Bit 16 in 16 allocated bits"),
    "allocated": ({"BitsAllocated": 12}, "Bits Allocated 12"),
    "rows": ({"Rows": 0}, "0 rows, 2 columns"),
    "missing": ({"BitsStored": None}, "has no Bits Stored"),
    "samples": ({"SamplesPerPixel": 2, "PlanarConfiguration": 0}, "MONOCHROME2 with 2 samples a pixel"),
    "no pixels": ({"PixelData": None}, "has no pixel data"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_header_is_refused_with_what_contradicts(name: str) -> None:
    elements, words = IMPOSSIBLE[name]
    with pytest.raises(PixelError, match=words):
        frame(image(GRAY, **elements))
