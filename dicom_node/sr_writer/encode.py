"""Finished objects as the bytes of Part 10 files."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import pydicom


def encoded(data_set: pydicom.Dataset) -> memoryview:
    """Encode a finished object.

    Args:
        data_set: In Explicit VR Little Endian or compressed; afterwards its new items are marked as encoded so.

    Returns:
        The whole file.
    """
    for item in _items(data_set):
        # pydicom looks below each item of unknown encoding for elements whose VR is open, which it has done from the root already
        if item.original_encoding == (None, None):
            item.set_original_encoding(is_implicit_vr=False, is_little_endian=True)
    buffer = BytesIO()
    data_set.save_as(buffer, enforce_file_format=True)
    return buffer.getbuffer()


def _items(data_set: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    for element in data_set.elements():
        if element.VR == "SQ" and isinstance(element, pydicom.DataElement):
            for item in element.value:
                yield item
                yield from _items(item)
