"""What a series must not have before a model gets it: gaps, duplicate positions, mixed orientations.

Only instances with Image Position and Orientation (Patient) count, and only where a series has at least three of them. Multi-frame
objects (Number of Frames above 1) and 2-D projections are never at fault.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dicom_node.domain.rules import SeriesCheck
from dicom_node.routing.slices import SAME_POSITION_MM, Plane, Slices
from dicom_node.routing.wording import counted, listed, mm

FEWEST_SLICES = 3

MULTIPLE_TOLERANCE = 0.1
"""A distance counts as n slices when it is n times the usual one, give or take this part of the usual one."""

DUPLICATE_PART = 0.01
"""Slices nearer than this part of the usual distance lie at one position; as when a volume is stacked."""


def series_fault(slices: Slices, checks: Sequence[SeriesCheck]) -> str:
    """Say what is wrong with a series; empty if nothing is.

    The usual distance is the lower median of those between neighbouring positions. A gap is a distance of twice or more times the
    usual one (`MULTIPLE_TOLERANCE`); other uneven distances are not missing slices, and no fault here. With several orientations
    gaps and duplicates are looked for among the slices of the most frequent one.

    Args:
        slices: Geometry of the instances that the model would get.
        checks: What to look for; the first fault in the order orientation, duplicates, gaps is told.
    """
    if sum(len(plane.positions_mm) for plane in slices.planes) < FEWEST_SLICES:
        return ""
    if SeriesCheck.ORIENTATION in checks and len(slices.planes) > 1:
        counts = listed([str(len(plane.positions_mm)) for plane in slices.planes[:5]])
        return f"mixed orientations: {len(slices.planes)}, of {counts} slices"
    looks: tuple[tuple[SeriesCheck, Callable[[Plane], str]], ...] = ((SeriesCheck.DUPLICATES, _duplicates), (SeriesCheck.GAPS, _gaps))
    main = slices.planes[0]
    if len(main.positions_mm) < FEWEST_SLICES:
        return ""
    return next((fault for check, look in looks if check in checks and (fault := look(main))), "")


def _duplicates(plane: Plane) -> str:
    near = max(SAME_POSITION_MM, DUPLICATE_PART * (plane.usual_step_mm or 0))
    if min(plane.steps_mm) > near:
        return ""
    doubled = [low for low, step in zip(plane.positions_mm, plane.steps_mm, strict=False) if step <= near]
    return f"{counted(len(doubled), 'slice lies', 'slices lie')} where another does, first at {mm(doubled[0])} mm"


def _gaps(plane: Plane) -> str:
    usual = plane.usual_step_mm
    if usual is None or max(plane.steps_mm) < (2 - MULTIPLE_TOLERANCE) * usual:
        return ""
    gaps = []
    for low, step in zip(plane.positions_mm, plane.steps_mm, strict=False):
        times = round(step / usual)
        if times >= 2 and abs(step / usual - times) <= MULTIPLE_TOLERANCE:
            gaps.append((times - 1, low, low + step))
    if not gaps:
        return ""
    missing, low, high = gaps[0]
    more = f", {sum(g[0] for g in gaps[1:])} more at {counted(len(gaps) - 1, 'other place')}" if len(gaps) > 1 else ""
    return f"{counted(missing, 'slice')} missing between {mm(low)} and {mm(high)} mm{more}"
