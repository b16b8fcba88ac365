"""Copies of source headers that the object library accepts; identity is never changed.

What ordinary scanners send and the library refuses: absent type 2 elements, Patient's Sex outside M, F, O, character sets with
code extensions, text outside the declared set, no Slice Thickness.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pydicom
from pydicom.charset import python_encoding

_EMPTY_IF_ABSENT = (
    "AccessionNumber",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "PatientSex",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyID",
    "StudyTime",
)
_BULK = ("PixelData", "FloatPixelData", "DoubleFloatPixelData", "OverlayData", "IconImageSequence")
_NAMES = ("PatientName", "PatientID", "ReferringPhysicianName", "StudyDescription")
_SEXES = ("M", "F", "O", "")
_CHARACTER_SETS = ("ISO_IR 100", "ISO_IR 192")
_UTF8 = "ISO_IR 192"


def normalised_headers(source: Sequence[pydicom.Dataset], slice_spacing_mm: float) -> list[pydicom.Dataset]:
    """Copy the headers, without pixel data, private elements and whatever the library would refuse.

    Args:
        source: Instances in slice order; not modified.
        slice_spacing_mm: Stands in for an absent Slice Thickness.
    """
    return [_normalised(data_set, slice_spacing_mm) for data_set in source]


def _normalised(data_set: pydicom.Dataset, slice_spacing_mm: float) -> pydicom.Dataset:
    header = pydicom.Dataset()
    for tag in list(data_set.keys()):
        if not tag.is_private and pydicom.datadict.keyword_for_tag(tag) not in _BULK and tag.group & 0xFF00 != 0x6000:
            header[tag] = copy.copy(data_set.get_item(tag))
    header.file_meta = copy.copy(getattr(data_set, "file_meta", pydicom.dataset.FileMetaDataset()))
    declared = data_set.get("SpecificCharacterSet")
    if declared not in (None, "", *_CHARACTER_SETS) or (declared in (None, "") and not _is_ascii(data_set)):
        _to_utf8(header, data_set)
    for keyword in _EMPTY_IF_ABSENT:
        if keyword not in header:
            setattr(header, keyword, "")
    sex = str(header.PatientSex or "").strip().upper()
    header.PatientSex = sex if sex in _SEXES else ""
    if not header.get("SliceThickness"):
        header.SliceThickness = round(slice_spacing_mm, 4)
    return header


def _is_ascii(data_set: pydicom.Dataset) -> bool:
    names = [data_set.get_item(keyword) for keyword in _NAMES if keyword in data_set]
    return all(_raw(item).isascii() for item in names if item is not None)


def _raw(item: pydicom.DataElement | pydicom.dataelem.RawDataElement) -> bytes:
    value = item.value
    return value if isinstance(value, bytes) else str(value or "").encode("utf-8", "surrogateescape")


def _to_utf8(header: pydicom.Dataset, data_set: pydicom.Dataset) -> None:
    """Decode every text by the set in force, undeclared bytes as Latin-1, and declare UTF-8."""
    declared = data_set.get("SpecificCharacterSet") or "ISO_IR 100"
    sets = [declared] if isinstance(declared, str) else list(declared)
    known = [s for s in sets if s in python_encoding] or ["ISO_IR 100"]
    header.SpecificCharacterSet = known[0] if len(known) == 1 else known
    header.decode()
    header.SpecificCharacterSet = _UTF8
