"""What the reference gave on a case, beside what the bundle says must come out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from dicom_node.domain.frames import Images
from dicom_node.domain.results import BoxRegion, Finding, ImageRegion, InferenceResult
from dicom_node.domain.volume import Volume
from dicom_node.inference.bundle.verification_schema import Expectation, ExpectedFinding
from dicom_node.inference.gate.agreement import Agreement, EvaluationAgreement, MaskAgreement, MeasurementAgreement
from dicom_node.inference.gate.compare import dice
from dicom_node.inference.gate.running import Run

Mask = NDArray[np.bool_]
MaskReader = Callable[[str], Mask]


class _Met:
    """Collects the figures of one case, and what was not as expected."""

    def __init__(self) -> None:
        self.agreement = Agreement()
        self.failed: list[str] = []

    def number(self, name: str, wanted: float, within: float, seen: float, unit: str) -> None:
        self.agreement += Agreement(measurements=(MeasurementAgreement(name, wanted, seen),))
        if not (math.isfinite(seen) and abs(seen - wanted) <= within):
            self.failed.append(f"{name}: {seen:.6g} {unit}, {wanted:g} within {within:g} is expected")


def check_expectation(run: Run, wanted: Expectation, images: Images, read_mask: MaskReader) -> tuple[Agreement, tuple[str, ...]]:
    """Compare what came with what must come.

    Args:
        run: Of the reference.
        wanted: As the bundle says.
        images: Of the case's first input.
        read_mask: Reads a mask of the bundle by its name.

    Returns:
        The figures, and what was not as expected, one sentence each.

    Raises:
        ModelError: a mask of the bundle cannot be read.
    """
    if run.failure:
        return Agreement(), (f"the reference fails: {run.failure}",)
    if wanted.not_analysed:
        return Agreement(), tuple(_refusal(run, wanted.not_analysed))
    if run.result is None or run.not_analysed:
        return Agreement(), (f"the input is not analysed: {run.not_analysed}",)
    met = _Met()
    _measurements(met, run.result, wanted)
    _segments(met, run.result, wanted, images, read_mask)
    _evaluations(met, run.result, wanted)
    met.failed += _findings(run.result.findings, wanted.findings)
    if wanted.warning and not any(wanted.warning in warning for warning in run.result.warnings):
        met.failed.append(f"no warning holds {wanted.warning!r}; there are {len(run.result.warnings)}")
    return met.agreement, (*met.failed, *_not_finite(run.result))


def _refusal(run: Run, text: str) -> Iterator[str]:
    if not run.not_analysed:
        yield f"the input is analysed, a refusal with {text!r} is expected"
    elif text not in run.not_analysed:
        yield f"the input is not analysed because {run.not_analysed!r}, a reason with {text!r} is expected"


def _measurements(met: _Met, result: InferenceResult, wanted: Expectation) -> None:
    seen = {m.id: m for m in result.measurements}
    for name, number in wanted.measurements.items():
        if name in seen:
            met.number(f"measurement {name}", number.value, number.within, seen[name].value, seen[name].unit.value)
        else:
            met.failed.append(f"measurement {name}: it does not come out, {number.value:g} is expected")


def _segments(met: _Met, result: InferenceResult, wanted: Expectation, images: Images, read_mask: MaskReader) -> None:
    seen = {s.id: s.mask for s in result.segments}
    for name, segment in wanted.segments.items():
        if name not in seen:
            met.failed.append(f"segment {name}: it does not come out")
            continue
        if segment.volume_ml is not None and segment.within is not None:
            voxel_ml = images.voxel_ml if isinstance(images, Volume) else math.nan
            met.number(f"segment {name}", segment.volume_ml, segment.within, float(np.count_nonzero(seen[name])) * voxel_ml, "mL")
        if segment.mask and segment.dice is not None:
            _mask(met, f"segment {name}", (seen[name], read_mask(segment.mask)), segment.dice)


def _mask(met: _Met, name: str, masks: tuple[Mask, Mask], least: float) -> None:
    seen, wanted = masks
    if seen.shape != wanted.shape:
        met.failed.append(f"{name}: shape is {seen.shape}, the expected mask has {wanted.shape}")
        return
    agreement = MaskAgreement(name, dice(wanted, seen), float(np.mean(wanted == seen)))
    met.agreement += Agreement(masks=(agreement,))
    if agreement.dice < least:
        met.failed.append(f"{name}: Dice {agreement.dice:.5f} with the expected mask, {least:g} is expected")


def _evaluations(met: _Met, result: InferenceResult, wanted: Expectation) -> None:
    seen = {e.id: e.value.value for e in result.evaluations}
    for name, answer in wanted.evaluations.items():
        met.agreement += Agreement(evaluations=(EvaluationAgreement(f"evaluation {name}", answer, seen.get(name, "nothing"), 0.0),))
        if seen.get(name) != answer:
            met.failed.append(f"evaluation {name}: {seen.get(name, 'nothing')}, {answer} is expected")


def _findings(found: Sequence[Finding], wanted: Sequence[ExpectedFinding] | None) -> Iterator[str]:
    """Each expected finding is one that was found; of the outputs that are named there are no others, with an empty list none at all."""
    if wanted is None:
        return
    for name in dict.fromkeys(w.id for w in wanted) or dict.fromkeys(f.id for f in found):
        ours, theirs = [w for w in wanted if w.id == name], [f for f in found if f.id == name]
        if len(ours) != len(theirs):
            yield f"finding {name}: there are {len(theirs)}, {len(ours)} are expected"
            continue
        fits = np.array([[_is(w, f) for f in theirs] for w in ours])
        for i, j in zip(*linear_sum_assignment(fits, maximize=True), strict=True):
            if not fits[i, j]:
                yield f"finding {name}: none is {_described(ours[i])}"


def _is(wanted: ExpectedFinding, finding: Finding) -> bool:
    if wanted.score is not None and (finding.score is None or not finding.score >= wanted.score):
        return False
    center = wanted.center_mm or wanted.center_px
    if center is None or wanted.within is None:
        return True
    seen = _center(finding, millimetres=wanted.center_mm is not None)
    return seen is not None and math.dist(center, seen) <= wanted.within


def _center(finding: Finding, *, millimetres: bool) -> tuple[float, ...] | None:
    region = finding.region
    if millimetres:
        return tuple(np.mean(region.corners_lps_mm, axis=0)) if isinstance(region, BoxRegion) else None
    if not isinstance(region, ImageRegion):
        return None
    return tuple((np.min(region.points_px, axis=0) + np.max(region.points_px, axis=0)) / 2)


def _described(wanted: ExpectedFinding) -> str:
    center, unit = (wanted.center_mm, "mm") if wanted.center_mm is not None else (wanted.center_px, "px")
    score = "" if wanted.score is None else f"with a score of {wanted.score:g} or more"
    place = "" if center is None else f"within {wanted.within:g} {unit} of ({', '.join(f'{c:g}' for c in center)})"
    return " ".join(part for part in (score, place) if part) or "left over"


def _not_finite(result: InferenceResult) -> Iterator[str]:
    yield from (f"measurement {m.id}: {m.value} is no number" for m in result.measurements if not math.isfinite(m.value))
    yield from (f"map {m.id}: it holds values that are not finite" for m in result.maps if not np.isfinite(m.values).all())
