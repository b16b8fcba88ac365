"""Steps that change the grid: orient, resample, pad, crop, resize."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from nibabel import orientations

from dicom_node.errors import ModelInputError
from dicom_node.inference.steps.grid import Array, GridImage, Matrix, scaling
from dicom_node.inference.steps.preprocess_schema import Crop, Orient, Pad, Resample, Resize, Where
from dicom_node.inference.steps.resampling import AxisSampling, resample
from dicom_node.inference.steps.vocabulary import Align, Order

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_SAME_SIZE = 1e-4
"""Share of a new pixel that may lie beyond the old edge without another pixel being added for it."""
T = TypeVar("T")
Window = tuple[tuple[int, int], ...]
"""First index and index after the last one, by axis; outside of the array where it is padded."""


def orient(image: GridImage, step: Orient) -> GridImage:
    """Turn the array to given axis codes.

    Raises:
        ModelInputError: the image is a frame, which has no place in the patient.
    """
    affine = image.geometry.affine_mm
    if image.geometry.is_frame or affine is None:
        raise ModelInputError("a frame cannot be oriented: it has no place in the patient")
    turn = _turn(_LPS_TO_RAS @ affine, step.to)
    values = np.stack([orientations.apply_orientation(channel, turn) for channel in image.values])  # type: ignore[no-untyped-call]
    return GridImage(values, image.geometry.after(orientations.inv_ornt_aff(turn, image.shape)))  # type: ignore[no-untyped-call]


def resample_step(image: GridImage, step: Resample, device: str) -> GridImage:
    """Change the distance between pixels, or their number.

    Raises:
        ModelInputError: a spacing is wanted and the image has none, or one pixel should become several with centres aligned.
    """
    if step.size is not None:
        lengths = per_axis(step.size, None)
        axes = tuple(_to_length(old, new, step.align) for old, new in zip(image.shape, lengths, strict=True))
    else:
        spacing = image.geometry.spacing_mm
        if spacing is None:
            raise ModelInputError("the image has no Pixel Spacing, the model resamples to a distance in millimetres")
        wanted = per_axis(step.spacing_mm or (), None)
        axes = tuple(_to_spacing(n, old, new, step.align) for n, old, new in zip(image.shape, spacing, wanted, strict=True))
    return _sampled(image, axes, step, device)


def pad(image: GridImage, step: Pad) -> GridImage:
    """Add pixels around the image."""
    wanted: list[int] = []
    multiples = per_axis(step.multiple, 1) if isinstance(step.multiple, tuple) else (step.multiple,) * 3
    sizes = per_axis(step.size or (), None)
    for axis, length in enumerate(image.shape):
        multiple, size = multiples[axis], sizes[axis]
        if axis == 0 and image.geometry.is_frame:
            wanted.append(1)
        elif multiple is not None:
            wanted.append(-(-length // multiple) * multiple)
        else:
            wanted.append(max(length, size or 0))
    return _padded(image, wanted, step.value, step.where)


def crop(image: GridImage, step: Crop) -> GridImage:
    """Keep a part of the image.

    Raises:
        ModelInputError: nothing is foreground, or the image does not reach the box.
    """
    if step.foreground is not None:
        return cut(image, _foreground(image, step.foreground.above, step.foreground.margin))
    if step.box is not None:
        starts, stops = per_axis(step.box.start, 0), per_axis(step.box.stop, None)
        window = tuple((start or 0, stop or length) for start, stop, length in zip(starts, stops, image.shape, strict=True))
        if any(stop > length for (_, stop), length in zip(window, image.shape, strict=True)):
            raise ModelInputError(f"the image has {image.shape} pixels, the model looks at {list(step.box.start)} to {list(step.box.stop)}")
        return cut(image, window)
    lengths = per_axis(step.center or (), None)
    kept = [min(length, wanted or length) for length, wanted in zip(image.shape, lengths, strict=True)]
    return cut(image, tuple(((n - k) // 2, (n - k) // 2 + k) for n, k in zip(image.shape, kept, strict=True)))


def resize(image: GridImage, step: Resize, device: str) -> GridImage:
    """Bring rows and columns to a size, by default with the same factor and a filled border."""
    slices, rows, columns = image.shape
    height, width = step.size
    if step.keep_aspect:
        factor = min(height / rows, width / columns)
        height, width = min(height, max(1, round(rows * factor))), min(width, max(1, round(columns * factor)))
    axes = (_to_length(slices, None, Align.EDGES), _to_length(rows, height, Align.EDGES), _to_length(columns, width, Align.EDGES))
    return _padded(_sampled(image, axes, step, device), (slices, *step.size), step.value, Where.CENTER)


def cut(image: GridImage, window: Window) -> GridImage:
    """Keep the pixels of a window; no copy."""
    values = image.values[(slice(None), *(slice(start, stop) for start, stop in window))]
    return GridImage(values, image.geometry.after(scaling(np.ones(3), np.array([start for start, _ in window], np.float64))))


def per_axis(values: tuple[T, ...], left_alone: T) -> tuple[T, T, T]:
    """Spread two values (rows, columns) or three over the axes; none at all leaves all alone."""
    first, second, third = (*[left_alone] * (3 - len(values)), *values)
    return first, second, third


def _turn(affine_ras_mm: Matrix, codes: str) -> Matrix:
    """Tell which axes change places and which are flipped, as nibabel writes it."""
    now = orientations.io_orientation(affine_ras_mm)  # type: ignore[no-untyped-call]
    wanted = orientations.axcodes2ornt(codes)  # type: ignore[no-untyped-call]
    return np.asarray(orientations.ornt_transform(now, wanted), np.float64)  # type: ignore[no-untyped-call]


def _foreground(image: GridImage, above: float, margin: int) -> Window:
    inside = np.asarray((image.values > above).any(axis=0), np.bool_)
    if not inside.any():
        raise ModelInputError(f"nothing in the image is above {above:g}, where the model begins to look")
    window: list[tuple[int, int]] = []
    for axis, length in enumerate(inside.shape):
        hit = np.flatnonzero([inside.take(index, axis).any() for index in range(length)])
        window.append((max(0, int(hit[0]) - margin), min(length, int(hit[-1]) + 1 + margin)))
    return tuple(window)


def _padded(image: GridImage, lengths: Sequence[int], value: float | str, where: Where) -> GridImage:
    missing = [max(0, wanted - length) for wanted, length in zip(lengths, image.shape, strict=True)]
    if not any(missing):
        return image
    before = [m // 2 if where is Where.CENTER else 0 for m in missing]
    widths = [(0, 0), *((b, m - b) for b, m in zip(before, missing, strict=True))]
    values: Array
    if value == "edge":
        values = np.pad(image.values, widths, mode="edge")
    else:
        finite = image.values[np.isfinite(image.values)] if value == "minimum" else np.empty(0, np.float32)
        fill = (float(finite.min()) if len(finite) else 0.0) if value == "minimum" else float(value)
        values = np.pad(image.values, widths, constant_values=fill)
    return GridImage(values, image.geometry.after(scaling(np.ones(3), -np.array(before, np.float64))))


def _to_length(old: int, new: int | None, align: Align) -> AxisSampling:
    if new is None or new == old:
        return AxisSampling(old, 1.0, 0.0)
    if align is Align.EDGES or new == 1:
        scale = old / new
        return AxisSampling(new, scale, 0.5 * scale - 0.5)
    if old == 1:
        raise ModelInputError(f"an axis has 1 pixel, {new} with their centres aligned cannot be made of it")
    return AxisSampling(new, (old - 1) / (new - 1), 0.0)


def _to_spacing(length: int, old_mm: float, new_mm: float | None, align: Align) -> AxisSampling:
    if new_mm is None or abs(new_mm - old_mm) * length < 1e-6 * old_mm:
        return AxisSampling(length, 1.0, 0.0)
    scale = new_mm / old_mm
    # rounded up, so that the new grid reaches the far edge of the old one and nothing of the image is lost
    if align is Align.EDGES:
        return AxisSampling(max(1, math.ceil(length / scale - _SAME_SIZE)), scale, 0.5 * scale - 0.5)
    return AxisSampling(math.ceil((length - 1) / scale - _SAME_SIZE) + 1, scale, 0.0)


def _sampled(image: GridImage, axes: tuple[AxisSampling, ...], step: Resample | Resize, device: str) -> GridImage:
    if image.geometry.is_frame:
        axes = (AxisSampling(1, 1.0, 0.0), *axes[1:])
    if device != "cpu" and step.order is not Order.CUBIC:
        from dicom_node.inference.steps.device_arrays import resample_on_device  # noqa: PLC0415

        values = resample_on_device(image.values, axes, step.order, antialias=step.antialias, device=device)
    else:
        values = resample(image.values, axes, step.order, antialias=step.antialias)
    to_old = scaling(np.array([a.scale for a in axes]), np.array([a.offset for a in axes]))
    return GridImage(values, image.geometry.after(to_old))
