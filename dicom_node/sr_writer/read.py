"""Reading a report back: what a second reader finds in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pydicom
from highdicom import sr

from dicom_node.errors import ResultError


@dataclass(frozen=True, slots=True)
class ReadMeasurement:
    """One number of a report.

    Attributes:
        code_value: Code Value of its concept.
        unit: UCUM code.
    """

    code_value: str
    meaning: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What a TID 1500 report says."""

    measurements: tuple[ReadMeasurement, ...]
    comments: tuple[str, ...]


def read_measurements(data_set: pydicom.Dataset) -> ReadReport:
    """Read the measurement groups of a TID 1500 report.

    Raises:
        ResultError: it is none.
    """
    try:
        report = sr.Comprehensive3DSR.from_dataset(data_set, copy=False) if not isinstance(data_set, sr.Comprehensive3DSR) else data_set
        content = cast(sr.MeasurementReport, report.content)
        groups = [*content.get_volumetric_roi_measurement_groups(), *content.get_image_measurement_groups()]
        measurements = [m for group in groups for m in group.get_measurements()]
        found = tuple(ReadMeasurement(m.name.value, m.name.meaning, float(m.value), m.unit.value) for m in measurements)
        comments = tuple(
            str(item.TextValue) for group in groups for item in group[0].ContentSequence if item.ValueType == "TEXT" and _is_comment(item)
        )
    except (ValueError, AttributeError, TypeError, KeyError, IndexError) as error:
        raise ResultError(f"no TID 1500 report: {type(error).__name__}") from error
    return ReadReport(found, comments)


def _is_comment(item: pydicom.Dataset) -> bool:
    return bool(item.ConceptNameCodeSequence[0].CodeValue == "121106")
