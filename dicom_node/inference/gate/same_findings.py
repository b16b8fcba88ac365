"""Which findings of two results are the same one. Pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from dicom_node.domain.results import BoxRegion, Finding, ImageRegion
from dicom_node.inference.gate.agreement import FindingAgreement

_SAME_FROM = 0.5
"""Least overlap at which two regions can be the same finding; what a tolerance wants of them is judged afterwards."""
_POINT_PX = 10.0
"""Side of the square that stands for a point, pixels: one pixel apart along a row they overlap by 0.82."""

Region = ImageRegion | BoxRegion | None
Kind = tuple[str, str, str]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Pair:
    """The same finding in two results."""

    reference: Finding
    seen: Finding
    agreement: FindingAgreement


def paired(reference: Sequence[Finding], seen: Sequence[Finding]) -> tuple[Pair, ...]:
    """Pair the findings of the same output and code so that their overlaps sum up to the most; each has one partner at most."""
    groups: dict[Kind, tuple[list[Finding], list[Finding]]] = defaultdict(lambda: ([], []))
    for side, findings in enumerate((reference, seen)):
        for finding in findings:
            groups[_kind(finding)][side].append(finding)
    pairs = []
    for ours, theirs in groups.values():
        if not (ours and theirs):
            continue
        overlaps = np.array([[overlap(a.region, b.region) for b in theirs] for a in ours])
        for i, j in zip(*linear_sum_assignment(overlaps, maximize=True), strict=True):
            if overlaps[i, j] >= _SAME_FROM:
                pairs.append(_pair(ours[i], theirs[j], float(overlaps[i, j])))
    return tuple(pairs)


def unpaired(reference: Sequence[Finding], seen: Sequence[Finding], pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Say which outputs have findings that only one of the two made, and how many."""
    lost = Counter(f.id for f in reference) - Counter(p.reference.id for p in pairs)
    more = Counter(f.id for f in seen) - Counter(p.seen.id for p in pairs)
    return (
        *(f"finding {name}: {count} of the reference's findings are missing" for name, count in lost.items()),
        *(f"finding {name}: {count} findings are not in the reference" for name, count in more.items()),
    )


def overlap(a: Region, b: Region) -> float:
    """Intersection over union, 0 to 1, of the boxes around two regions; 0 on different images; 1 if both are the whole image."""
    if a is None or b is None:
        return 1.0 if a is b else 0.0
    if isinstance(a, BoxRegion) and isinstance(b, BoxRegion):
        return _overlap_of_boxes(a, b)
    if not (isinstance(a, ImageRegion) and isinstance(b, ImageRegion)):
        return 0.0
    if (a.sop_instance_uid, a.frame_number, a.kind) != (b.sop_instance_uid, b.frame_number, b.kind):
        return 0.0
    first, second = _around(a.points_px), _around(b.points_px)
    return _ratio(_common(first, second), _area(first), _area(second))


def score_error(a: float | None, b: float | None) -> float:
    """Difference of two scores: 0 where neither gives one, infinite where only one does or one is not finite."""
    if a is None or b is None:
        return 0.0 if a is b else math.inf
    return abs(a - b) if math.isfinite(a) and math.isfinite(b) else math.inf


def _kind(finding: Finding) -> Kind:
    return finding.id, finding.concept.value, finding.concept.scheme


def _pair(a: Finding, b: Finding, iou: float) -> Pair:
    return Pair(a, b, FindingAgreement(f"finding {a.id} {a.number}", iou, score_error(a.score, b.score)))


def _overlap_of_boxes(a: BoxRegion, b: BoxRegion) -> float:
    if a.frame_of_reference_uid != b.frame_of_reference_uid:
        return 0.0
    first, second = _around(a.outline_px), _around(b.outline_px)
    slices = max(0, min(a.slice_range[1], b.slice_range[1]) - max(a.slice_range[0], b.slice_range[0]) + 1)
    return _ratio(_common(first, second) * slices, _area(first) * _thickness(a), _area(second) * _thickness(b))


def _thickness(box: BoxRegion) -> int:
    return box.slice_range[1] - box.slice_range[0] + 1


def _around(points: Sequence[tuple[float, float]]) -> Box:
    """The box around points, at least as wide and high as a point's square."""
    low, high = np.min(points, axis=0), np.max(points, axis=0)
    grow = np.maximum(0.0, _POINT_PX - (high - low)) / 2 if np.any(high == low) else np.zeros(2)
    (left, top), (right, bottom) = low - grow, high + grow
    return float(left), float(top), float(right), float(bottom)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _common(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _ratio(common: float, first: float, second: float) -> float:
    union = first + second - common
    return common / union if union > 0 and math.isfinite(union) else 0.0
