"""Image library of a report, TID 1600: what is known of each shown image; elements that the source lacks are left out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import pydicom
from highdicom import sr
from pydicom.sr.codedict import codes

_CONTEXT = sr.RelationshipTypeValues.HAS_ACQ_CONTEXT
_CONTAINS = sr.RelationshipTypeValues.CONTAINS
_SOURCE = sr.CodedConcept("260753009", "SCT", "Source")
_PIXELS = sr.CodedConcept("{pixels}", "UCUM", "Pixels")
_COSINE = sr.CodedConcept("{-1:1}", "UCUM", "{-1:1}")
_MM = sr.CodedConcept("mm", "UCUM", "millimeter")
_NUMBERS = (
    ("Rows", (codes.DCM.PixelDataRows,), _PIXELS),
    ("Columns", (codes.DCM.PixelDataColumns,), _PIXELS),
    ("PixelSpacing", (codes.DCM.VerticalPixelSpacing, codes.DCM.HorizontalPixelSpacing), _MM),
    ("SpacingBetweenSlices", (codes.DCM.SpacingBetweenSlices,), _MM),
    ("SliceThickness", (codes.DCM.SliceThickness,), _MM),
    (
        "ImagePositionPatient",
        (codes.DCM.ImagePositionPatientX, codes.DCM.ImagePositionPatientY, codes.DCM.ImagePositionPatientZ),
        _MM,
    ),
    (
        "ImageOrientationPatient",
        (
            codes.DCM.ImageOrientationPatientRowX,
            codes.DCM.ImageOrientationPatientRowY,
            codes.DCM.ImageOrientationPatientRowZ,
            codes.DCM.ImageOrientationPatientColumnX,
            codes.DCM.ImageOrientationPatientColumnY,
            codes.DCM.ImageOrientationPatientColumnZ,
        ),
        _COSINE,
    ),
)


def image_library(headers: Sequence[pydicom.Dataset]) -> sr.ContainerContentItem:
    """Build the container with one group per frame of reference.

    Args:
        headers: Normalised headers of the instances to describe.
    Source: TID 1600, 1601, 1602; older viewers read it without asking whether it is there.
    """
    library = sr.ContainerContentItem(name=codes.DCM.ImageLibrary, relationship_type=_CONTAINS)
    library.ContentSequence = sr.ContentSequence()
    frames = dict.fromkeys(str(h.get("FrameOfReferenceUID") or "") for h in headers)
    for frame in frames:
        group = sr.ContainerContentItem(name=codes.DCM.ImageLibraryGroup, relationship_type=_CONTAINS)
        group.ContentSequence = sr.ContentSequence()
        if frame:
            group.ContentSequence.append(_frame_of_reference(frame))
        group.ContentSequence.extend(_entry(h) for h in headers if str(h.get("FrameOfReferenceUID") or "") == frame)
        library.ContentSequence.append(group)
    return library


def _entry(header: pydicom.Dataset) -> sr.ImageContentItem:
    item = sr.ImageContentItem(
        name=_SOURCE,
        referenced_sop_class_uid=header.SOPClassUID,
        referenced_sop_instance_uid=header.SOPInstanceUID,
        relationship_type=_CONTAINS,
    )
    item.ContentSequence = sr.ContentSequence()
    meaning = _modalities().get(str(header.Modality))
    if meaning:
        value = sr.CodedConcept(str(header.Modality), "DCM", meaning)
        item.ContentSequence.append(sr.CodeContentItem(codes.DCM.Modality, value, _CONTEXT))
    if header.get("FrameOfReferenceUID"):
        item.ContentSequence.append(_frame_of_reference(str(header.FrameOfReferenceUID)))
    for keyword, names, unit in _NUMBERS:
        values = _values(header, keyword)
        if len(values) == len(names):
            item.ContentSequence.extend(
                sr.NumContentItem(name=name, value=value, unit=unit, relationship_type=_CONTEXT)
                for name, value in zip(names, values, strict=True)
            )
    return item


def _frame_of_reference(uid: str) -> sr.UIDRefContentItem:
    return sr.UIDRefContentItem(name=codes.DCM.FrameOfReferenceUID, value=uid, relationship_type=_CONTEXT)


def _values(header: pydicom.Dataset, keyword: str) -> list[float]:
    value = header.get(keyword)
    if value in (None, ""):
        return []
    try:
        return [float(v) for v in value] if isinstance(value, pydicom.multival.MultiValue | list) else [float(value)]
    except (ValueError, TypeError):
        return []


@lru_cache(maxsize=1)
def _modalities() -> dict[str, str]:
    """Meanings by code of CID 29, acquisition modality."""
    named = [getattr(codes.cid29, name) for name in codes.cid29.dir()]
    return {code.value: code.meaning for code in named}
