"""Sampling of 8-bit pictures as the text networks were trained with it: not smoothed before they shrink, steep cubic interpolation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.frames import Frame

Picture = NDArray[np.uint8]

_STEEPNESS = -0.75


def shown(frame: Frame) -> Picture:
    """Bring a frame to eight bits as a viewer first shows it.

    Returns:
        Shape (row, column, 3), RGB; gray values within the first VOI window, or from the lowest to the highest where there is none. May be
        the frame's own memory.
    """
    if frame.values.ndim == 3:
        return np.asarray(frame.values, dtype=np.uint8)
    values = np.nan_to_num(np.asarray(frame.values, dtype=np.float32))
    if frame.window is not None and frame.window[1] > 0:
        low, width = frame.window[0] - frame.window[1] / 2, frame.window[1]
    else:
        low, width = float(values.min()), float(np.ptp(values))
    gray = np.clip((values - low) * (255 / (width or 1.0)), 0, 255)
    return np.repeat(np.asarray(np.rint(gray), dtype=np.uint8)[:, :, None], 3, axis=2)


def resized(picture: Picture, height: int, width: int) -> Picture:
    """Resize a picture.

    Args:
        picture: Shape (row, column, 3).
        height: Rows wanted.
        width: Columns wanted.

    Returns:
        Shape (height, width, 3); new memory.
    Source: sample positions of OpenCV's INTER_LINEAR, pixel centres at `(i + 0.5) * from / to - 0.5`.
    """
    low_row, high_row, row_share = _neighbours(picture.shape[0], height)
    low, high, share = _neighbours(picture.shape[1], width)
    rows = picture[low_row].astype(np.float32)
    rows += (picture[high_row].astype(np.float32) - rows) * row_share[:, None, None]
    columns = rows[:, low]
    columns += (rows[:, high] - columns) * share[None, :, None]
    return np.asarray(np.rint(columns), dtype=np.uint8)


def sampled(picture: Picture, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> Picture:
    """Take colours at places between pixels; outside of the picture its border goes on.

    Args:
        picture: Shape (row, column, 3).
        rows: Shape (place,); pixel centres at whole numbers.
        columns: Shape (place,).

    Returns:
        Shape (place, 3); new memory.
    Source: cubic convolution over 4 x 4 pixels with the steepness of OpenCV's INTER_CUBIC; doi 10.1109/TASSP.1981.1163711.
    """
    row, column = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    down, across = _cubic_weights(rows - row), _cubic_weights(columns - column)
    total = np.zeros((len(rows), 3), np.float64)
    for i in range(4):
        near_row = np.clip(row + i - 1, 0, picture.shape[0] - 1)
        for j in range(4):
            near_column = np.clip(column + j - 1, 0, picture.shape[1] - 1)
            total += (down[i] * across[j])[:, None] * picture[near_row, near_column]
    return np.asarray(np.clip(np.rint(total), 0, 255), dtype=np.uint8)


def _cubic_weights(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of the four neighbours, shape (4, place)."""
    a = _STEEPNESS
    far, near, next_, last = 1 + share, share, 1 - share, 2 - share
    outer = [((a * d - 5 * a) * d + 8 * a) * d - 4 * a for d in (far, last)]
    inner = [((a + 2) * d - (a + 3)) * d * d + 1 for d in (near, next_)]
    return np.stack([outer[0], inner[0], inner[1], outer[1]])


def _neighbours(have: int, want: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    at = np.clip((np.arange(want) + 0.5) * have / want - 0.5, 0, have - 1)
    low = np.floor(at).astype(np.int64)
    return low, np.minimum(low + 1, have - 1), (at - low).astype(np.float32)
