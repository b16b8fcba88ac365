"""The patient gate: nothing leaves for another patient than it came from."""

from __future__ import annotations

from collections.abc import Sequence

import pydicom

from dicom_node.errors import PatientMismatchError

_IDENTITY = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID")
_MUST_AGREE_IN_RESULTS = ("PatientID", "IssuerOfPatientID", "StudyInstanceUID", "AccessionNumber")


def check_one_patient(source: Sequence[pydicom.Dataset]) -> None:
    """Refuse a series whose instances name different patients or studies.

    Raises:
        PatientMismatchError: naming the elements that differ, not their values.
    """
    differing = [keyword for keyword in _IDENTITY if len({_text(d, keyword) for d in source}) > 1]
    if differing:
        raise PatientMismatchError(
            f"instances of one series differ in {', '.join(differing)}", hint="correct the study at the PACS and send it again"
        )


def check_results(source: pydicom.Dataset, results: Sequence[pydicom.Dataset]) -> None:
    """Refuse results that do not name the patient and study of their source.

    Raises:
        PatientMismatchError: naming the object and the element.
    """
    for data_set in results:
        for keyword in _MUST_AGREE_IN_RESULTS:
            if _text(source, keyword) != _text(data_set, keyword):
                raise PatientMismatchError(f"{data_set.get('Modality', 'result')} differs from its source in {keyword}")


def _text(data_set: pydicom.Dataset, keyword: str) -> str:
    return str(data_set.get(keyword) or "").strip(" \0")
