"""Reading a report back: what a second reader finds in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pydicom
from highdicom import sr
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage, EnhancedSRStorage

from dicom_node.errors import ResultError

_CLASSES: dict[str, type[sr.Comprehensive3DSR] | type[sr.ComprehensiveSR] | type[sr.EnhancedSR]] = {
    Comprehensive3DSRStorage: sr.Comprehensive3DSR,
    ComprehensiveSRStorage: sr.ComprehensiveSR,
    EnhancedSRStorage: sr.EnhancedSR,
}
_NO_EVALUATIONS = ("121071", "276214006", "363698007", "112039", "121055", "370129005")


@dataclass(frozen=True, slots=True)
class ReadMeasurement:
    """One number of a report.

    Attributes:
        code_value: Code Value of its concept.
        unit: UCUM code.
        tracking_id: Tracking Identifier of its group.
    """

    code_value: str
    meaning: str
    value: float
    unit: str
    tracking_id: str = ""


@dataclass(frozen=True, slots=True)
class ReadEvaluation:
    """One qualitative answer of a report, as Code Values."""

    code_value: str
    answer: str
    meaning: str
    tracking_id: str


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What a TID 1500 report says."""

    measurements: tuple[ReadMeasurement, ...]
    comments: tuple[str, ...]
    evaluations: tuple[ReadEvaluation, ...] = ()


def read_measurements(data_set: pydicom.Dataset) -> ReadReport:
    """Read the measurement groups of a TID 1500 report, in their order.

    Raises:
        ResultError: it is none.
    """
    try:
        if data_set.ContentTemplateSequence[0].TemplateIdentifier != "1500":
            raise ResultError("no TID 1500 report: another template")
        _CLASSES[data_set.SOPClassUID].from_dataset(data_set)  # refuses what is no valid tree
        groups = list(_groups(data_set))
        measurements = [m for group in groups for m in _numbers(group)]
        comments = tuple(
            str(item.TextValue) for g in groups for item in g.ContentSequence if item.ValueType == "TEXT" and _name(item) == "121106"
        )
        evaluations = [e for group in groups for e in _evaluations(group)]
    except (ValueError, AttributeError, TypeError, KeyError, IndexError) as error:
        raise ResultError(f"no TID 1500 report: {type(error).__name__}") from error
    return ReadReport(tuple(measurements), comments, tuple(evaluations))


def _groups(data_set: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    for container in data_set.ContentSequence:
        if container.ValueType == "CONTAINER" and _name(container) == "126010":
            yield from (item for item in container.ContentSequence if _name(item) == "125007")


def _numbers(group: pydicom.Dataset) -> Iterator[ReadMeasurement]:
    for item in group.ContentSequence:
        if item.ValueType == "NUM" and item.MeasuredValueSequence:
            measured = item.MeasuredValueSequence[0]
            unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
            meaning = item.ConceptNameCodeSequence[0].CodeMeaning
            yield ReadMeasurement(_name(item), meaning, float(measured.NumericValue), unit, _tracking_id(group))


def _evaluations(group: pydicom.Dataset) -> Iterator[ReadEvaluation]:
    for item in group.ContentSequence:
        if item.ValueType == "CODE" and _name(item) not in _NO_EVALUATIONS:
            answer = item.ConceptCodeSequence[0]
            yield ReadEvaluation(_name(item), answer.CodeValue, answer.CodeMeaning, _tracking_id(group))


def _tracking_id(group: pydicom.Dataset) -> str:
    return next((str(item.TextValue) for item in group.ContentSequence if _name(item) == "112039"), "")


def _name(item: pydicom.Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)
