"""What the reference gave on a case, beside what the bundle says must come out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.results import InferenceResult
from dicom_node.inference.gate.agreement import Agreement, EvaluationAgreement, MaskAgreement, MeasurementAgreement
from dicom_node.inference.gate.compare import dice
from dicom_node.inference.gate.declaration import Expectations, Expected
from dicom_node.inference.gate.running import Run

Mask = NDArray[np.bool_]


class Met:
    """Collects the figures of one case and what of them was not as expected."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.agreement = Agreement()
        self.failed: list[str] = []

    def number(self, name: str, expected: Expected, seen: float | None, unit: str = "") -> None:
        """Compare one number."""
        if seen is None:
            self.failed.append(f"{name}: it is missing, {expected.value:g} {unit} is expected".replace("  ", " "))
            return
        self.agreement += Agreement(measurements=(MeasurementAgreement(name, expected.value, seen),))
        if not (math.isfinite(seen) and abs(seen - expected.value) <= expected.within):
            self.failed.append(f"{name}: {seen:.6g}, {expected.value:g} within {expected.within:g} {unit} is expected".rstrip())


def check_expectations(run: Run, expected: Expectations, voxel_ml: float, mask_of: Callable[[str], Mask]) -> tuple[Agreement, tuple[str, ...]]:
    """Compare what came with what must come.

    Args:
        run: Of the reference.
        expected: As the bundle says.
        voxel_ml: Volume of a voxel of the case's first input, mL; 0 if it is no volume.
        mask_of: Reads a mask of the bundle by name.

    Returns:
        The figures, and what was not as expected, one sentence each.
    """
    met = Met()
    if run.failure:
        return met.agreement, (f"the reference fails: {run.failure}",)
    if expected.not_analysed:
        return met.agreement, () if run.not_analysed else ("the input was analysed, a refusal is expected",)
    if run.result is None or run.not_analysed:
        return met.agreement, (f"the input was not analysed: {run.not_analysed}",)
    _measurements(met, run.result, expected)
    _segments(met, run.result, expected, voxel_ml, mask_of)
    _findings(met, run.result, expected)
    _evaluations(met, run.result, expected)
    return met.agreement, (*met.failed, *_not_finite(run.result))


def _measurements(met: Met, result: InferenceResult, expected: Expectations) -> None:
    seen = {m.id: m for m in result.measurements}
    for name, wanted in expected.measurements.items():
        unit = seen[name].unit.value if name in seen else ""
        met.number(f"measurement {name}", wanted, seen[name].value if name in seen else None, unit)


def _segments(met: Met, result: InferenceResult, expected: Expectations, voxel_ml: float, mask_of: Callable[[str], Mask]) -> None:
    seen = {s.id: s for s in result.segments}
    for name, wanted in expected.segments.items():
        if name not in seen:
            met.failed.append(f"segment {name}: it is missing")
            continue
        mask = seen[name].mask
        if wanted.volume_ml is not None:
            met.number(f"segment {name}", wanted.volume_ml, float(np.count_nonzero(mask)) * voxel_ml, "mL")
        if wanted.mask:
            _mask(met, f"segment {name}", mask, mask_of(wanted.mask), wanted.dice)


def _mask(met: Met, name: str, seen: Mask, wanted: Mask, least: float) -> None:
    if seen.shape != wanted.shape:
        met.failed.append(f"{name}: shape is {seen.shape}, the expected mask has {wanted.shape}")
        return
    agreement = MaskAgreement(name, dice(wanted, seen), float(np.mean(wanted == seen)))
    met.agreement += Agreement(masks=(agreement,))
    if agreement.dice < least:
        met.failed.append(f"{name}: Dice {agreement.dice:.5f} with the expected mask, {least:g} is expected")


def _findings(met: Met, result: InferenceResult, expected: Expectations) -> None:
    for name, wanted in expected.findings.items():
        found = sorted((f for f in result.findings if f.id == name), key=lambda f: f.number)
        if not wanted.least <= len(found) <= wanted.most:
            met.failed.append(f"finding {name}: there are {len(found)}, {wanted.least} to {wanted.most} are expected")
        elif wanted.score is not None and found:
            met.number(f"score of the first finding {name}", wanted.score, found[0].score)


def _evaluations(met: Met, result: InferenceResult, expected: Expectations) -> None:
    seen = {e.id: e.value.value for e in result.evaluations}
    for name, wanted in expected.evaluations.items():
        answer = seen.get(name, "nothing")
        met.agreement += Agreement(evaluations=(EvaluationAgreement(f"evaluation {name}", wanted, answer, 0.0),))
        if answer != wanted:
            met.failed.append(f"evaluation {name}: {answer}, {wanted} is expected")


def _not_finite(result: InferenceResult) -> Iterator[str]:
    yield from (f"measurement {m.id}: {m.value} is no number" for m in result.measurements if not math.isfinite(m.value))
    yield from (f"map {m.id}: it holds values that are not finite" for m in result.maps if not np.isfinite(m.values).all())
