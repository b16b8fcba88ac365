"""Where text stands in a picture: what the detection network wants, and from its probability map to boxes.

Source: DBNet, doi 10.1609/aaai.v34i07.6812; thresholds and sizes of rapidocr-onnxruntime 1.4.4 (Apache-2.0).
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from dicom_node.inference.models.pictures import Picture, resized

Floats = NDArray[np.float32]
Quad = NDArray[np.float64]
"""Corners of a box, shape (4, 2), (column, row), pixel centres at whole numbers: top left, top right, bottom right, bottom left."""

SHORTEST_SIDE_PX = 736
LONGEST_SIDE_PX = 2000
WIDEST_RATIO = 8.0
_MULTIPLE = 32
_TEXT_ABOVE = 0.3
_BOX_ABOVE = 0.5
_UNCLIP = 1.6
_MOST_BOXES = 1000
_THINNEST_PX = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class TextBox:
    """A place that looks like text.

    Attributes:
        corners: In the picture that was searched.
        score: Mean probability inside, 0 to 1.
    """

    corners: Quad
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Searched:
    """A picture in the size in which text is searched and read.

    Attributes:
        picture: Shape (row, column, 3), RGB.
        scale: Columns and rows of the original per column and row of this.
        top_px: Rows that were added above.
    """

    picture: Picture
    scale: tuple[float, float]
    top_px: int

    def to_original(self, corners: Quad, shape: tuple[int, ...]) -> Quad:
        """Bring corners to the original picture, of this shape (row, column), and inside of it."""
        placed = (corners - (0, self.top_px)) * self.scale
        return np.clip(placed, 0, (shape[1], shape[0]))


def searched(picture: Picture) -> Searched:
    """Shrink a large picture, and give a very wide one a border above and below."""
    height, width = picture.shape[:2]
    longest = max(height, width)
    shrunk = picture
    if longest > LONGEST_SIDE_PX:
        shrunk = resized(picture, *(_to_multiple(side * LONGEST_SIDE_PX / longest) for side in (height, width)))
    rows, columns = shrunk.shape[:2]
    top = 0
    if columns / rows > WIDEST_RATIO:
        top = int(abs(2 * max(int(columns / WIDEST_RATIO), 30) - rows) / 2)
        shrunk = np.pad(shrunk, ((top, top), (0, 0), (0, 0)))
    return Searched(shrunk, (width / columns, height / rows), top)


def detection_tensor(picture: Picture) -> Floats:
    """Make the detection network's input: shape (1, 3, row, column), BGR, -1 to 1, sides multiples of 32, the shorter one 736 or more."""
    height, width = picture.shape[:2]
    ratio = max(1.0, SHORTEST_SIDE_PX / min(height, width))
    wanted = resized(picture, _to_multiple(int(height * ratio)), _to_multiple(int(width * ratio)))
    return network_tensor(wanted)


def network_tensor(picture: Picture) -> Floats:
    """Turn RGB to what all three networks take: shape (1, 3, row, column), BGR, -1 to 1."""
    return np.ascontiguousarray(picture[:, :, ::-1].transpose(2, 0, 1)[None], dtype=np.float32) / np.float32(127.5) - np.float32(1)


def text_boxes(probability: Floats, shape: tuple[int, ...]) -> list[TextBox]:
    """Find boxes in a probability map.

    Args:
        probability: Shape (row, column), 0 to 1.
        shape: (row, column, ...) of the picture that the boxes are wanted in; the map covers all of it.

    Returns:
        From top to bottom, then from left to right.
    """
    grown = ndimage.maximum_filter(probability > _TEXT_ABOVE, size=2)  # text lines of one pixel become two, as in training
    labels, count = cc3d.connected_components(grown, connectivity=8, return_N=True)
    scale = np.array([shape[1] / probability.shape[1], shape[0] / probability.shape[0]])
    boxes = []
    for number, place in enumerate(ndimage.find_objects(labels, count)[:_MOST_BOXES], start=1):
        rows, columns = np.nonzero(labels[place] == number)
        found = _smallest_rectangle(np.stack([columns + place[1].start, rows + place[0].start], axis=1).astype(np.float64))
        if found is None or min(_sides(found)) < _THINNEST_PX:
            continue
        score = _mean_inside(probability, found)
        if score < _BOX_ABOVE:
            continue
        width, height = _sides(found)
        wide = _widened(found, width * height * _UNCLIP / (2 * (width + height)))
        if min(_sides(wide)) >= _THINNEST_PX + 2:
            boxes.append(TextBox(np.clip(np.round(wide * scale), 0, (shape[1] - 1, shape[0] - 1)), score))
    return sorted(boxes, key=lambda box: (round(box.corners[0, 1] / 10), box.corners[0, 0]))


def _to_multiple(length: float) -> int:
    return max(_MULTIPLE, round(int(length) / _MULTIPLE) * _MULTIPLE)


def _smallest_rectangle(points: NDArray[np.float64]) -> Quad | None:
    """The rectangle of smallest area around points: one of its sides lies on the hull. None if the points lie on one line."""
    try:
        hull = points[ConvexHull(points).vertices]
    except QhullError:
        return None
    edges = np.roll(hull, -1, axis=0) - hull
    along = edges / np.linalg.norm(edges, axis=1, keepdims=True)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    u, v = along @ hull.T, across @ hull.T
    best = int(np.argmin(np.ptp(u, axis=1) * np.ptp(v, axis=1)))
    ends = [(u[best].min(), v[best].min()), (u[best].max(), v[best].min()), (u[best].max(), v[best].max()), (u[best].min(), v[best].max())]
    return _in_order(np.array([a * along[best] + b * across[best] for a, b in ends]))


def _in_order(corners: Quad) -> Quad:
    """Begin at the top left corner and go round clockwise, as seen on the screen."""
    by_column = corners[np.argsort(corners[:, 0], kind="stable")]
    left, right = (pair[np.argsort(pair[:, 1], kind="stable")] for pair in (by_column[:2], by_column[2:]))
    return np.array([left[0], right[0], right[1], left[1]])


def _sides(corners: Quad) -> tuple[float, float]:
    return float(np.linalg.norm(corners[1] - corners[0])), float(np.linalg.norm(corners[3] - corners[0]))


def _widened(corners: Quad, by_px: float) -> Quad:
    """Move each side outwards."""
    right = (corners[1] - corners[0]) / np.linalg.norm(corners[1] - corners[0])
    down = (corners[3] - corners[0]) / np.linalg.norm(corners[3] - corners[0])
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return corners + by_px * np.array([a * right + b * down for a, b in signs])


def _mean_inside(probability: Floats, corners: Quad) -> float:
    low = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, None)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int), (probability.shape[1] - 1, probability.shape[0] - 1))
    inside = Image.new("L", (int(high[0] - low[0] + 1), int(high[1] - low[1] + 1)))
    ImageDraw.Draw(inside).polygon([(int(x), int(y)) for x, y in corners - low], fill=1, outline=1)
    return float(probability[low[1] : high[1] + 1, low[0] : high[0] + 1][np.asarray(inside, dtype=np.bool_)].mean())
