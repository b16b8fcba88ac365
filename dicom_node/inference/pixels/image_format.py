"""The image pixel module of an instance, checked once before its frames are decoded."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

import pydicom

from dicom_node.errors import PixelError
from dicom_node.inference.pixels.reading import label

COLOR = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT"})
GRAY = frozenset({"MONOCHROME1", "MONOCHROME2"})
PALETTE = "PALETTE COLOR"
_HALF_CHROMA = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422"})
_DEPTHS = frozenset({1, 8, 16, 32, 64})


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """How the pixels of an instance are stored. Source: PS3.3 C.7.6.3, PS3.5 8.1.

    Attributes:
        bits_allocated: 1, 8, 16, 32 or 64.
        bits_stored: Of them, how many hold the value.
        high_bit: The uppermost of these.
        signed: Values are two's complement.
        is_float: Float or Double Float Pixel Data.
        frames: Number of Frames, 1 where it is absent.
    """

    rows: int
    columns: int
    samples: int
    photometric_interpretation: str
    planar_configuration: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    is_float: bool
    frames: int

    @property
    def half_chroma(self) -> bool:
        """Native pixel data hold two luminance samples for one pair of colour samples."""
        return self.photometric_interpretation in _HALF_CHROMA

    @property
    def native_bits(self) -> int:
        """Bits of one frame as native pixel data."""
        bits = self.rows * self.columns * self.samples * self.bits_allocated
        return bits // 3 * 2 if self.half_chroma else bits

    @property
    def native_bytes(self) -> int:
        """Bytes of all frames as native pixel data, without the padding to an even number."""
        return ceil(self.native_bits * self.frames / 8)

    def decoder_options(self, keyword: str, vr: str) -> dict[str, Any]:
        """Return the same in the words of pydicom's decoders."""
        color = "YBR_FULL_422" if self.half_chroma else self.photometric_interpretation
        options: dict[str, Any] = {
            "rows": self.rows,
            "columns": self.columns,
            "samples_per_pixel": self.samples,
            "photometric_interpretation": color,
            "bits_allocated": self.bits_allocated,
            "bits_stored": self.bits_stored,
            "pixel_representation": int(self.signed),
            "pixel_keyword": keyword,
            "pixel_vr": vr,
        }
        if self.samples > 1:
            options["planar_configuration"] = self.planar_configuration
        return options


def image_format(data_set: pydicom.Dataset) -> ImageFormat:
    """Read and check the image pixel module.

    Raises:
        PixelError: an element is missing, or two contradict each other.
    """
    is_float = "PixelData" not in data_set and ("FloatPixelData" in data_set or "DoubleFloatPixelData" in data_set)
    allocated = _number(data_set, "BitsAllocated")
    stored = allocated if is_float else _number(data_set, "BitsStored")
    samples = _number(data_set, "SamplesPerPixel", 1)
    found = ImageFormat(
        rows=_number(data_set, "Rows"),
        columns=_number(data_set, "Columns"),
        samples=samples,
        photometric_interpretation=str(data_set.get("PhotometricInterpretation", "") or ""),
        planar_configuration=_number(data_set, "PlanarConfiguration", None if _planes_matter(data_set, samples) else 0),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=_number(data_set, "HighBit", stored - 1),
        signed=not is_float and _number(data_set, "PixelRepresentation") == 1,
        is_float=is_float,
        frames=max(1, _number(data_set, "NumberOfFrames", 1)),
    )
    _check(data_set, found)
    return found


def _planes_matter(data_set: pydicom.Dataset, samples: int) -> bool:
    syntax = data_set.file_meta.get("TransferSyntaxUID") if hasattr(data_set, "file_meta") else None
    return samples > 1 and syntax is not None and not syntax.is_encapsulated


def _number(data_set: pydicom.Dataset, keyword: str, default: int | None = None) -> int:
    value = data_set.get(keyword)
    if value is None or value == "":
        if default is None:
            raise PixelError(f"{label(data_set)} has no {pydicom.datadict.dictionary_description(keyword)}")
        return default
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise PixelError(f"{label(data_set)}: {pydicom.datadict.dictionary_description(keyword)} is no number") from error


def _check(data_set: pydicom.Dataset, found: ImageFormat) -> None:
    faults = []
    photometric, samples = found.photometric_interpretation, found.samples
    if found.rows <= 0 or found.columns <= 0:
        faults.append(f"{found.rows} rows, {found.columns} columns")
    if photometric not in COLOR | GRAY | {PALETTE}:
        faults.append(f"Photometric Interpretation {photometric or 'missing'} is not supported")
    elif samples != (3 if photometric in COLOR else 1):
        faults.append(f"{photometric} with {samples} samples a pixel")
    if found.bits_allocated not in _DEPTHS:
        faults.append(f"Bits Allocated {found.bits_allocated}")
    if not found.is_float and not 0 < found.bits_stored <= found.high_bit + 1 <= found.bits_allocated:
        faults.append(f"Bits Stored {found.bits_stored} and High Bit {found.high_bit} in {found.bits_allocated} allocated bits")
    if faults:
        raise PixelError(f"{label(data_set)}: {'; '.join(faults)}")
