"""The patient gate: nothing leaves for another patient than it came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pydicom

from dicom_node.errors import PatientMismatchError

_IDENTITY = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID")
_IDENTITY_ACROSS_STUDIES = ("PatientID", "IssuerOfPatientID")
_MUST_AGREE_IN_RESULTS = ("PatientID", "IssuerOfPatientID", "StudyInstanceUID", "AccessionNumber")
_INSTANCE, _FRAME_OF_REFERENCE = 0x00081155, 0x30060024


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


def check_other_input(name: str, source: pydicom.Dataset, other: Sequence[pydicom.Dataset], *, prior: bool) -> None:
    """Refuse a further input of a run that does not belong to the patient of the first.

    One of the same study must agree in all that identifies patient and study. One of a prior study may have another name (people
    marry); its birth date must agree where both name one.

    Args:
        name: Of the input, for the message.
        source: An instance of the first input.
        other: The instances of the further one, one series.
        prior: It is of an earlier study.

    Raises:
        PatientMismatchError: naming the input and the elements that differ, not their values.
    """
    check_one_patient(other)
    keywords: tuple[str, ...] = _IDENTITY
    if prior:
        births = {_text(source, "PatientBirthDate"), _text(other[0], "PatientBirthDate")}
        keywords = (*_IDENTITY_ACROSS_STUDIES, *(() if "" in births else ("PatientBirthDate",)))
    if differing := [keyword for keyword in keywords if _text(source, keyword) != _text(other[0], keyword)]:
        raise PatientMismatchError(
            f"input {name} differs from the first input in {', '.join(differing)}", hint="correct the study at the PACS and send it again"
        )


def check_results(source: Sequence[pydicom.Dataset], results: Sequence[pydicom.Dataset], predecessors: Iterable[str] = ()) -> None:
    """Refuse results that do not name the patient and study of their source, or that refer to anything else.

    Args:
        source: The analysed instances.
        results: All objects of one run; they may refer to each other.
        predecessors: SOP Instance UIDs of earlier reports that they may name.

    Raises:
        PatientMismatchError: naming the object and the element.
    """
    allowed = {str(d.SOPInstanceUID) for d in (*source, *results)} | {str(source[0].StudyInstanceUID), *predecessors}  # a structure set's
    frames = {str(d.get("FrameOfReferenceUID") or "") for d in source}
    for data_set in results:
        name = data_set.get("Modality", "result")
        for keyword in _MUST_AGREE_IN_RESULTS:
            if _text(source[0], keyword) != _text(data_set, keyword):
                raise PatientMismatchError(f"{name} differs from its source in {keyword}")
        references: dict[int, set[str]] = {tag: set() for tag in (_INSTANCE, _FRAME_OF_REFERENCE)}
        _collect(data_set, references)
        if strangers := references[_INSTANCE] - allowed:
            raise PatientMismatchError(f"{name} refers to {len(strangers)} instances that are neither input nor result")
        placed = {*references[_FRAME_OF_REFERENCE], *_own_frame(data_set)}
        if not placed <= frames:
            raise PatientMismatchError(f"{name} lies in a frame of reference that none of the inputs has")


def _collect(data_set: pydicom.Dataset, found: dict[int, set[str]]) -> None:
    """Add the values of UID elements, by their tags, at every depth."""
    for held in data_set.elements():
        element = held if isinstance(held, pydicom.DataElement) else data_set[held.tag]
        if element.tag in found:
            found[element.tag].add(str(element.value))
        if element.VR == "SQ":
            for item in element.value:
                _collect(item, found)


def _own_frame(data_set: pydicom.Dataset) -> list[str]:
    frame = _text(data_set, "FrameOfReferenceUID")
    return [frame] if frame else []


def _text(data_set: pydicom.Dataset, keyword: str) -> str:
    return str(data_set.get(keyword) or "").strip(" \0")
