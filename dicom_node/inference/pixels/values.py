"""Stored values to the values they mean: unused bits cut off, rescale or modality LUT applied, padding replaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from dicom_node.errors import PixelError
from dicom_node.inference.pixels.frame_header import FrameHeader
from dicom_node.inference.pixels.image_format import ImageFormat
from dicom_node.inference.pixels.reading import label

CT_PADDING_HU = -1024.0
_PADDING = (
    ("PixelPaddingValue", "PixelPaddingRangeLimit"),
    ("FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit"),
    ("DoubleFloatPixelPaddingValue", "DoubleFloatPixelPaddingRangeLimit"),
)


def to_hounsfield(stored: NDArray[np.integer], *, rescale_slope: float, rescale_intercept: float) -> NDArray[np.float32]:
    """Convert stored values to Hounsfield units.

    Args:
        stored: Stored values, shape (row, column) or (slice, row, column), any integer dtype; not modified.
        rescale_slope: Rescale Slope (0028,1053), HU per stored unit.
        rescale_intercept: Rescale Intercept (0028,1052), HU.

    Returns:
        Same shape, float32, HU; new memory.

    Raises:
        PixelError: the slope is zero, every voxel would become one value.
    Source: PS3.3 C.11.1.1.2.
    """
    values = np.empty(stored.shape, np.float32)
    _rescale_into(values, stored, rescale_slope, rescale_intercept)
    return values


def stored_values(decoded: NDArray[Any], found: ImageFormat) -> NDArray[Any]:
    """Cut off what is not part of the value: overlay planes or garbage above the high bit, bits below the stored ones.

    Args:
        decoded: Shape (row, column), the allocated type; not modified.
        found: Of the instance.

    Returns:
        The same array, or new memory of the same shape and type, sign extended.
    Source: PS3.5 8.1.1.
    """
    bits = decoded.dtype.itemsize * 8
    if found.is_float or found.bits_allocated == 1 or (found.bits_stored == bits and found.high_bit == bits - 1):
        return decoded
    values: NDArray[Any] = np.left_shift(decoded, bits - 1 - found.high_bit)
    np.right_shift(values, bits - found.bits_stored, out=values)
    return values


@dataclass(frozen=True, slots=True)
class LookupTable:
    """Modality LUT Sequence. Source: PS3.3 C.11.1.1.1.

    Attributes:
        entries: Float32, what each stored value means.
        first: Stored value of the first entry; values below it get the first entry, those above the last the last one.
    """

    entries: NDArray[np.float32]
    first: int

    def of(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Look up stored values; new memory of the same shape."""
        index = np.clip(stored.astype(np.int64) - self.first, 0, len(self.entries) - 1)
        found: NDArray[np.float32] = self.entries[index]
        return found


@dataclass(frozen=True, slots=True)
class ValueTransform:
    """What one frame's stored values mean. A Real World Value Map is never applied: it is another scale, for who asks for it.

    Attributes:
        slope: Rescale Slope, 1 where there is none.
        intercept: Rescale Intercept, 0 where there is none.
        lookup: Modality LUT, which then replaces both.
        rescale_type: Rescale Type or Modality LUT Type, empty if not given.
        padding: Lowest and highest stored value that are padding, None if none is declared.
    Source: PS3.3 C.11.1, C.7.5.1.1.2.
    """

    slope: float = 1.0
    intercept: float = 0.0
    lookup: LookupTable | None = None
    rescale_type: str = ""
    padding: tuple[float, float] | None = None

    def apply(self, stored: NDArray[Any], out: NDArray[np.float32]) -> NDArray[np.bool_] | None:
        """Write the meant values.

        Args:
            stored: Shape (row, column); not modified.
            out: Same shape; padding still holds what it would mean.

        Returns:
            Where padding is, None if nowhere.
        """
        if self.lookup is not None:
            out[...] = self.lookup.of(stored)
        else:
            _rescale_into(out, stored, self.slope, self.intercept)
        if self.padding is None:
            return None
        low, high = self.padding
        where = np.isnan(stored) if np.isnan(low) else (stored >= low) & (stored <= high)
        return where if where.any() else None

    def range_of(self, found: ImageFormat) -> tuple[float, float]:
        """Return the lowest and highest value that the format can hold, in meant values."""
        if self.lookup is not None:
            return float(self.lookup.entries.min()), float(self.lookup.entries.max())
        low = -(2 ** (found.bits_stored - 1)) if found.signed else 0
        ends = [(v * self.slope + self.intercept) for v in (low, low + 2**found.bits_stored - 1)]
        return min(ends), max(ends)


def value_transform(header: FrameHeader, found: ImageFormat) -> ValueTransform:
    """Read what a frame's stored values mean.

    Raises:
        PixelError: the slope is zero, or the lookup table is damaged.
    """
    padding = _padding(header, found)
    table = header.value("ModalityLUTSequence")
    if table:
        item = table[0]
        kind = str(item.get("ModalityLUTType", ""))
        return ValueTransform(lookup=_lookup_table(item, header.data_set), rescale_type=kind, padding=padding)
    slope, intercept = _rescale(header, "RescaleSlope", 1.0), _rescale(header, "RescaleIntercept", 0.0)
    if slope == 0:
        raise PixelError(f"{header.label()}: Rescale Slope is zero")
    return ValueTransform(slope, intercept, rescale_type=str(header.value("RescaleType") or ""), padding=padding)


def _rescale(header: FrameHeader, keyword: str, default: float) -> float:
    value = header.value(keyword)
    try:
        number = default if value is None else float(value)
    except (TypeError, ValueError) as error:
        raise PixelError(f"{header.label()}: {keyword} is no number") from error
    if not np.isfinite(number):
        raise PixelError(f"{header.label()}: {keyword} is {number}")
    return number


def _rescale_into(out: NDArray[np.float32], stored: NDArray[Any], slope: float, intercept: float) -> None:
    if slope == 0:
        raise PixelError("Rescale Slope is zero")
    if stored.dtype.itemsize > 2:  # 32 bits do not fit into a float32 before the slope brings them down
        np.add(stored.astype(np.float64) * slope, intercept, out=out, casting="same_kind")
        return
    np.multiply(stored, np.float32(slope), out=out, dtype=np.float32, casting="unsafe")
    if intercept:
        out += np.float32(intercept)


def _padding(header: FrameHeader, found: ImageFormat) -> tuple[float, float] | None:
    for keyword, limit in _PADDING:
        if keyword.startswith(("Float", "Double")) != found.is_float:
            continue
        value = header.value(keyword)
        if value is None:
            continue
        ends = [_as_stored(float(v), found) for v in (value, header.value(limit)) if v is not None]
        return min(ends), max(ends)
    return None


def _as_stored(value: float, found: ImageFormat) -> float:
    """Read a value whose VR (US or SS) contradicts Pixel Representation as the bits that it is."""
    if found.is_float or found.bits_allocated > 16:
        return value
    all_values = float(1 << found.bits_allocated)
    if found.signed and value >= all_values / 2:
        return value - all_values
    return value + all_values if not found.signed and value < 0 else value


def _lookup_table(item: pydicom.Dataset, data_set: pydicom.Dataset) -> LookupTable:
    try:
        count, first, bits = (int(v) for v in item.LUTDescriptor)
        data = item.LUTData
        little = bool(data_set.file_meta.TransferSyntaxUID.is_little_endian)
        if isinstance(data, bytes):
            dtype = np.dtype(np.uint8 if bits <= 8 and len(data) < 2 * (count or 65536) else np.uint16).newbyteorder("<" if little else ">")
            entries = np.frombuffer(data, dtype)
        else:
            entries = np.asarray(data, np.int64) & 0xFFFF
    except (AttributeError, TypeError, ValueError) as error:
        raise PixelError(f"{label(data_set)}: the Modality LUT cannot be read: {type(error).__name__}") from error
    count = count or 65536
    if len(entries) < count:
        raise PixelError(f"{label(data_set)}: the Modality LUT has {len(entries)} entries, its descriptor says {count}")
    return LookupTable(entries[:count].astype(np.float32), first)
