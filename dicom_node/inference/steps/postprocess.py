"""The steps after the network, in the order of the manifest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from dicom_node.errors import ModelError
from dicom_node.inference.model import StepRecorder
from dicom_node.inference.session import Tensors
from dicom_node.inference.steps import detections, masks
from dicom_node.inference.steps.detections import Detections
from dicom_node.inference.steps.grid import Geometry
from dicom_node.inference.steps.postprocess_schema import (
    Activation,
    ActivationKind,
    Argmax,
    Boxes,
    ClassScores,
    Closing,
    Components,
    FillHoles,
    Nms,
    Opening,
    Pooling,
    PostprocessEntry,
    PostprocessStep,
    Rescale,
    Threshold,
    TopK,
    ToSource,
)
from dicom_node.inference.steps.recording import applied_parameters
from dicom_node.inference.steps.slabs import Lengths
from dicom_node.inference.steps.tensors import AnyArray
from dicom_node.inference.steps.vocabulary import Order
from dicom_node.inference.steps.way_back import to_source_grid

_MaskStep = Components | FillHoles | Opening | Closing


class Kind(Enum):
    """What the values of an image are."""

    SCORES = "scores"
    MASKS = "masks"
    LABELS = "labels"


@dataclass(frozen=True, slots=True, eq=False)
class OutputImage:
    """An output that is an image, for one frame or volume.

    Attributes:
        values: Shape (channel, axis 0, axis 1, axis 2): float32 scores, bool masks, or one channel of whole labels.
    """

    values: AnyArray
    geometry: Geometry
    kind: Kind


@dataclass(slots=True)
class Outputs:
    """Outputs on their way to a result.

    Attributes:
        first: Name of the network's first output.
        images: One for each frame, or of a volume, by output.
        lists: Shape (item, ...), by output.
        found: Boxes, once they are read.
        boxes_of: Output that they were read from.
    """

    first: str
    images: dict[str, list[OutputImage]]
    lists: dict[str, AnyArray]
    found: Detections | None = None
    boxes_of: str = ""


def outputs_from_tensors(tensors: Tensors, geometries: Sequence[Geometry], shape: Lengths, *, labels: bool) -> Outputs:
    """Sort a network's outputs.

    Args:
        tensors: As a strategy gives them, in the network's order.
        geometries: Of the images that the network saw.
        shape: Of each of them, axis 0 to 2.
        labels: Whether images are label maps already.
    """
    images: dict[str, list[OutputImage]] = {}
    lists: dict[str, AnyArray] = {}
    for name, tensor in tensors.items():
        if tensor.ndim == 5:
            kind = Kind.LABELS if labels else Kind.SCORES
            placed = [geometry.coarser(shape, tensor.shape[2:]) for geometry in geometries]
            values = tensor if labels else tensor.astype(np.float32, copy=False)
            images[name] = [OutputImage(v, g, kind) for v, g in zip(values, placed, strict=True)]
        else:
            lists[name] = tensor
    return Outputs(next(iter(tensors)), images, lists)


def postprocess(outputs: Outputs, entries: Sequence[PostprocessEntry], shape: Lengths, recorder: StepRecorder) -> Outputs:
    """Do the steps.

    Args:
        outputs: Taken over.
        entries: As in the manifest.
        shape: What the network saw of each image, axis 0 to 2.
        recorder: Gets every step with the parameters that were applied.

    Raises:
        ModelError: an output has not the form that a step needs.
        ModelInputError: a step needs millimetres and the images have none.
    """
    default = outputs.first
    for entry in entries:
        step = entry.step
        with recorder.step(entry.name, *applied_parameters(step)):
            if isinstance(step, Nms | TopK):
                if outputs.found is None:
                    raise ModelError(f"{entry.name} comes before boxes")
                outputs.found = detections.suppress(outputs.found, step) if isinstance(step, Nms) else detections.best(outputs.found, step)
            elif isinstance(step, PostprocessStep):
                _apply(outputs, step.of or default, step, shape)
    return outputs


def brought_back(image: OutputImage, outside: float = 0.0) -> OutputImage:
    """Bring an image to the source grid; one that is there stays."""
    here = Geometry(image.geometry.source, np.eye(4))
    if image.values.shape[1:] == here.source.shape and np.array_equal(image.geometry.to_source, here.to_source):
        return image
    order = Order.LINEAR if image.kind is Kind.SCORES else Order.NEAREST
    values: Any = image.values
    return replace(image, values=to_source_grid(values, image.geometry, order=order, outside=outside), geometry=here)


def _apply(outputs: Outputs, name: str, step: PostprocessStep, shape: Lengths) -> None:
    if isinstance(step, Boxes):
        outputs.found, outputs.boxes_of = detections.decode_boxes(outputs.lists, name, step, shape), name
    elif isinstance(step, ToSource):
        outputs.images[name] = [brought_back(image, step.outside) for image in _images(outputs, name)]
    elif isinstance(step, Activation):
        _activate(outputs, name, step)
    elif isinstance(step, Rescale):
        _rescale(outputs, name, step)
    elif isinstance(step, ClassScores):
        outputs.lists[name] = _pooled(_list(outputs, name), step.pool)
    elif isinstance(step, Threshold):
        outputs.images[name] = [replace(i, values=_as_scores(i.values) >= step.at, kind=Kind.MASKS) for i in _images(outputs, name)]
    elif isinstance(step, Argmax):
        outputs.images[name] = [replace(i, values=_highest(i.values), kind=Kind.LABELS) for i in _images(outputs, name)]
    elif isinstance(step, _MaskStep):
        outputs.images[name] = [_each_mask(image, step) for image in _images(outputs, name)]
    else:
        raise TypeError(f"no step: {type(step).__name__}")


def _images(outputs: Outputs, name: str) -> list[OutputImage]:
    if name not in outputs.images:
        raise ModelError(f"output {name} is no image: {_known(outputs)}")
    return outputs.images[name]


def _list(outputs: Outputs, name: str) -> AnyArray:
    if name not in outputs.lists:
        raise ModelError(f"output {name} is no list of numbers: {_known(outputs)}")
    return outputs.lists[name]


def _known(outputs: Outputs) -> str:
    return f"images are {', '.join(outputs.images) or 'none'}; lists are {', '.join(outputs.lists) or 'none'}"


def _activate(outputs: Outputs, name: str, step: Activation) -> None:
    softmax = step.kind is ActivationKind.SOFTMAX
    if name in outputs.images:
        outputs.images[name] = [
            replace(i, values=special.softmax(i.values, axis=0) if softmax else special.expit(i.values)) for i in outputs.images[name]
        ]
    else:
        numbers = _list(outputs, name).astype(np.float64)
        outputs.lists[name] = special.softmax(numbers, axis=-1) if softmax else special.expit(numbers)


def _rescale(outputs: Outputs, name: str, step: Rescale) -> None:
    if name in outputs.images:
        factor, offset = np.float32(step.scale), np.float32(step.offset)
        outputs.images[name] = [replace(i, values=_as_scores(i.values) * factor + offset) for i in outputs.images[name]]
        return
    numbers = _list(outputs, name).astype(np.float64)
    if step.pool is not None:
        numbers = _pooled(numbers, step.pool)
    outputs.lists[name] = numbers * step.scale + step.offset


def _as_scores(values: AnyArray) -> NDArray[np.float32]:
    return np.asarray(values, np.float32)


def _pooled(numbers: AnyArray, pool: Pooling) -> NDArray[np.float64]:
    together = numbers.astype(np.float64)
    return np.asarray(together.mean(axis=0, keepdims=True) if pool is Pooling.MEAN else together.max(axis=0, keepdims=True))


def _highest(values: AnyArray) -> AnyArray:
    return np.asarray(values.argmax(axis=0)[None].astype(np.min_scalar_type(len(values))))


def _each_mask(image: OutputImage, step: _MaskStep) -> OutputImage:
    work = _mask_work(image.geometry, step)
    if image.kind is Kind.MASKS:
        channels = [work(c) if not step.labels or n in step.labels else c for n, c in enumerate(image.values)]
        return replace(image, values=np.stack(channels))
    if image.kind is Kind.SCORES:
        raise ModelError("masks are wanted, the output still holds scores", hint="declare threshold or argmax before")
    labels = image.values[0].copy()
    for label in step.labels or [int(v) for v in np.unique(labels) if v != 0]:
        before = labels == label
        after = work(before)
        labels[before & ~after] = 0
        labels[after & ~before & (labels == 0)] = label
    return replace(image, values=labels[None])


def _mask_work(geometry: Geometry, step: _MaskStep) -> Callable[[Any], masks.Mask]:
    if isinstance(step, Components):
        return lambda mask: masks.components(mask, step, geometry)
    if isinstance(step, FillHoles):
        return lambda mask: masks.fill_holes(mask, step, geometry)
    if isinstance(step, Opening):
        return lambda mask: masks.opening(mask, step, geometry)
    return lambda mask: masks.closing(mask, step, geometry)
