"""Finished objects as the bytes of Part 10 files."""

from __future__ import annotations

from io import BytesIO

import pydicom


def encoded(data_set: pydicom.Dataset) -> memoryview:
    """Encode a finished object, as its file meta information says; returns the whole file."""
    buffer = BytesIO()
    data_set.save_as(buffer, enforce_file_format=True)
    return buffer.getbuffer()
