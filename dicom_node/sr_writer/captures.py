"""Secondary Captures: pages that every viewer shows, one series."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import highdicom
import numpy as np
import pydicom
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.domain.equipment import NODE_MANUFACTURER
from dicom_node.sr_writer.finish import equipment
from dicom_node.sr_writer.overlay_pages import overlay_pages
from dicom_node.sr_writer.summary_page import summary_page

if TYPE_CHECKING:
    from dicom_node.sr_writer.build import BuildRequest

SERIES_NUMBER = 9920


def build_captures(request: BuildRequest, headers: Sequence[pydicom.Dataset]) -> Iterator[highdicom.sc.SCImage]:
    """Build the summary page, then the overlay slices, uncompressed RGB: what the oldest viewer shows."""
    middle = len(headers) // 2
    pages = [(summary_page(request), middle), *((page.pixels, page.slice_index) for page in overlay_pages(request))]
    for number, (pixels, slice_index) in enumerate(pages, start=1):
        data_set = highdicom.sc.SCImage.from_ref_dataset(
            headers[slice_index],
            np.ascontiguousarray(pixels),
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
        data_set.ConversionType = "WSD"
        data_set.BurnedInAnnotation = "NO"  # the pages hold no patient's name, number or date; PS3.3 C.7.6.1.1.2 asks for these
        data_set.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
        drawn = f"{request.result.model.title} {request.result.model.version}: results drawn on the image"
        data_set.DerivationDescription = f"{drawn}. {request.replaces}" if request.replaces else drawn
        data_set.SourceImageSequence = [_reference(headers[slice_index])]
        yield data_set


def _reference(header: pydicom.Dataset) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    purpose = codes.DCM.SourceImageForImageProcessingOperation
    item.PurposeOfReferenceCodeSequence = [highdicom.sr.CodedConcept(purpose.value, purpose.scheme_designator, purpose.meaning)]
    return item
