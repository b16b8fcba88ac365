"""Steps that change values and keep the grid. Statistics are taken of finite values; what is no number stays none until `fill_nan`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import ModelInputError
from dicom_node.inference.steps.grid import Array, GridImage
from dicom_node.inference.steps.preprocess_schema import Clip, FillNan, Normalisation, Normalise, PercentileClip, Values, Window

_SMALLEST_STD = 1e-6
"""Relative to the largest value: what rounding makes of a constant image in float32."""


def window(image: GridImage, step: Window) -> GridImage:
    """Clip to a window and bring it to a range.

    Raises:
        ModelInputError: the frame's own window is wanted and it has none.
    Source: PS3.3 C.11.2.1.3.2 (LINEAR_EXACT).
    """
    lower, upper = _window_ends(image, step)
    low, high = step.to
    values = np.clip(image.values, np.float32(lower), np.float32(upper)).astype(np.float64)
    return _with(image, (values - lower) / (upper - lower) * (high - low) + low)


def clip(image: GridImage, step: Clip) -> GridImage:
    """Limit values."""
    return _with(image, np.clip(image.values, step.lower, step.upper))


def percentile_clip(image: GridImage, step: PercentileClip) -> GridImage:
    """Limit values to percentiles of the image itself; an image without any value stays as it is."""
    counted = _counted(image.values, nonzero=step.nonzero)
    if len(counted) == 0:
        return image
    lower, upper = np.percentile(counted, [step.lower, step.upper])
    return _with(image, np.clip(image.values, np.float32(lower), np.float32(upper)))


def normalise(image: GridImage, step: Normalise) -> GridImage:
    """Bring values to a common scale; of a constant image nothing but 0 (zscore) or the lower end (minmax) is left."""
    if step.kind is Normalisation.SCALE:
        return _with(image, image.values.astype(np.float64) * step.scale + step.offset)
    if step.kind is Normalisation.MINMAX:
        return _with(image, _minmax(image.values, step.to))
    means, stds = _given(step.mean, len(image.values)), _given(step.std, len(image.values))
    channels = [_zscore(c, mean, std, nonzero=step.nonzero) for c, mean, std in zip(image.values, means, stds, strict=True)]
    return _with(image, np.stack(channels))


def fill_nan(image: GridImage, step: FillNan) -> GridImage:
    """Replace what is no number."""
    return _with(image, np.nan_to_num(image.values, nan=step.value, posinf=step.value, neginf=step.value))


def _window_ends(image: GridImage, step: Window) -> tuple[float, float]:
    if step.lower is not None and step.upper is not None:
        return step.lower, step.upper
    if step.center is not None and step.width is not None:
        return step.center - step.width / 2, step.center + step.width / 2
    frame = image.geometry.source.frame
    if frame is None or frame.window is None or frame.window[1] <= 0:
        raise ModelInputError("the image has no window of its own (Window Center, Window Width), the model needs it")
    center, width = frame.window
    return center - width / 2, center + width / 2


def _minmax(values: Array, to: tuple[float, float]) -> NDArray[np.float64]:
    counted = _counted(values, nonzero=False)
    low, high = (float(counted.min()), float(counted.max())) if len(counted) else (0.0, 0.0)
    shifted = values.astype(np.float64) - low
    if high > low:
        shifted /= high - low
    return shifted * (to[1] - to[0]) + to[0]


def _zscore(channel: Array, mean: float | None, std: float | None, *, nonzero: bool) -> NDArray[np.float64]:
    counted = _counted(channel, nonzero=nonzero).astype(np.float64)
    of_image = float(counted.mean()) if len(counted) else 0.0
    center = of_image if mean is None else mean
    width = std
    if width is None:
        width = float(counted.std()) if len(counted) else 0.0
        if width <= _SMALLEST_STD * max(abs(of_image), 1e-30):
            # without a spread there is nothing to scale; a given mean still shows how far off the image is, but in no unit
            return np.where(np.isfinite(channel), 0.0, channel.astype(np.float64))
    scaled = (channel.astype(np.float64) - center) / width
    return np.where(channel == 0, 0.0, scaled) if nonzero else scaled


def _counted(values: Array, *, nonzero: bool) -> Array:
    counted = np.isfinite(values)
    if nonzero:
        counted &= values != 0
    return values[counted]


def _given(value: Values | float | None, channels: int) -> tuple[float | None, ...]:
    if not isinstance(value, tuple):
        return (value,) * channels
    if len(value) != channels:
        raise ModelInputError(f"the image has {channels} channels, the model's normalisation {len(value)}")
    return value


def _with(image: GridImage, values: NDArray[np.floating]) -> GridImage:
    return GridImage(np.asarray(values, np.float32), image.geometry)
