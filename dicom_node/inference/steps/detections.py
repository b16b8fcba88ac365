"""Boxes of a detector: decoded, thinned out, sorted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import ModelError
from dicom_node.inference.steps.postprocess_schema import Boxes, BoxFormat, Nms, TopK
from dicom_node.inference.steps.slabs import Lengths
from dicom_node.inference.steps.tensors import AnyArray

Numbers = NDArray[np.float64]
_ARRAY_AXIS = {"x": 2, "y": 1, "z": 0}
_SCORE_ROUNDING = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Boxes on the grid that the network saw, highest score first; of one score in the network's order.

    Attributes:
        lower: Shape (box, 3): lower edges along axis 0, 1 and 2; pixel i covers i - 0.5 to i + 0.5.
        upper: Shape (box, 3): upper edges.
        scores: Shape (box,), 0 to 1.
        classes: Shape (box,), whole numbers from 0.
        images: Shape (box,): number of the frame; 0 for a volume.
        planar: Whether the network saw planes: boxes of different slices do not belong together.
    """

    lower: Numbers
    upper: Numbers
    scores: Numbers
    classes: NDArray[np.intp]
    images: NDArray[np.intp]
    planar: bool

    def __len__(self) -> int:
        return len(self.scores)

    def chosen(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Detections:
        """Keep some."""
        lower, upper, scores = self.lower[which], self.upper[which], self.scores[which]
        return Detections(lower, upper, scores, self.classes[which], self.images[which], self.planar)


def decode_boxes(outputs: Mapping[str, AnyArray], of: str, step: Boxes, shape: Lengths) -> Detections:
    """Read boxes.

    Args:
        outputs: Lists by output, shape (item, box, ...) as a strategy gives them.
        of: Output with the coordinates.
        step: As in the manifest.
        shape: What the network saw of each image, axis 0 to 2; a frame has one slice.

    Raises:
        ModelError: shapes do not fit, or scores are no probabilities.
    """
    axes = len(step.axes)
    numbers = outputs[of].astype(np.float64)
    if numbers.ndim != 3 or numbers.shape[2] < 2 * axes or (not step.scores and numbers.shape[2] == 2 * axes):
        raise ModelError(f"output {of} has shape {numbers.shape}; boxes of axes {step.axes} are wanted, then their scores if not elsewhere")
    items, count = numbers.shape[:2]
    scores, classes = _scores_and_classes(outputs, numbers[:, :, 2 * axes :], step)
    lower, upper = _edges(numbers[:, :, : 2 * axes], step, shape)
    if axes == 2:
        slices = np.broadcast_to((np.arange(items) % shape[0])[:, None], (items, count))
        lower[..., 0], upper[..., 0] = slices - 0.5, slices + 0.5
    images = np.broadcast_to((np.arange(items) // (shape[0] if axes == 2 else 1))[:, None], (items, count))
    found = Detections(lower.reshape(-1, 3), upper.reshape(-1, 3), scores.ravel(), classes.ravel(), images.ravel(), planar=axes == 2)
    real = np.isfinite(found.lower).all(1) & np.isfinite(found.upper).all(1) & (found.upper > found.lower).all(1)
    found = found.chosen(real & (np.nan_to_num(found.scores, nan=-1.0) >= step.at))
    if len(found) and (found.scores.max() > 1 + _SCORE_ROUNDING or found.scores.min() < -_SCORE_ROUNDING):
        low, high = found.scores.min(), found.scores.max()
        raise ModelError(f"scores of boxes reach from {low:g} to {high:g}, 0 to 1 is wanted", hint="declare activation before boxes")
    return found.chosen(np.argsort(-found.scores, kind="stable"))


def suppress(found: Detections, step: Nms) -> Detections:
    """Of overlapping boxes keep the best: greedily, from the highest score on."""
    kept: list[int] = []
    waiting = np.arange(len(found))
    sizes = np.prod(found.upper - found.lower, axis=1)
    while len(waiting):
        best, others = waiting[0], waiting[1:]
        kept.append(int(best))
        sides = np.minimum(found.upper[best], found.upper[others]) - np.maximum(found.lower[best], found.lower[others])
        shared = np.prod(np.maximum(sides, 0.0), axis=1)
        overlap = shared / (sizes[best] + sizes[others] - shared)
        # planar boxes of different slices share nothing: each is one slice thick
        rivals = found.images[others] == found.images[best]
        if step.per_class:
            rivals &= found.classes[others] == found.classes[best]
        waiting = others[~(rivals & (overlap > step.iou))]
    return found.chosen(np.array(kept, np.intp))


def best(found: Detections, step: TopK) -> Detections:
    """Keep the highest scores."""
    return found.chosen(np.arange(min(step.k, len(found)), dtype=np.intp))


def _edges(numbers: Numbers, step: Boxes, shape: Lengths) -> tuple[Numbers, Numbers]:
    axes = len(step.axes)
    first, second = numbers[..., :axes], numbers[..., axes:]
    lower, upper = (first, second) if step.format is BoxFormat.CORNERS else (first - second / 2, first + second / 2)
    shift = 0.5 if step.origin == "edge" else 0.0
    edges = [np.zeros((*numbers.shape[:2], 3)) for _ in range(2)]
    for place, letter in enumerate(step.axes):
        axis = _ARRAY_AXIS[letter]
        factor = shape[axis] if step.normalised else 1.0
        edges[0][..., axis] = lower[..., place] * factor - shift
        edges[1][..., axis] = upper[..., place] * factor - shift
    return edges[0], edges[1]


def _scores_and_classes(outputs: Mapping[str, AnyArray], beside: Numbers, step: Boxes) -> tuple[Numbers, NDArray[np.intp]]:
    scores = outputs[step.scores].astype(np.float64) if step.scores else beside
    by_class = scores[..., None] if scores.ndim == 2 else scores
    if by_class.shape[:2] != beside.shape[:2]:
        raise ModelError(f"output {step.scores} has shape {scores.shape}, {beside.shape[:2]} is wanted, as the boxes")
    known = np.nan_to_num(by_class, nan=-1.0)
    classes = known.argmax(axis=-1)
    if step.classes:
        classes = np.nan_to_num(outputs[step.classes].astype(np.float64), nan=-1.0).astype(np.intp)
        if classes.shape != beside.shape[:2]:
            raise ModelError(f"output {step.classes} has shape {classes.shape}, {beside.shape[:2]} is wanted, as the boxes")
    return known.max(axis=-1), classes
