"""Images with findings as a Key Object Selection: what viewers offer first when the study is opened."""

from __future__ import annotations

from collections.abc import Iterator

import pydicom
from highdicom import ko
from pydicom.sr.codedict import codes

from dicom_node.domain.equipment import NODE_MANUFACTURER
from dicom_node.sr_writer.finish import equipment
from dicom_node.sr_writer.report import observer
from dicom_node.sr_writer.result_set import ResultSet

SERIES_NUMBER = 9930


def build_key_images(results: ResultSet) -> Iterator[ko.KeyObjectSelectionDocument]:
    """Write one selection; none if no image shows a finding.

    The library names each image `Source`, which the template forbids: the name is taken out.

    Source: TID 2010; PS3.3 A.35.4.
    """
    request = results.request
    frames: dict[str, list[int]] = {}
    for reference in results.content.key_images:
        numbers = frames.setdefault(reference.sop_instance_uid, [])
        numbers += [] if reference.frame_number is None else [reference.frame_number]
    if not frames:
        return
    headers = {str(h.SOPInstanceUID): h for h in results.source.headers}
    selected = [headers[uid] for uid in frames]
    model = f"{request.result.model.title} {request.result.model.version}"
    content = ko.KeyObjectSelection(
        codes.DCM.OfInterest, selected, observer_device_context=observer(results), description=results.words("key_images", model=model)
    )
    document = ko.KeyObjectSelectionDocument(
        selected,
        content,
        request.uid("series", "KO"),
        SERIES_NUMBER,
        request.uid("instance", "KO", "1"),
        1,
        NODE_MANUFACTURER,
        contributing_equipment=[equipment(request)],
    )
    for item in document.ContentSequence:
        if item.ValueType == "IMAGE":
            _correct(item, frames)
    yield document


def _correct(item: pydicom.Dataset, frames: dict[str, list[int]]) -> None:
    del item.ConceptNameCodeSequence
    reference = item.ReferencedSOPSequence[0]
    numbers = frames[str(reference.ReferencedSOPInstanceUID)]
    if numbers:
        reference.ReferencedFrameNumber = numbers if len(numbers) > 1 else numbers[0]
