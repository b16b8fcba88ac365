"""Palette colour lookup tables: plain, segmented and supplemental."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from dicom_node.errors import PixelError
from dicom_node.inference.pixels.reading import label

_CHANNELS = ("Red", "Green", "Blue")
_DISCRETE, _LINEAR, _INDIRECT = range(3)


@dataclass(frozen=True, slots=True)
class Palette:
    """A colour for each stored value. Source: PS3.3 C.7.6.3.1.5, C.7.6.3.1.6, C.7.9.

    Attributes:
        colors: Shape (entry, 3), uint8 RGB.
        first: Stored value of the first entry; values below it get the first entry, those above the last the last one.
    """

    colors: NDArray[np.uint8]
    first: int

    def of(self, stored: NDArray[Any]) -> NDArray[np.uint8]:
        """Look up stored values, shape (row, column); new memory, shape (row, column, 3)."""
        index = np.clip(stored.astype(np.int64) - self.first, 0, len(self.colors) - 1)
        found: NDArray[np.uint8] = self.colors[index]
        return found


def has_palette(data_set: pydicom.Dataset) -> bool:
    """Say whether the instance carries a palette."""
    return "RedPaletteColorLookupTableDescriptor" in data_set


def palette_of(data_set: pydicom.Dataset) -> Palette:
    """Read the palette of an instance; entries of more than 8 bits keep their upper eight.

    Raises:
        PixelError: it is missing or damaged.
    """
    try:
        count, first, bits = (int(v) for v in data_set.RedPaletteColorLookupTableDescriptor)
        entries = np.stack([_entries(data_set, channel, count or 65536, bits) for channel in _CHANNELS], axis=-1)
    except (AttributeError, KeyError, ValueError, TypeError, IndexError) as error:
        raise PixelError(f"{label(data_set)}: the colour palette cannot be read: {type(error).__name__}") from error
    # 16 bit entries of which none reaches 256 are 8 bit entries in words, as old ultrasound devices write them
    deep = bits > 8 and int(entries.max()) > 255
    return Palette((entries >> (bits - 8) if deep else entries).astype(np.uint8), first)


def _entries(data_set: pydicom.Dataset, channel: str, count: int, bits: int) -> NDArray[np.int64]:
    little = bool(data_set.file_meta.TransferSyntaxUID.is_little_endian)
    segmented = f"Segmented{channel}PaletteColorLookupTableData"
    if segmented in data_set:
        words = _words(data_set[segmented].value, 8 if bits <= 8 else 16, little=little)
        entries = np.array(_expanded([int(w) for w in words], 8 if bits <= 8 else 16), np.int64)
    else:
        data = data_set[f"{channel}PaletteColorLookupTableData"].value
        entries = _words(data, 16 if len(data) >= 2 * count else 8, little=little).astype(np.int64)
    if len(entries) < count:
        raise ValueError(f"{len(entries)} of {count} entries")
    return entries[:count]


def _words(data: bytes, bits: int, *, little: bool) -> NDArray[Any]:
    """Read entries from the words (OW) they are packed in."""
    if bits == 16:
        return np.frombuffer(data[: len(data) // 2 * 2], "<u2" if little else ">u2")
    packed = np.frombuffer(data + b"\0" * (len(data) % 2), np.uint8)
    return packed if little else packed.view(np.uint16).byteswap().view(np.uint8)


def _expanded(data: list[int], bits: int) -> list[int]:
    """Expand the segments of one channel. Source: PS3.3 C.7.9.2."""
    entries: list[int] = []
    offset = 0
    while offset + 1 < len(data):
        offset = _repeat(data, offset, bits, entries) if data[offset] == _INDIRECT else _segment(data, offset, entries)
    return entries


def _segment(data: list[int], offset: int, entries: list[int]) -> int:
    """Append a discrete or linear segment; return where the next one begins."""
    kind, length = data[offset], data[offset + 1]
    if kind == _DISCRETE:
        entries += data[offset + 2 : offset + 2 + length]
        return offset + 2 + length
    if kind != _LINEAR or not entries:
        raise ValueError(f"segment of kind {kind} at {offset}")
    first, last = entries[-1], data[offset + 2]
    entries += [round(first + (last - first) * step / length) for step in range(1, length + 1)]
    return offset + 3


def _repeat(data: list[int], offset: int, bits: int, entries: list[int]) -> int:
    """Append copies of segments that stand elsewhere; return where the next one begins."""
    count = data[offset + 1]
    if bits == 16:
        source, end = (data[offset + 2] | data[offset + 3] << 16) // 2, offset + 4
    else:
        source, end = sum(data[offset + 2 + n] << 8 * n for n in range(4)), offset + 6
    for _ in range(count):
        source = _segment(data, source, entries)
    return end
