"""How far two runs of one model agree: figures, and what of them lies outside a tolerance. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an engine may differ from the fp32 reference.

    Attributes:
        dice: Least Dice of each segment, 0 to 1.
        argmax: Least share of places where the strongest channel is the same, 0 to 1; 0 for networks whose channels are no classes.
        max_error: Largest error of an output or map, as a share of the largest magnitude that the reference gives there; and of a score.
        measurements: Largest relative error of a measurement.
        iou: Least overlap of the regions of two findings that are taken for the same one, 0 to 1.
    """

    dice: float = 0.995
    argmax: float = 0.999
    max_error: float = 0.01
    measurements: float = 0.01
    iou: float = 0.9


@dataclass(frozen=True, slots=True)
class ArrayAgreement:
    """One output of a network, or one parametric map.

    Attributes:
        absolute_error: Largest difference of two values; infinite if anything is not finite; 0 for label maps, whose numbers are names.
        largest: Largest magnitude in the reference.
        same_class: Share of places with the same strongest channel, or label; None where there is neither.
        not_finite: Values that are NaN or infinite, in both together.
    """

    name: str
    absolute_error: float
    largest: float
    same_class: float | None = None
    not_finite: int = 0

    @property
    def relative_error(self) -> float:
        """The absolute error as a share of the largest magnitude of this reference."""
        return share(self.absolute_error, self.largest)

    def outside(self, tolerance: Tolerance, largest: float) -> Iterator[str]:
        """Say what fails, with what was wanted and seen; `largest` is the reference's largest magnitude over all cases."""
        if self.not_finite:
            yield f"{self.name}: {self.not_finite} values are not finite, none may be"
            return
        error = share(self.absolute_error, largest)
        if error > tolerance.max_error:
            yield (
                f"{self.name}: largest error {self.absolute_error:.3g} is {error:.3g} of the reference's largest magnitude {largest:.3g}, "
                f"{tolerance.max_error:g} is allowed"
            )
        if self.same_class is not None and self.same_class < tolerance.argmax:
            yield f"{self.name}: {self.same_class:.6f} of the places have the same class, {tolerance.argmax:g} is wanted"


@dataclass(frozen=True, slots=True)
class MaskAgreement:
    """One segment, or one highlight.

    Attributes:
        dice: 1 if both are empty.
        same: Share of voxels that are in both or in neither.
    """

    name: str
    dice: float
    same: float

    def outside(self, tolerance: Tolerance) -> Iterator[str]:
        """Say what fails."""
        if not self.dice >= tolerance.dice:
            yield f"{self.name}: Dice {self.dice:.5f}, {tolerance.dice:g} is wanted"


@dataclass(frozen=True, slots=True)
class MeasurementAgreement:
    """One measurement, in its unit."""

    name: str
    reference: float
    seen: float

    @property
    def absolute_error(self) -> float:
        """Difference, infinite if one of the two is not finite."""
        finite = math.isfinite(self.reference) and math.isfinite(self.seen)
        return abs(self.seen - self.reference) if finite else math.inf

    @property
    def relative_error(self) -> float:
        """Difference as a share of the reference."""
        return share(self.absolute_error, abs(self.reference))

    def outside(self, tolerance: Tolerance) -> Iterator[str]:
        """Say what fails."""
        if not self.relative_error <= tolerance.measurements:
            yield (
                f"{self.name}: {self.seen:.6g} instead of {self.reference:.6g}, relative error {self.relative_error:.3g}, "
                f"{tolerance.measurements:g} is allowed"
            )


@dataclass(frozen=True, slots=True)
class FindingAgreement:
    """Two findings that are taken for the same one.

    Attributes:
        iou: Overlap of their regions; 1 where neither has one.
        score_error: Difference of the scores; 0 where neither has one, infinite where one has.
    """

    name: str
    iou: float
    score_error: float

    def outside(self, tolerance: Tolerance) -> Iterator[str]:
        """Say what fails."""
        if not self.iou >= tolerance.iou:
            yield f"{self.name}: the regions overlap by {self.iou:.4f} (IoU), {tolerance.iou:g} is wanted"
        if not self.score_error <= tolerance.max_error:
            yield f"{self.name}: the scores differ by {self.score_error:.3g}, {tolerance.max_error:g} is allowed"


@dataclass(frozen=True, slots=True)
class EvaluationAgreement:
    """One qualitative answer; the answers are code values."""

    name: str
    reference: str
    seen: str
    score_error: float

    def outside(self, tolerance: Tolerance) -> Iterator[str]:
        """Say what fails."""
        if self.reference != self.seen:
            yield f"{self.name}: {self.seen} instead of {self.reference}"
        if not self.score_error <= tolerance.max_error:
            yield f"{self.name}: the scores differ by {self.score_error:.3g}, {tolerance.max_error:g} is allowed"


@dataclass(frozen=True, slots=True)
class Agreement:
    """All figures of one comparison.

    Attributes:
        faults: What could not be compared at all, such as an output that one of the two does not have; never within a tolerance.
    """

    outputs: tuple[ArrayAgreement, ...] = ()
    masks: tuple[MaskAgreement, ...] = ()
    measurements: tuple[MeasurementAgreement, ...] = ()
    findings: tuple[FindingAgreement, ...] = ()
    evaluations: tuple[EvaluationAgreement, ...] = ()
    maps: tuple[ArrayAgreement, ...] = ()
    faults: tuple[str, ...] = ()

    def __add__(self, other: Agreement) -> Agreement:
        """Put two together, such as that of the outputs and that of the results."""
        return Agreement(
            self.outputs + other.outputs,
            self.masks + other.masks,
            self.measurements + other.measurements,
            self.findings + other.findings,
            self.evaluations + other.evaluations,
            self.maps + other.maps,
            self.faults + other.faults,
        )

    def within(self, tolerance: Tolerance, largest: Mapping[str, float] | None = None) -> tuple[str, ...]:
        """List what is outside a tolerance.

        Args:
            tolerance: What is allowed.
            largest: Largest magnitude of the reference by name of output or map, over all cases that belong together; where a name
                is missing, that of this comparison. An output that is near zero in one case is so judged by what it reaches in others.

        Returns:
            One sentence each, with what was wanted and seen; empty if the two agree.
        """
        failed = list(self.faults)
        for array in self.outputs + self.maps:
            failed += array.outside(tolerance, max(array.largest, (largest or {}).get(array.name, 0.0)))
        for part in self.masks + self.measurements + self.findings + self.evaluations:
            failed += part.outside(tolerance)
        return tuple(failed)


def share(part: float, whole: float) -> float:
    """Divide; 0 of nothing is 0, something of nothing is infinite."""
    if part == 0:
        return 0.0
    return part / whole if whole > 0 else math.inf
