"""Copies of source headers that the object library accepts; what identifies patient and study is never changed.

What ordinary scanners send and the library refuses: absent type 2 elements, Patient's Sex outside M, F, O, character sets with
code extensions, text outside the declared set, no Slice Thickness, no Modality. What no object may hold: texts longer than their VR
allows, ages and weights that are none.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pydicom
from pydicom.charset import python_encoding
from pydicom.datadict import keyword_for_tag
from pydicom.uid import UID

from dicom_node.sr_writer.repertoire import LATIN_1, UTF8, Repertoire, repertoire_of

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
_SEXES = ("M", "F", "O", "")
_CHARACTER_SETS = (LATIN_1, UTF8)
_TEXTS = ("PatientName", "PatientID", "IssuerOfPatientID", "ReferringPhysicianName", "StudyDescription", "AccessionNumber", "StudyID")
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_LONGEST = {"StudyDescription": 64, "BodyPartExamined": 16, "Manufacturer": 64, "ManufacturerModelName": 64}
_IDENTITY = {"PatientID": 64, "AccessionNumber": 16, "StudyID": 16, "IssuerOfPatientID": 64}
_FORMS = {"PatientAge": r"\d{3}[DWMY]", "PatientWeight": r"[+-]?\d+(\.\d+)?", "PatientSize": r"[+-]?\d+(\.\d+)?"}
_DATES = {"StudyDate": r"\d{8}|", "PatientBirthDate": r"\d{8}|", "StudyTime": r"\d{2,6}(\.\d{1,6})?|"}
_MODALITIES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "CT",
    "1.2.840.10008.5.1.4.1.1.4": "MR",
    "1.2.840.10008.5.1.4.1.1.4.1": "MR",
    "1.2.840.10008.5.1.4.1.1.1": "CR",
    "1.2.840.10008.5.1.4.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.1.2": "MG",
    "1.2.840.10008.5.1.4.1.1.6.1": "US",
    "1.2.840.10008.5.1.4.1.1.3.1": "US",
    "1.2.840.10008.5.1.4.1.1.128": "PT",
    "1.2.840.10008.5.1.4.1.1.20": "NM",
}


@dataclass(frozen=True, slots=True, eq=False)
class NormalisedHeaders:
    """What the writers read instead of the source.

    Attributes:
        data_sets: One per instance, in the order given; text as Unicode, declared as the library accepts it.
        repertoire: Character set of the results.
        replaced: Keywords of elements that were left out or replaced, in every copy, because they hold no valid value.
        kept: Keywords of elements that are against the standard and stay as they are, since they identify patient or study.
    """

    data_sets: tuple[pydicom.Dataset, ...]
    repertoire: Repertoire
    replaced: tuple[str, ...]
    kept: tuple[str, ...]


def normalised_headers(source: Sequence[pydicom.Dataset], slice_spacing_mm: float) -> NormalisedHeaders:
    """Copy the headers, without pixel data, private elements and whatever the library would refuse.

    Args:
        source: Instances in slice order; not modified.
        slice_spacing_mm: Stands in for an absent Slice Thickness; 0 if there are no slices.
    """
    first = source[0]
    repertoire = repertoire_of(first.get("SpecificCharacterSet"), ascii_only=_is_ascii(first))
    replaced, kept = _faults(first, repertoire)
    data_sets = []
    for data_set in source:
        header = _copied(data_set)
        _replace(header, replaced)
        if slice_spacing_mm and not header.get("SliceThickness"):
            header.SliceThickness = round(slice_spacing_mm, 4)
            _fill_thickness(header)
        data_sets.append(header)
    return NormalisedHeaders(tuple(data_sets), repertoire, tuple(replaced), tuple(kept))


def _copied(data_set: pydicom.Dataset) -> pydicom.Dataset:
    header = pydicom.Dataset()
    for tag in list(data_set.keys()):
        if not tag.is_private and keyword_for_tag(tag) not in _BULK and tag.group & 0xFF00 != 0x6000:
            header[tag] = copy.copy(data_set.get_item(tag))
    header.file_meta = copy.copy(getattr(data_set, "file_meta", pydicom.dataset.FileMetaDataset()))
    declared = data_set.get("SpecificCharacterSet")
    if declared not in (None, "", *_CHARACTER_SETS) or (declared in (None, "") and not _is_ascii(data_set)):
        _to_utf8(header, declared)
    return header


def _fill_thickness(header: pydicom.Dataset) -> None:
    """Give the Pixel Measures of a multi-frame header the Slice Thickness that they lack."""
    for keyword in _GROUPS:
        if any(
            "SliceThickness" not in measures for group in header.get(keyword) or [] for measures in group.get("PixelMeasuresSequence") or []
        ):
            header[keyword] = copy.deepcopy(header[keyword])
            for group in header[keyword].value:
                for measures in group.get("PixelMeasuresSequence") or []:
                    measures.SliceThickness = measures.get("SliceThickness") or header.SliceThickness


def _faults(first: pydicom.Dataset, repertoire: Repertoire) -> tuple[list[str], list[str]]:
    """Say which elements cannot be copied as they are: those to replace, and those to keep all the same."""
    replaced = [] if repertoire.valid else ["SpecificCharacterSet"]
    if str(first.get("PatientSex") or "").strip(" \0").upper() not in _SEXES:
        replaced.append("PatientSex")
    if not first.get("Modality"):
        replaced.append("Modality")
    replaced += [k for k, length in _LONGEST.items() if len(_text(first, k)) > length]
    replaced += [k for k, form in _FORMS.items() if k in first and not re.fullmatch(form, _text(first, k))]
    kept = [k for k, length in _IDENTITY.items() if len(_text(first, k)) > length]
    kept += [k for k, form in _DATES.items() if k in first and not re.fullmatch(form, _text(first, k))]
    if any(len(group.split("^")) > 5 for group in _text(first, "PatientName").split("=")):
        kept.append("PatientName")
    if not first.get("SpecificCharacterSet"):
        kept += [k for k in _TEXTS if re.search(r"[\x80-\x9f]", _latin_1(first, k))]  # of a set that nobody declared, and not Latin-1
    kept += [k for k in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID") if not UID(_text(first, k)).is_valid]
    return replaced, kept


def _replace(header: pydicom.Dataset, replaced: Sequence[str]) -> None:
    for keyword in _EMPTY_IF_ABSENT:
        if keyword not in header:
            setattr(header, keyword, "")
    sex = _text(header, "PatientSex").upper()
    header.PatientSex = sex if sex in _SEXES else ""
    for keyword in replaced:
        if keyword == "Modality":
            header.Modality = _MODALITIES.get(str(header.SOPClassUID), "OT")
        elif keyword in _LONGEST:
            setattr(header, keyword, _text(header, keyword)[: _LONGEST[keyword]].strip())
        elif keyword in _FORMS:
            del header[keyword]


def _text(data_set: pydicom.Dataset, keyword: str) -> str:
    """Return a value as text; where it cannot be converted to its VR, as the bytes have it."""
    try:
        return str(data_set.get(keyword) or "").strip(" \0")
    except (ValueError, TypeError):
        return _latin_1(data_set, keyword).strip(" \0")


def _is_ascii(data_set: pydicom.Dataset) -> bool:
    names = [data_set.get_item(keyword) for keyword in _TEXTS if keyword in data_set]
    return all(_raw(item).isascii() for item in names if item is not None)


def _latin_1(data_set: pydicom.Dataset, keyword: str) -> str:
    item = data_set.get_item(keyword)
    return "" if item is None else _raw(item).decode("latin-1")


def _raw(item: pydicom.DataElement | pydicom.dataelem.RawDataElement) -> bytes:
    value = item.value
    return value if isinstance(value, bytes) else str(value or "").encode("utf-8", "surrogateescape")


def _to_utf8(header: pydicom.Dataset, declared: object) -> None:
    """Decode every text by the set in force, undeclared bytes as Latin-1, and declare UTF-8."""
    sets = [declared] if isinstance(declared, str) else list(declared or [LATIN_1])  # type: ignore[call-overload]
    known = [s for s in sets if s in python_encoding] or [LATIN_1]
    header.SpecificCharacterSet = known[0] if len(known) == 1 else known
    header.decode()
    header.SpecificCharacterSet = UTF8
