"""A network of fixed or limited size over larger images: overlapping windows, blended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice, product
from typing import Literal

import numpy as np

from dicom_node.errors import ModelError, ModelInputError
from dicom_node.inference.session import Session, Tensors
from dicom_node.inference.steps.recording import applied_parameters
from dicom_node.inference.steps.schema import SlidingWindow
from dicom_node.inference.steps.slabs import Lengths, SlabAccumulator, window_weights
from dicom_node.inference.steps.strategies import NetworkForm, Progress, Strategy, run_batch
from dicom_node.inference.steps.tensors import AnyArray

Place = tuple[int, Lengths]
"""Number of the image, and first pixel of the window."""


@dataclass(frozen=True, slots=True)
class Windows(Strategy):
    """Windows over each image; for a 2-D network they have one slice and go over every slice.

    Attributes:
        step: As in the manifest.
        batch: Windows in one call, unless the network fixes the number.
        device: Where outputs are summed up: `cpu`, or a CUDA device that torch can use.
    """

    step: SlidingWindow
    batch: int
    device: str = "cpu"

    def run(self, session: Session, form: NetworkForm, tensors: Tensors, progress: Progress) -> Tensors:
        """See `Strategy.run`."""
        shapes = {t.shape[2:] for t in tensors.values()}
        counts = {len(t) for t in tensors.values()}
        if len(shapes) != 1 or len(counts) != 1:
            raise ModelInputError(f"windows need inputs of one size, the inputs of the network have {sorted(shapes)} pixels")
        size = _lengths(self.step.size if len(self.step.size) == 3 else (1, *self.step.size))
        padded = {name: _padded(t, size, self.step.padding) for name, t in tensors.items()}
        shape = _lengths(next(iter(padded.values())).shape[2:])
        places = list(window_places(counts.pop(), shape, size, self.step.overlap))
        images: dict[str, list[AnyArray]] = {}
        open_sums: dict[str, SlabAccumulator] = {}
        done, current = 0, 0
        waiting = iter(places)
        while members := list(islice(waiting, form.fixed_batch or self.batch)):
            cuts = {name: np.stack([_cut(padded[name], place, size, flat=form.first.is_flat) for place in members]) for name in form.inputs}
            outputs = run_batch(session, form, cuts)
            for position, (image, start) in enumerate(members):
                if image != current:
                    _close(open_sums, images)
                    current = image
                for name, array in outputs.items():
                    scores = _checked(name, array[position], size, flat=form.first.is_flat)
                    open_sums.setdefault(name, self._accumulator(shape, size)).add(start, scores)
            done += len(members)
            progress(done, len(places))
        _close(open_sums, images)
        original = _lengths(shapes.pop())
        return {name: _unpadded(np.stack(group), original) for name, group in images.items()}

    def parameters(self) -> tuple[str, ...]:
        """See `Strategy.parameters`."""
        return *applied_parameters(self.step), f"batch={self.batch}", f"device={self.device}"

    def smaller(self, form: NetworkForm) -> Strategy | None:
        """Halve the batch; when it is 1, the window, as far as the network takes other sizes."""
        if form.fixed_batch is None and self.batch > 1:
            return replace(self, batch=self.batch // 2)
        multiple = self.step.multiple
        fixed = form.first.lengths
        halved = tuple(
            n if fixed[k] is not None else max(n // 2 // multiple * multiple, min(n, multiple)) for k, n in enumerate(self.step.size)
        )
        return None if halved == self.step.size else replace(self, step=self.step.model_copy(update={"size": halved}))

    def _accumulator(self, shape: Lengths, size: Lengths) -> SlabAccumulator:
        weights = window_weights(size, self.step.blending, self.step.sigma)
        keep_labels = self.step.keep == "labels"
        if self.device == "cpu":
            return SlabAccumulator(shape, weights, keep_labels=keep_labels)
        from dicom_node.inference.steps.device_arrays import DeviceSlabAccumulator  # noqa: PLC0415

        return DeviceSlabAccumulator(shape, weights, keep_labels=keep_labels, device=self.device)


def window_places(images: int, shape: Lengths, size: Lengths, overlap: float) -> Iterator[Place]:
    """Give every window, image by image and along axis 0 within one; the last of each axis ends with the image."""
    starts = []
    for length, window in zip(shape, size, strict=True):
        step = max(1, int(window * (1 - overlap)))
        starts.append([*range(0, length - window, step), length - window])
    for image in range(images):
        for first, second, third in product(*starts):
            yield image, (first, second, third)


def _close(open_sums: dict[str, SlabAccumulator], images: dict[str, list[AnyArray]]) -> None:
    for name, sums in open_sums.items():
        images.setdefault(name, []).append(sums.finish())
    open_sums.clear()


def _padded(tensor: AnyArray, size: Lengths, padding: float | Literal["edge"]) -> AnyArray:
    widths = [(0, 0), (0, 0)]
    for length, window in zip(tensor.shape[2:], size, strict=True):
        missing = max(0, window - length)
        widths.append((missing // 2, missing - missing // 2))
    if not np.any(widths):
        return tensor
    return np.pad(tensor, widths, mode="edge") if padding == "edge" else np.pad(tensor, widths, constant_values=padding)


def _unpadded(tensor: AnyArray, shape: Lengths) -> AnyArray:
    befores = [(now - length) // 2 for now, length in zip(tensor.shape[2:], shape, strict=True)]
    return tensor[(slice(None), slice(None), *(slice(b, b + length) for b, length in zip(befores, shape, strict=True)))]


def _cut(tensor: AnyArray, place: Place, size: Lengths, *, flat: bool) -> AnyArray:
    image, start = place
    window = tensor[image][(slice(None), *(slice(s, s + n) for s, n in zip(start, size, strict=True)))]
    return np.asarray(window[:, 0] if flat else window)


def _checked(name: str, scores: AnyArray, size: Lengths, *, flat: bool) -> AnyArray:
    whole = scores[:, None] if flat and scores.ndim == 3 else scores
    if whole.shape[1:] != size:
        wanted = size[1:] if flat else size
        raise ModelError(f"output {name} has shape {scores.shape} for a window of {wanted}; windows need outputs of their own size")
    return whole


def _lengths(lengths: tuple[int, ...]) -> Lengths:
    slices, rows, columns = lengths
    return slices, rows, columns
