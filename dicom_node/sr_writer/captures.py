"""Secondary Captures: pages that every viewer shows, one series."""

from __future__ import annotations

from collections.abc import Iterator

import highdicom
import numpy as np
import pydicom
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DA, TM

from dicom_node.domain.equipment import NODE_MANUFACTURER
from dicom_node.sr_writer.content import SentenceKind
from dicom_node.sr_writer.finish import equipment
from dicom_node.sr_writer.grid import frame_plane
from dicom_node.sr_writer.overlay_pages import OverlayPage, overlay_pages
from dicom_node.sr_writer.result_set import ResultSet
from dicom_node.sr_writer.source import ImageReference, SourceFrame
from dicom_node.sr_writer.summary_page import summary_page

SERIES_NUMBER = 9920
_TILT = 0.1


def build_captures(results: ResultSet) -> Iterator[highdicom.sc.SCImage]:
    """Build the summary page, then the drawn frames, uncompressed RGB: what the oldest viewer shows."""
    yield _capture(results, 1, OverlayPage((), summary_page(results)))
    for number, page in enumerate(overlay_pages(results), start=2):
        yield _capture(results, number, page)


def patient_orientation(frame: SourceFrame) -> list[str] | None:
    """Say where rows and columns of a frame lead, as Patient Orientation (0020,0020) does; None if it is not known.

    Source: PS3.3 C.7.6.1.1.1.
    """
    _, orientation = frame_plane(frame.header, frame.reference.frame_number)
    if orientation is None:
        given = frame.header.get("PatientOrientation")
        return [str(v) for v in given] if given and len(given) == 2 else None
    return [_letters(orientation[:3]), _letters(orientation[3:])]


def _capture(results: ResultSet, number: int, page: OverlayPage) -> highdicom.sc.SCImage:
    request, frames = results.request, [results.source.frames[i] for i in page.indices]
    header = frames[0].header if frames else results.source.headers[results.content.library[0]]
    data_set = highdicom.sc.SCImage.from_ref_dataset(
        header,
        np.ascontiguousarray(page.pixels),
        "RGB",
        8,
        "PATIENT",
        request.uid("series", "SC"),
        SERIES_NUMBER,
        request.uid("instance", "SC", str(number)),
        number,
        NODE_MANUFACTURER,
        patient_orientation=("L", "P"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        contributing_equipment=[equipment(request)],
    )
    data_set.PatientOrientation = (patient_orientation(frames[0]) or []) if len(frames) == 1 else []
    data_set.ConversionType = "WSD"
    data_set.BurnedInAnnotation = "NO"  # the pages hold no patient's name, number or date; PS3.3 C.7.6.1.1.2 asks for these
    data_set.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    drawn = results.words("pictures_drawn", model=f"{request.result.model.title} {request.result.model.version}")
    replaces = [s.text for s in results.content.sentences if s.kind is SentenceKind.REPLACES]
    data_set.DerivationDescription = ". ".join([drawn, *replaces])
    data_set.DateOfSecondaryCapture, data_set.TimeOfSecondaryCapture = (
        DA(request.content_at.date()),
        TM(request.content_at.strftime("%H%M%S")),
    )
    references = dict.fromkeys(f.reference for f in frames) or dict.fromkeys(results.first_images)
    data_set.SourceImageSequence = [source_item(reference) for reference in references]
    return data_set


def source_item(reference: ImageReference) -> pydicom.Dataset:
    """Refer to an image that an object was derived from."""
    item = pydicom.Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference.sop_class_uid, reference.sop_instance_uid
    if reference.frame_number is not None:
        item.ReferencedFrameNumber = reference.frame_number
    purpose = codes.DCM.SourceImageForImageProcessingOperation
    item.PurposeOfReferenceCodeSequence = [highdicom.sr.CodedConcept(purpose.value, purpose.scheme_designator, purpose.meaning)]
    return item


def _letters(direction: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str:
    order = np.argsort(-np.abs(direction))
    names = (("R", "L"), ("A", "P"), ("F", "H"))
    return "".join(names[axis][int(direction[axis] > 0)] for axis in order if abs(direction[axis]) > _TILT)
