"""Each transfer syntax gives the values of the uncompressed images, by its plug-in or, where that is absent or fails, by the next."""

from __future__ import annotations

import base64
import copy
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    MPEG4HP41,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dicom_node.errors import PixelError
from dicom_node.inference import DecodingLimits, frame_set_from_instances, images_from_instances, read_instances, volume_from_instances
from dicom_node.inference.pixels import decoding, plugins
from dicom_node.inference.pixels.plugins import FASTEST_FIRST, plugin_order, register_device_decoders
from tests.unit.pixels.series import PYDICOM, PYDICOM_DATA, Block, enhanced, image, saved, single_frames

HTJ2K_16_X_24 = base64.b64decode(  # made by imagecodecs 2026.3.6 (OpenJPH), reversible, of ramp()
    "/0//UQApQAAAAAAYAAAAEAAAAAAAAAAAAAAAGAAAABAAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQkJCQkJCQiIiI/2QAFwABT3Bl"
    "bkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAALoAAf+TwAAmy/cFB3QAwAATALL8Awd0AMAAEsAAE4DpAgd0ADSn+QCiNADAABWwAAVQYMDQp8/G9gAiAPq2AJhjxvwAEIB3VgDA"
    "ABasAAFcEUd884aUFDHimzekpIFmHCCMgZgAxImJiYmJ4Bj2MYHsuADAAC3YAAW0ggUjiGDBCCJYMIIIFowg1+p4np4np4nCC5ACfgDISCQSiUQikUgk8v8QAhAe/YhAe/YhA"
    "ey/AP/Z"
)


def ramp() -> np.ndarray:
    y, x = np.mgrid[:16, :24]
    return ((x * 37 + y * 101 + (x > 10) * 900) % 4096).astype(np.uint16)


def grays(path: Path) -> list[np.ndarray]:
    return [f.values for f in frame_set_from_instances(read_instances([path]))[0].frames]


REAL = {
    "MR_small_RLE.dcm": "MR_small.dcm",
    "MR_small_jp2klossless.dcm": "MR_small.dcm",
    "MR_small_jpeg_ls_lossless.dcm": "MR_small.dcm",
    "MR_small_bigendian.dcm": "MR_small.dcm",
    "MR_small_implicit.dcm": "MR_small.dcm",
    "emri_small_RLE.dcm": "emri_small.dcm",
    "emri_small_big_endian.dcm": "emri_small.dcm",
    "emri_small_jpeg_2k_lossless.dcm": "emri_small.dcm",
    "emri_small_jpeg_ls_lossless.dcm": "emri_small.dcm",
    "693_J2KR.dcm": "693_UNCR.dcm",
    "US1_J2KR.dcm": "US1_UNCR.dcm",
    "SC_rgb_rle_16bit_2frame.dcm": "SC_rgb_16bit_2frame.dcm",
    "SC_rgb_rle_32bit.dcm": "SC_rgb_32bit.dcm",
    "liver_expb.dcm": "liver.dcm",
    "OBXXXX1A_rle_2frame.dcm": "OBXXXX1A_2frame.dcm",
    "OBXXXX1A_expb_2frame.dcm": "OBXXXX1A_2frame.dcm",
}


def real(name: str) -> Path:
    return next(folder / name for folder in (PYDICOM, PYDICOM_DATA) if (folder / name).exists())


@pytest.mark.parametrize("name", REAL)
def test_lossless_files_give_the_values_of_their_uncompressed_twins(name: str) -> None:
    ours, plain = grays(real(name)), grays(real(REAL[name]))
    assert len(ours) == len(plain)
    assert all(np.array_equal(a, b) for a, b in zip(ours, plain, strict=True))


def with_gdcm(ds: Dataset, folder: Path) -> Dataset:
    (path,) = saved([ds], folder)
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return pydicom.dcmread(path)


def compressed(ds: Dataset, syntax: UID, folder: Path) -> Dataset:
    if syntax == JPEGLosslessSV1:
        return with_gdcm(ds, folder)
    ds = copy.deepcopy(ds)
    ds.compress(syntax, generate_instance_uid=False)
    return ds


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1], ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("dtype", [np.int16, np.uint16])
@pytest.mark.parametrize("multi_frame", [False, True])
def test_compressed_series_is_the_uncompressed_one_bit_by_bit(syntax: UID, dtype: type, multi_frame: bool, tmp_path: Path) -> None:
    block = Block(shape=(4, 36, 40))
    slices = single_frames(block)
    for ds, values in zip(slices, block.stored(), strict=True):
        pixels = (values - 1500).astype(np.int16) if dtype is np.int16 else (values * 5).astype(np.uint16)
        ds.PixelData, ds.PixelRepresentation = pixels.tobytes(), int(dtype is np.int16)
        ds.BitsStored, ds.HighBit = (12, 11) if dtype is np.int16 else (16, 15)
    source = [enhanced(slices)] if multi_frame else slices
    expected, _ = volume_from_instances(source)
    packed = [compressed(ds, syntax, tmp_path / str(n)) for n, ds in enumerate(source)]
    files = read_instances(saved(packed, tmp_path))
    volume, _ = volume_from_instances(files, limits=DecodingLimits(threads=3, frames_in_flight=2))
    assert files[0].file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(volume.values, expected.values)
    assert np.array_equal(volume.affine_lps_mm, expected.affine_lps_mm)


def encapsulated(pixels: np.ndarray, frames: list[bytes], syntax: UID, **elements: object) -> Dataset:
    ds = image(pixels, **elements)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate(frames)
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    return ds


def test_htj2k_is_lossless() -> None:
    ds = encapsulated(ramp(), [HTJ2K_16_X_24], HTJ2KLossless)
    frames, _ = frame_set_from_instances([ds])
    assert np.array_equal(frames.frames[0].values, ramp())


@pytest.mark.parametrize("tables", ["basic", "none", "extended"])
def test_frames_are_found_with_any_offset_table(tables: str, tmp_path: Path) -> None:
    ds = enhanced(single_frames(Block(shape=(4, 16, 24))))
    expected, _ = volume_from_instances([ds])
    ds.compress(JPEGLSLossless, generate_instance_uid=False)
    frames = list(pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=4))
    if tables == "extended":
        ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended(frames)
    else:
        ds.PixelData = encapsulate(frames, has_bot=tables == "basic", fragments_per_frame=2 if tables == "basic" else 1)
    volume, _ = volume_from_instances(read_instances(saved([ds], tmp_path)))
    assert np.array_equal(volume.values, expected.values)


@pytest.mark.parametrize(("frames", "words"), [(3, "frame 1 of 4 cannot be read"), (5, "hold 4 frames, Number of Frames says 5")])
def test_wrong_number_of_encapsulated_frames_is_refused(frames: int, words: str) -> None:
    ds = encapsulated(ramp(), [HTJ2K_16_X_24] * frames if frames < 4 else [HTJ2K_16_X_24] * 4, HTJ2KLossless, NumberOfFrames=max(4, frames))
    if frames < 4:
        ds.PixelData = encapsulate([HTJ2K_16_X_24] * frames, has_bot=False)
    with pytest.raises(PixelError, match=words):
        frame_set_from_instances([ds])


def test_too_few_native_bytes_are_refused_with_the_figures() -> None:
    ds = image(ramp(), NumberOfFrames=2)
    with pytest.raises(PixelError, match="768 bytes of pixel data, 1536 are needed for 2 frames of 16 x 24 x 1 samples of 16 bits"):
        frame_set_from_instances([ds])


def test_more_native_frames_than_declared_are_said() -> None:
    ds = image(np.stack([ramp(), ramp() + 1]))
    read = images_from_instances("frames", [ds])
    assert len(read.images.frames) == 1
    assert "the pixel data hold 2 frames, Number of Frames says 1" in read.warnings[0]


@pytest.fixture
def decoder_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Replace the plug-ins of a transfer syntax."""

    def replace(syntax: UID, **decoders: object) -> None:
        decoder = get_decoder(syntax)
        monkeypatch.setattr(decoder, "_available", decoders)

    return replace


def fails(*_: object) -> bytes:
    raise RuntimeError("broken")


@pytest.mark.parametrize("syntax", FASTEST_FIRST, ids=lambda uid: UID(uid).keyword)
def test_the_first_plug_in_of_the_table_is_asked_first(syntax: str) -> None:
    decoder = get_decoder(syntax)
    assert set(FASTEST_FIRST[syntax]) == set(decoder.available_plugins)
    assert plugin_order(decoder) == FASTEST_FIRST[syntax]


def test_next_plug_in_decodes_where_the_first_fails_and_it_is_said_once(decoder_of, caplog) -> None:
    decoder = get_decoder(JPEGLSLossless)
    decoder_of(JPEGLSLossless, pyjpegls=fails, gdcm=decoder._available["gdcm"])
    source = enhanced(single_frames(Block(shape=(4, 16, 24))))
    packed = copy.deepcopy(source)
    packed.compress(JPEGLSLossless, generate_instance_uid=False)
    read = images_from_instances("volume", [packed])
    assert np.array_equal(read.images.values, volume_from_instances([source])[0].values)
    assert read.warnings == ("decoder pyjpegls failed on JPEG-LS Lossless Image Compression (RuntimeError), gdcm decoded it",)


def test_when_all_plug_ins_fail_the_error_names_syntax_and_plug_ins(decoder_of, caplog) -> None:
    decoder_of(HTJ2KLossless, pylibjpeg=fails)
    ds = encapsulated(ramp(), [HTJ2K_16_X_24], HTJ2KLossless)
    with pytest.raises(PixelError, match=r"High-Throughput JPEG 2000 .* cannot be decoded; tried pylibjpeg \(RuntimeError\)") as error:
        frame_set_from_instances([ds])
    assert "damaged" in error.value.hint


def test_without_any_plug_in_the_error_says_what_to_install(decoder_of, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder_of(HTJ2KLossless)
    monkeypatch.setattr(get_decoder(HTJ2KLossless), "_unavailable", {"pylibjpeg": ("pylibjpeg>=2.0", "pylibjpeg-openjpeg>=2.0")})
    with pytest.raises(PixelError, match="no decoder for High-Throughput JPEG 2000") as error:
        frame_set_from_instances([encapsulated(ramp(), [HTJ2K_16_X_24], HTJ2KLossless)])
    assert error.value.hint == "install one of: pylibjpeg - requires pylibjpeg>=2.0 and pylibjpeg-openjpeg>=2.0"


def test_video_is_refused_by_its_name() -> None:
    with pytest.raises(PixelError, match=r"transfer syntax MPEG-4 .* cannot be decoded"):
        frame_set_from_instances([encapsulated(ramp(), [b"x" * 10], MPEG4HP41)])


def test_damaged_stream_is_a_pixel_error(caplog) -> None:
    with pytest.raises(PixelError, match="tried pylibjpeg"):
        frame_set_from_instances([encapsulated(ramp(), [HTJ2K_16_X_24[:60]], HTJ2KLossless)])


@pytest.mark.parametrize(("devices", "loaded"), [((), []), (("GPU 0",), [plugins._DEVICE_MODULE])])
def test_device_decoders_are_never_registered_without_a_device(devices: tuple[str, ...], loaded: list[str]) -> None:
    asked: list[str] = []

    class Module:
        @staticmethod
        def register() -> bool:
            return True

    assert register_device_decoders(devices, lambda name: asked.append(name) or Module) is bool(devices)
    assert asked == loaded


def test_device_decoders_that_are_not_installed_or_fail_to_load_are_left_out() -> None:
    def load(name: str) -> object:
        raise ImportError(name)

    before = get_decoder(JPEG2000Lossless).available_plugins
    assert register_device_decoders(("GPU 0",), load) is False
    assert get_decoder(JPEG2000Lossless).available_plugins == before


def test_registered_device_decoder_comes_first_and_the_cpu_takes_over_where_it_fails(decoder_of, caplog) -> None:
    cpu = get_decoder(HTJ2KLossless)._available["pylibjpeg"]
    decoder_of(HTJ2KLossless, **{"pylibjpeg": cpu, "0.8.0+nvimgcodec": fails})
    assert plugin_order(get_decoder(HTJ2KLossless)) == ("0.8.0+nvimgcodec", "pylibjpeg")
    read = images_from_instances("frames", [encapsulated(ramp(), [HTJ2K_16_X_24], HTJ2KLossless)])
    assert np.array_equal(read.images.frames[0].values, ramp())
    assert "0.8.0+nvimgcodec failed" in read.warnings[0]


def test_raw_frames_in_memory_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ds = encapsulated(ramp(), [HTJ2K_16_X_24] * 40, HTJ2KLossless, NumberOfFrames=40)
    opened = decoding.open_instance(read_instances(saved([ds], tmp_path))[0])
    read: list[int] = []
    all_read = threading.Event()
    encoded_frames = decoding._encoded_frames

    def counted(*arguments: object) -> Iterator[tuple[int, bytes]]:
        for frame, encoded in encoded_frames(*arguments):
            read.append(frame)
            if len(read) == 40:
                all_read.set()
            yield frame, encoded

    read_while_the_first_waited: list[int] = []
    decoded: list[int] = []

    def consume(index: int, _: object) -> None:
        if index == 0 and not all_read.wait(0.3):
            read_while_the_first_waited.append(len(read))
        decoded.append(index)

    monkeypatch.setattr(decoding, "_encoded_frames", counted)
    frames = [decoding.SourceFrame(0, n) for n in range(40)]
    decoding.decode_frames([opened], frames, consume, DecodingLimits(threads=2, frames_in_flight=5))
    assert read_while_the_first_waited == [6]  # five wait or are decoded, and one is at hand
    assert sorted(decoded) == list(range(40))


def test_first_error_ends_the_work() -> None:
    slices = single_frames(Block(shape=(40, 2, 2)))
    slices[3].PixelData = slices[3].PixelData[:4]
    with pytest.raises(PixelError, match=r"instance 4 .*4 bytes of pixel data, 8 are needed"):
        volume_from_instances(slices)


def test_odd_frames_of_bytes_in_big_endian_words_are_swapped() -> None:
    pixels = np.arange(2 * 5 * 5, dtype=np.uint8).reshape(2, 5, 5)
    ds = image(pixels, NumberOfFrames=2)
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    ds.PixelData = np.frombuffer(ds.PixelData, np.uint16).byteswap().tobytes()
    ds["PixelData"].VR = "OW"
    frames, _ = frame_set_from_instances([ds])
    assert np.array_equal(np.stack([f.values for f in frames.frames]), pixels)


@pytest.mark.parametrize("columns", [8, 11])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_bits_are_unpacked_also_where_frames_begin_within_a_byte(columns: int, syntax: UID) -> None:
    bits = np.random.default_rng(1).integers(0, 2, (7, 1, columns), np.uint8)
    packed = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    ds = image(bits, NumberOfFrames=7, BitsAllocated=1, BitsStored=1, HighBit=0, PixelData=packed + b"\0" * (len(packed) % 2))
    if syntax == ExplicitVRBigEndian:
        ds.PixelData = np.frombuffer(ds.PixelData, np.uint16).byteswap().tobytes()
    ds.file_meta.TransferSyntaxUID, ds["PixelData"].VR = syntax, "OW"
    frames, _ = frame_set_from_instances([ds])
    assert np.array_equal(np.stack([f.values for f in frames.frames]), bits)


def jpeg(rgb: np.ndarray) -> bytes:
    """YCbCr, no subsampling, a JFIF marker."""
    stream = BytesIO()
    Image.fromarray(rgb).save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()


def with_marker(jfif: bytes, marker: bytes) -> bytes:
    """Put another marker in the place of JFIF's."""
    end = 4 + int.from_bytes(jfif[4:6], "big")
    return jfif[:2] + marker + jfif[end:]


ADOBE_YCC = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x01"


@pytest.mark.parametrize("plug_in", ["pillow", "gdcm", "pylibjpeg"])
@pytest.mark.parametrize("header", ["YBR_FULL_422", "YBR_FULL", "RGB"])
@pytest.mark.parametrize("marker", ["JFIF", "Adobe", "JFIF and Adobe"])
def test_colours_of_a_jpeg_are_turned_once_whatever_marker_and_header_say(decoder_of, plug_in: str, header: str, marker: str) -> None:
    y, x = np.mgrid[:64, :64]
    rgb = np.stack([x * 4, y * 4, 255 - x * 2 - y * 2], -1).clip(0, 255).astype(np.uint8)
    stream = jpeg(rgb)
    if marker != "JFIF":
        jfif = stream[2 : 4 + int.from_bytes(stream[4:6], "big")] if "JFIF" in marker else b""
        stream = with_marker(stream, jfif + ADOBE_YCC)
    available = get_decoder(JPEGBaseline8Bit)._available
    second = "gdcm" if plug_in == "pillow" else plug_in
    decoder_of(JPEGBaseline8Bit, **{name: available[name] for name in {plug_in, second}})
    read = images_from_instances("frames", [encapsulated(rgb, [stream], JPEGBaseline8Bit, PhotometricInterpretation=header)])
    assert np.abs(read.images.frames[0].values.astype(int) - rgb).max() <= 5
    assert bool(read.warnings) == (header == "RGB")
    assert all("Photometric Interpretation says RGB, the JPEG Baseline" in w for w in read.warnings)


DCMTK = {
    f"+eb+{k}": f"eb{v}"
    for k, v in {"cr": "cr", "cy+n1": "cyn1", "cy+n2": "cyn2", "cy+np": "cynp", "cy+s2": "cys2", "cy+s4": "cys4"}.items()
}


@pytest.mark.parametrize("name", DCMTK)
def test_real_colour_jpeg_looks_as_dcmtk_shows_it(name: str) -> None:
    ours, theirs = grays(PYDICOM / f"SC_rgb_dcmtk_{name}.dcm"), grays(PYDICOM_DATA / f"SC_rgb_dcmtk_{DCMTK[name]}_dcmd.dcm")
    assert np.array_equal(ours[0], theirs[0])
