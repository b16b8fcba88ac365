"""Compare what two runs of one model gave: the arrays of their networks, and their results. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.results import Evaluation, InferenceResult, Measurement
from dicom_node.inference.gate.agreement import Agreement, ArrayAgreement, EvaluationAgreement, MaskAgreement, MeasurementAgreement
from dicom_node.inference.gate.same_findings import paired, score_error, unpaired
from dicom_node.inference.session import Tensors

Array = NDArray[np.generic]
Mask = NDArray[np.bool_]

_BLOCK = 1 << 20
"""Values that are compared at once: as float64 they take 8 MiB, whatever the size of the arrays."""


def compare_outputs(reference: Tensors, seen: Tensors) -> Agreement:
    """Compare the outputs of two networks, by name.

    Args:
        reference: Of the fp32 reference; any shape and numeric type. Not modified.
        seen: Of the other engine.
    """
    arrays, faults = _arrays("output", reference, seen)
    return Agreement(outputs=arrays, faults=faults)


def compare_results(reference: InferenceResult, seen: InferenceResult) -> Agreement:
    """Compare all that two runs found; warnings and parameters, which are text, are left out.

    Masks and maps have to have the same shape; findings are paired by output, code, image and overlap.
    """
    if bool(reference.not_analysed) != bool(seen.not_analysed):
        said = "; ".join(reference.not_analysed or seen.not_analysed)
        who = "the reference" if reference.not_analysed else "this engine"
        return Agreement(faults=(f"only {who} does not analyse the input: {said}",))
    masks, mask_faults = _masks(reference, seen)
    maps, map_faults = _arrays("map", {m.id: m.values for m in reference.maps}, {m.id: m.values for m in seen.maps})
    pairs = paired(reference.findings, seen.findings)
    figures, figure_faults = _measurements("measurement", reference.measurements, seen.measurements)
    answers, answer_faults = _evaluations("evaluation", reference.evaluations, seen.evaluations)
    own = Agreement(
        masks=masks,
        measurements=figures,
        findings=tuple(pair.agreement for pair in pairs),
        evaluations=answers,
        maps=maps,
        faults=mask_faults + map_faults + figure_faults + answer_faults + unpaired(reference.findings, seen.findings, pairs),
    )
    for pair in pairs:
        figures, figure_faults = _measurements(f"{pair.agreement.name}, measurement", pair.reference.measurements, pair.seen.measurements)
        answers, answer_faults = _evaluations(f"{pair.agreement.name}, evaluation", pair.reference.evaluations, pair.seen.evaluations)
        own += Agreement(measurements=figures, evaluations=answers, faults=figure_faults + answer_faults)
    return own


def dice(a: Mask, b: Mask) -> float:
    """Overlap of two masks of one shape, 0 to 1; 1 if both are empty."""
    both = np.count_nonzero(a) + np.count_nonzero(b)
    return float(2 * np.count_nonzero(a & b) / both) if both else 1.0


def _arrays(what: str, reference: Mapping[str, Array], seen: Mapping[str, Array]) -> tuple[tuple[ArrayAgreement, ...], tuple[str, ...]]:
    arrays, faults = [], list(_missing(what, reference, seen))
    for name in (n for n in reference if n in seen):
        a, b = np.asarray(reference[name]), np.asarray(seen[name])
        if a.shape != b.shape:
            faults.append(f"{what} {name}: shape is {b.shape}, the reference has {a.shape}")
        else:
            arrays.append(_array(name, a, b))
    return tuple(arrays), tuple(faults)


def _array(name: str, reference: Array, seen: Array) -> ArrayAgreement:
    if reference.dtype.kind in "iub" and reference.ndim > 1:  # a label map: its numbers are names
        same = float(np.mean(reference == seen)) if reference.size else 1.0
        return ArrayAgreement(name, 0.0, 0.0, same, _not_finite(seen))
    error, largest, bad = _errors(reference.reshape(-1), seen.reshape(-1))
    same_class = _same_class(reference, seen) if reference.ndim > 1 and reference.shape[1] > 1 and reference.size else None
    return ArrayAgreement(name, error, largest, same_class, bad)


def _errors(reference: Array, seen: Array) -> tuple[float, float, int]:
    """Largest difference, largest magnitude of the reference, and how many values are not finite."""
    error = largest = 0.0
    bad = 0
    for begin in range(0, len(reference), _BLOCK):
        a, b = (part[begin : begin + _BLOCK].astype(np.float64) for part in (reference, seen))
        finite = np.isfinite(a) & np.isfinite(b)
        bad += int(a.size + b.size - np.isfinite(a).sum() - np.isfinite(b).sum())
        if finite.any():
            error = max(error, float(np.abs(a[finite] - b[finite]).max()))
            largest = max(largest, float(np.abs(a[finite]).max()))
    return (math.inf if bad else error), largest, bad


def _not_finite(array: Array) -> int:
    return 0 if array.dtype.kind in "iub" else int(np.count_nonzero(~np.isfinite(array.astype(np.float64))))


def _same_class(reference: Array, seen: Array) -> float:
    """Share of places where `seen` is strongest in a channel that is strongest in the reference; of a tie there, any of its channels."""
    chosen = np.expand_dims(seen.argmax(axis=1), 1)
    return float(np.mean(np.take_along_axis(reference, chosen, axis=1)[:, 0] >= reference.max(axis=1)))


def _masks(reference: InferenceResult, seen: InferenceResult) -> tuple[tuple[MaskAgreement, ...], tuple[str, ...]]:
    a, b = _named_masks(reference), _named_masks(seen)
    agreements, faults = [], list(_missing("mask", a, b))
    for name in (n for n in a if n in b):
        if a[name].shape != b[name].shape:
            faults.append(f"{name}: shape is {b[name].shape}, the reference has {a[name].shape}")
        else:
            same = float(np.mean(a[name] == b[name])) if a[name].size else 1.0
            agreements.append(MaskAgreement(name, dice(a[name], b[name]), same))
    return tuple(agreements), tuple(faults)


def _named_masks(result: InferenceResult) -> dict[str, Mask]:
    return {f"segment {s.id}": s.mask for s in result.segments} | {f"highlight {h.label}": h.mask for h in result.highlights}


def _measurements(
    what: str, reference: Sequence[Measurement], seen: Sequence[Measurement]
) -> tuple[tuple[MeasurementAgreement, ...], tuple[str, ...]]:
    a, b = {m.id: m for m in reference}, {m.id: m for m in seen}
    units = tuple(
        f"{what} {n}: unit is {b[n].unit.value}, the reference has {m.unit.value}" for n, m in a.items() if n in b and b[n].unit != m.unit
    )
    both = tuple(MeasurementAgreement(f"{what} {n}", m.value, b[n].value) for n, m in a.items() if n in b)
    return both, (*_missing(what, a, b), *units)


def _evaluations(
    what: str, reference: Sequence[Evaluation], seen: Sequence[Evaluation]
) -> tuple[tuple[EvaluationAgreement, ...], tuple[str, ...]]:
    a, b = {e.id: e for e in reference}, {e.id: e for e in seen}
    both = tuple(
        EvaluationAgreement(f"{what} {n}", _code(e), _code(b[n]), score_error(e.score, b[n].score)) for n, e in a.items() if n in b
    )
    return both, tuple(_missing(what, a, b))


def _code(evaluation: Evaluation) -> str:
    return f"{evaluation.value.value} {evaluation.value.scheme}"


def _missing(what: str, reference: Iterable[str], seen: Iterable[str]) -> Iterable[str]:
    a, b = list(reference), list(seen)
    yield from (f"{what} {name}: this engine does not give it" for name in a if name not in b)
    yield from (f"{what} {name}: only this engine gives it" for name in b if name not in a)
