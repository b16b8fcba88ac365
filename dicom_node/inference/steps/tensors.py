"""From images to what the network's input takes: number type, order of axes, one array for all images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import ModelInputError
from dicom_node.inference.session import TensorInfo
from dicom_node.inference.steps.grid import GridImage
from dicom_node.inference.steps.preprocess_schema import Layout, Tensor

AnyArray = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class InputForm:
    """What one network input takes.

    Attributes:
        dtype: Type of its numbers.
        layout: Order of its axes.
        batch: Number of images that it takes at once; None: any.
        channels: Number of channels; None: any.
        lengths: Depth, height and width, or height and width; None: any.
    """

    dtype: np.dtype[np.generic]
    layout: Layout
    batch: int | None
    channels: int | None
    lengths: tuple[int | None, ...]

    @property
    def is_flat(self) -> bool:
        """Whether the network sees planes, not volumes."""
        return len(self.lengths) == 2

    @property
    def channels_last(self) -> bool:
        """Whether the channel axis stands at the end."""
        return self.layout in (Layout.NHWC, Layout.NDHWC)

    def arranged(self, batch: AnyArray) -> AnyArray:
        """Put the channels of (image, channel, ...) where the network has them."""
        return np.ascontiguousarray(np.moveaxis(batch, 1, -1) if self.channels_last else batch)


def form_of_input(info: TensorInfo, step: Tensor | None, *, flat: bool) -> InputForm:
    """Join what the network says of an input with what the manifest says.

    Args:
        info: The network's.
        step: The manifest's `tensor` step for this input, if there is one.
        flat: Whether the network sees planes, for a network that does not tell its axes.

    Raises:
        ValueError: number of axes or type do not agree, in one sentence.
    """
    rank = len(info.shape) if info.shape is not None else (4 if flat else 5)
    if step is not None and step.layout is not None:
        layout = step.layout
    elif rank in (4, 5):
        layout = Layout.NCHW if rank == 4 else Layout.NCDHW
    else:
        raise ValueError(f"has {rank} axes; declared steps make 4 (images) or 5 (volumes)")
    if len(layout.value) != rank:
        raise ValueError(f"has {rank} axes, layout {layout} has {len(layout.value)}")
    if step is not None and step.dtype is not None and np.dtype(step.dtype) != info.dtype:
        raise ValueError(f"takes {info.dtype}, tensor.dtype says {step.dtype}")
    shape = info.shape if info.shape is not None else (None,) * rank
    by_letter = dict(zip(layout.value, shape, strict=True))
    lengths = tuple(by_letter[letter] for letter in "DHW" if letter in by_letter)
    return InputForm(info.dtype, layout, by_letter["N"], by_letter["C"], lengths)


def tensor_from_images(images: Sequence[GridImage], form: InputForm) -> AnyArray:
    """Make one array of all images.

    Returns:
        Shape (image, channel, axis 0, axis 1, axis 2), the network's number type, contiguous; new memory. The strategy puts axes into the
        network's order when it cuts its batches.

    Raises:
        ModelInputError: sizes differ, or pixels are no numbers or too large for the type.
    """
    shapes = {image.values.shape for image in images}
    if len(shapes) != 1:
        sizes = ", ".join(sorted(f"{shape[2]}x{shape[3]}" for shape in shapes))
        raise ModelInputError(
            f"frames have different sizes when they reach the network: {sizes}",
            hint="model.yaml needs a resize, pad or crop step",
        )
    tensor = np.empty((len(images), *shapes.pop()), form.dtype)
    for number, image in enumerate(images):
        tensor[number] = _as_type(image.values, form.dtype)
    return tensor


def _as_type(values: NDArray[np.float32], dtype: np.dtype[np.generic]) -> AnyArray:
    strange = values.size - int(np.count_nonzero(np.isfinite(values)))
    if strange:
        raise ModelInputError(f"{strange} of {values.size} pixels are no numbers (NaN or infinite)", hint="fill_nan replaces them")
    if np.issubdtype(dtype, np.floating):
        return values.astype(dtype)
    whole = np.rint(values)
    if dtype == np.bool_:
        raise ModelInputError("the network takes truth values; declared steps make numbers")
    limits = np.iinfo(dtype.name)
    if whole.size and (whole.min() < limits.min or whole.max() > limits.max):
        raise ModelInputError(f"values reach from {whole.min():g} to {whole.max():g}, {dtype} holds {limits.min} to {limits.max}")
    return whole.astype(dtype)
