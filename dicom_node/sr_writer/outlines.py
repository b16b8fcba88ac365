"""Masks to closed lines, and lines to places in the patient.

Image coordinates are (column, row); (0, 0) is the top left corner of the top left pixel. Source: PS3.3 C.18.6.1.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.volume import Volume

Points = NDArray[np.float64]
"""Shape (point, 2), columns and rows in pixels, or (point, 3), millimetres."""

_MOST_POINTS = 2000
"""Of one line: a VR with a 16 bit length holds 4096 pairs of eight digits in Contour Data, twice as many in Graphic Data."""


def mask_outlines(mask: NDArray[np.bool_]) -> list[Points]:
    """Trace the boundaries of a mask along the edges of its pixels; holes are lines of their own.

    Args:
        mask: Shape (row, column).

    Returns:
        Closed lines, first point repeated, longest first; inside lies on the right of each step. Filled by the even-odd rule they
        give back the mask; a line of more than 2,000 corners is thinned to keep within half a pixel.
    """
    following = _steps(mask)
    lines = []
    while following:
        start = next(iter(following))
        lines.append(_thinned(_walk(following, start)))
    return sorted(lines, key=len, reverse=True)


def outline_in_space(volume: Volume, slice_index: float, points_px: Points) -> Points:
    """Place a line of one slice in the patient.

    Args:
        volume: The slice's volume.
        slice_index: From 0.
        points_px: Shape (point, 2), (column, row), corner of the first pixel at (0, 0).

    Returns:
        Shape (point, 3), millimetres, LPS.
    """
    columns, rows = points_px[:, 0] - 0.5, points_px[:, 1] - 0.5
    indices = np.stack([np.full(len(points_px), slice_index), rows, columns, np.ones(len(points_px))])
    placed: Points = (volume.affine_lps_mm @ indices)[:3].T
    return placed


def closed(points_px: Points) -> Points:
    """Repeat the first point at the end if it is not there yet."""
    return points_px if np.array_equal(points_px[0], points_px[-1]) else np.vstack([points_px, points_px[:1]])


def _steps(mask: NDArray[np.bool_]) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Boundary edges as steps between pixel corners (column, row), the mask on their right."""
    padded = np.pad(mask, 1)
    following: dict[tuple[int, int], list[tuple[int, int]]] = {}

    def add(found: NDArray[np.bool_], start: tuple[int, int], end: tuple[int, int]) -> None:
        for row, column in np.argwhere(found).tolist():
            following.setdefault((column + start[0], row + start[1]), []).append((column + end[0], row + end[1]))

    add(mask & ~padded[:-2, 1:-1], (0, 0), (1, 0))  # upper edge, to the right
    add(mask & ~padded[1:-1, 2:], (1, 0), (1, 1))  # right edge, down
    add(mask & ~padded[2:, 1:-1], (1, 1), (0, 1))  # lower edge, to the left
    add(mask & ~padded[1:-1, :-2], (0, 1), (0, 0))  # left edge, up
    return following


def _walk(following: dict[tuple[int, int], list[tuple[int, int]]], start: tuple[int, int]) -> Points:
    corners, here, direction = [start], start, (0, 0)
    while True:
        steps = following[here]
        # where two pixels touch at a corner only, turning right keeps to the pixel at hand
        step = min(steps, key=lambda to: -_turn(direction, (to[0] - here[0], to[1] - here[1])))
        steps.remove(step)
        if not steps:
            del following[here]
        heading = (step[0] - here[0], step[1] - here[1])
        if heading == direction:
            corners.pop()
        corners.append(step)
        here, direction = step, heading
        if here == start:
            return np.array(corners, np.float64)


def _turn(direction: tuple[int, int], heading: tuple[int, int]) -> int:
    return direction[0] * heading[1] - direction[1] * heading[0]


def _thinned(line: Points) -> Points:
    """Leave out corners that lie within half a pixel of the line without them, if there are too many. Source: Douglas, Peucker 1973."""
    if len(line) <= _MOST_POINTS:
        return line
    kept = np.zeros(len(line), np.bool_)
    kept[[0, len(line) // 2, -1]] = True
    for first, last in _splits(line):
        kept[[first, last]] = True
    return line[kept]


def _splits(line: Points) -> Iterator[tuple[int, int]]:
    waiting = [(0, len(line) // 2), (len(line) // 2, len(line) - 1)]
    while waiting:
        first, last = waiting.pop()
        chord = line[last] - line[first]
        between = line[first + 1 : last] - line[first]
        if not len(between):
            continue
        length = float(np.hypot(*chord)) or 1.0
        distances = np.abs(between[:, 0] * chord[1] - between[:, 1] * chord[0]) / length
        farthest = int(np.argmax(distances))
        if distances[farthest] > 0.75:
            middle = first + 1 + farthest
            yield first, middle
            waiting += [(first, middle), (middle, last)]
