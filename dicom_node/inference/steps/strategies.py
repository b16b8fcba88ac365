"""How a network goes over images: each at once, or slice by slice. Windows are in `sliding_window.py`.

A strategy takes tensors as `tensor_from_images` makes them, shape (image, channel, axis 0, axis 1, axis 2), and gives the outputs:
- an output with as many axes as the network's input is an image: shape (image, channel, axis 0, axis 1, axis 2), whatever the layout;
- any other is a list of numbers: shape (item, ...), an item being an image, or a slice of a 2-D network over a volume. Lists of different
  lengths, as of boxes, are filled up by NaN, or by -1 where they are whole numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dicom_node.errors import ModelError, ModelInputError
from dicom_node.inference.session import Session, Tensors
from dicom_node.inference.steps.tensors import AnyArray, InputForm

Progress = Callable[[int, int], None]
"""Told after each call of the network how many items are done, of how many; what it raises ends the run."""


@dataclass(frozen=True, slots=True)
class NetworkForm:
    """What a strategy must know of the network.

    Attributes:
        inputs: By name.
        boxes: Outputs that may come without a batch axis, the boxes themselves first (empty: the network's first output): (box, numbers),
            (box,), (box,).
    """

    inputs: Mapping[str, InputForm]
    boxes: tuple[str, ...] = ()

    @property
    def first(self) -> InputForm:
        """The first input; the others have as many axes."""
        return next(iter(self.inputs.values()))

    @property
    def fixed_batch(self) -> int | None:
        """Number of images in each call, if the network says it."""
        return next((form.batch for form in self.inputs.values() if form.batch is not None), None)


class Strategy(ABC):
    """One way over the images."""

    @abstractmethod
    def run(self, session: Session, form: NetworkForm, tensors: Tensors, progress: Progress) -> Tensors:
        """Run the network over all images; new memory.

        Raises:
            ModelInputError: the images do not fit the network.
            ModelError: the engine failed, or gave outputs that cannot be told apart.
        """

    @abstractmethod
    def parameters(self) -> tuple[str, ...]:
        """Write what is set, as `name=value`."""

    @abstractmethod
    def smaller(self, form: NetworkForm) -> Strategy | None:
        """Give the same way with half the memory in one call of the network, for a device that has run out of it; None: there is none."""


@dataclass(frozen=True, slots=True)
class EachImage(Strategy):
    """Each volume, frame or slice is seen whole.

    Attributes:
        batch: In one call, unless the network fixes the number.
        neighbours: Slices on each side that join as channels.
    """

    batch: int
    neighbours: int = 0

    def run(self, session: Session, form: NetworkForm, tensors: Tensors, progress: Progress) -> Tensors:
        """See `Strategy.run`."""
        flat = form.first.is_flat
        counts = {len(t) * t.shape[2] if flat else len(t) for t in tensors.values()}
        if len(counts) != 1:
            raise ModelInputError(f"the inputs of the network have different numbers of images: {sorted(counts)}")
        count, images, slices = counts.pop(), *_images_and_slices(tensors)
        parts: dict[str, list[AnyArray]] = {}
        batch = form.fixed_batch or self.batch
        for start in range(0, count, batch):
            members = range(start, min(count, start + batch))
            given = {name: self._items(tensors[name], members, flat=flat) for name in form.inputs}
            for name, part in run_batch(session, form, given).items():
                parts.setdefault(name, []).append(part)
            progress(members.stop, count)
        joined = {name: _joined(pieces) for name, pieces in parts.items()}
        rank = 4 if flat else 5
        return {name: _as_images(a, images, slices) if flat and a.ndim == rank else a for name, a in joined.items()}

    def parameters(self) -> tuple[str, ...]:
        """See `Strategy.parameters`."""
        return f"neighbours={self.neighbours}", f"batch={self.batch}"

    def smaller(self, form: NetworkForm) -> Strategy | None:
        """Halve the batch."""
        return None if form.fixed_batch is not None or self.batch == 1 else replace(self, batch=self.batch // 2)

    def _items(self, tensor: AnyArray, members: Sequence[int], *, flat: bool) -> AnyArray:
        if not flat:
            return tensor[members.start : members.stop] if isinstance(members, range) else tensor[list(members)]
        slices = tensor.shape[2]
        around = range(-self.neighbours, self.neighbours + 1)
        return np.stack(
            [np.concatenate([tensor[m // slices, :, min(max(m % slices + k, 0), slices - 1)] for k in around]) for m in members]
        )


def run_batch(session: Session, form: NetworkForm, items: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """Run the network once.

    Args:
        session: Active.
        form: The network's.
        items: By input, shape (item, channel, ...); a batch that is too short for the network is filled up by its last item.

    Returns:
        By output, shape (item, ...), channels first, for the items given.

    Raises:
        ModelError: the engine failed, or an output has no axis for the items.
    """
    count = len(next(iter(items.values())))
    filled = max(count, form.fixed_batch or 0)
    outputs = session.infer({name: form.inputs[name].arranged(_filled(batch, filled)) for name, batch in items.items()})
    lists = [name or next(iter(outputs)) for name in form.boxes]
    single = bool(lists) and outputs[lists[0]].ndim == 2
    result: dict[str, AnyArray] = {}
    for name, array in outputs.items():
        by_item = array[None] if single and name in lists else _by_item(name, array, filled)
        if len(by_item) != filled:
            raise ModelError(f"output {name} has shape {array.shape} for {filled} images; the first axis must count them")
        is_image = array.ndim == len(form.first.layout.value)
        result[name] = (np.moveaxis(by_item, -1, 1) if is_image and form.first.channels_last else by_item)[:count]
    return result


def _filled(batch: AnyArray, count: int) -> AnyArray:
    return batch if len(batch) == count else np.concatenate([batch, np.repeat(batch[-1:], count - len(batch), axis=0)])


def _by_item(name: str, array: AnyArray, count: int) -> AnyArray:
    if array.ndim > 0 and len(array) == count:
        return array[:, None] if array.ndim == 1 else array
    if count == 1:
        return array.reshape(1, 1) if array.ndim == 0 else array[None]
    raise ModelError(f"output {name} has shape {array.shape} for {count} images; the first axis must count them")


def _joined(parts: Sequence[AnyArray]) -> AnyArray:
    if len(parts) == 1:
        return parts[0]
    longest = [max(lengths) for lengths in zip(*(part.shape[1:] for part in parts), strict=True)]
    filler = np.nan if np.issubdtype(parts[0].dtype, np.floating) else -1
    alike = [
        part
        if list(part.shape[1:]) == longest
        else np.pad(part, [(0, 0), *((0, most - n) for most, n in zip(longest, part.shape[1:], strict=True))], constant_values=filler)
        for part in parts
    ]
    return np.concatenate(alike)


def _images_and_slices(tensors: Tensors) -> tuple[int, int]:
    first = next(iter(tensors.values()))
    return first.shape[0], first.shape[2]


def _as_images(planes: AnyArray, images: int, slices: int) -> AnyArray:
    """From (image x slice, channel, row, column) to (image, channel, slice, row, column)."""
    return np.ascontiguousarray(np.moveaxis(planes.reshape(images, slices, *planes.shape[1:]), 1, 2))
