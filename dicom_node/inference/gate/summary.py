"""A record in a few figures: the worst of each kind over all cases."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from dicom_node.inference.gate.agreement import Agreement
from dicom_node.inference.gate.records import CaseRecord, Record


@dataclass(frozen=True, slots=True)
class Figures:
    """The worst figures of a record; None where nothing of the kind was compared.

    Attributes:
        max_error: Largest error of an output or map as a share of the reference's largest magnitude in the same case.
        argmax: Least share of places with the same class.
        dice: Least Dice.
        measurements: Largest relative error.
        iou: Least overlap of two findings.
    """

    max_error: float | None
    argmax: float | None
    dice: float | None
    measurements: float | None
    iou: float | None


def figures(record: Record) -> Figures:
    """Take the worst figures."""
    whole = Agreement()
    for case in record.cases:
        whole += case.agreement
    return _worst(whole)


def case_figures(case: CaseRecord) -> Figures:
    """Take the worst figures of one case."""
    return _worst(case.agreement)


def finite(values: Figures) -> Mapping[str, float | str | None]:
    """Write figures as JSON can: what is infinite becomes text."""
    return {name: value if value is None or math.isfinite(value) else str(value) for name, value in asdict(values).items()}


def _worst(whole: Agreement) -> Figures:
    arrays = whole.outputs + whole.maps
    return Figures(
        max((a.relative_error for a in arrays), default=None),
        min((a.same_class for a in arrays if a.same_class is not None), default=None),
        min((m.dice for m in whole.masks), default=None),
        max((m.relative_error for m in whole.measurements), default=None),
        min((f.iou for f in whole.findings), default=None),
    )
