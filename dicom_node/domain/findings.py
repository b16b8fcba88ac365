"""What a model found, as plain values: for rules that follow a result, and for the record of the job."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dicom_node.domain.results import Highlight, InferenceResult, Segment

ANALYSED, NOT_ANALYSED = "analysed", "not-analysed"
"""`outcome` of a result: the images were analysed, or its report says why they were not."""


def findings_from_result(result: InferenceResult, voxel_ml: float | None) -> dict[str, Any]:
    """Write a result as JSON has it: names from the model's manifest and figures, nothing of the patient.

    A finding is present if a voxel of its segment or highlight is marked, or if it was detected; where two have one label, if any of them
    is, with the higher confidence. A measurement
    that is no number (NaN, infinite) is left out, so that no rule is decided on it.

    Args:
        result: What the model found; not modified.
        voxel_ml: Volume of one voxel, mL; None for images that are no volume, whose segments have none.

    Returns:
        `{"model", "version", "outcome": "analysed" | "not-analysed", "findings": {label: {"present"}},
        "measurements": {id: {"value", "unit"}}, "segments": {id: {"volume_ml"}}}`;
        `unit` is a UCUM code. Models that grade their findings add `confidence`, 0 to 1; none does by drawing alone.
    """
    findings: dict[str, Any] = {}
    regions: tuple[Segment | Highlight, ...] = (*result.segments, *result.highlights)
    for region in regions:
        earlier = findings.get(region.label, {"present": False})
        findings[region.label] = {"present": earlier["present"] or bool(region.mask.any())}
    for found in result.findings:
        earlier = findings.get(found.label, {})
        scores = [score for score in (earlier.get("confidence"), found.score) if score is not None]
        findings[found.label] = {"present": True, **({"confidence": float(max(scores))} if scores else {})}
    return {
        "model": result.model.name,
        "version": result.model.version,
        "outcome": NOT_ANALYSED if result.not_analysed else ANALYSED,
        "findings": findings,
        "measurements": {m.id: {"value": float(m.value), "unit": m.unit.value} for m in result.measurements if math.isfinite(m.value)},
        "segments": {} if voxel_ml is None else {s.id: {"volume_ml": float(np.count_nonzero(s.mask) * voxel_ml)} for s in result.segments},
    }
