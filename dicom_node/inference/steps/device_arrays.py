"""Resampling and summing up of windows on a device, by torch; the numbers are those of the CPU but for rounding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from dicom_node.inference.steps.device_choice import device_errors
from dicom_node.inference.steps.grid import Array
from dicom_node.inference.steps.resampling import AxisSampling, taps
from dicom_node.inference.steps.slabs import Lengths, SlabAccumulator
from dicom_node.inference.steps.tensors import AnyArray
from dicom_node.inference.steps.vocabulary import Order

_TRUNCATE = 4.0


def sees_a_gpu() -> bool:
    """Whether torch can use a GPU here."""
    return bool(torch.cuda.is_available())


def resample_on_device(values: Array, axes: tuple[AxisSampling, ...], order: Order, *, antialias: bool, device: str) -> Array:
    """Do what `resampling.resample` does, nearest or linear, on a device of torch.

    Sums of products are taken element by element, never by matrix products or convolutions, which may round to TF32.

    Raises:
        StepsDeviceError: the device cannot.
    """
    with device_errors():
        return _resampled(values, axes, order, antialias=antialias, device=device)


def _resampled(values: Array, axes: tuple[AxisSampling, ...], order: Order, *, antialias: bool, device: str) -> Array:
    first = values.ndim - len(axes)
    pairs = [(first + k, sampling) for k, sampling in enumerate(axes) if not sampling.keeps(values.shape[first + k])]
    tensor = torch.from_numpy(np.ascontiguousarray(values)).to(device)
    for axis, sampling in sorted(pairs, key=lambda pair: pair[1].length / values.shape[pair[0]]):
        if antialias and sampling.blur_sigma() > 0:
            tensor = _blurred(tensor, axis, sampling.blur_sigma())
        by_point = taps(sampling.points(), tensor.shape[axis], order)
        pieces = [(torch.from_numpy(indices).to(device), torch.from_numpy(weights).to(device)) for indices, weights in by_point]
        tensor = _sum_of(tensor, axis, pieces)
    return np.asarray(tensor.cpu().numpy(), np.float32)


class DeviceSlabAccumulator(SlabAccumulator):
    """Sums stay on the device; finished slices come back."""

    def __init__(self, shape: Lengths, weights: Array, *, keep_labels: bool, device: str) -> None:
        """Name the device, as torch does."""
        self._device = device
        with device_errors():
            super().__init__(shape, weights, keep_labels=keep_labels)

    def add(self, start: Lengths, scores: AnyArray) -> None:
        """See `SlabAccumulator.add`.

        Raises:
            StepsDeviceError: the device cannot.
        """
        with device_errors():
            super().add(start, scores)

    def finish(self) -> AnyArray:
        """See `SlabAccumulator.finish`.

        Raises:
            StepsDeviceError: the device cannot.
        """
        with device_errors():
            return super().finish()

    def _shift(self, count: int) -> None:
        for array, axis in ((self._sums, 1), (self._totals, 0)):
            moved = array.movedim(axis, 0)
            rest = len(moved) - count
            moved[:rest] = moved[count:].clone()  # torch does not copy between parts that overlap
            moved[rest:] = 0

    def _zeros(self, shape: tuple[int, ...]) -> Any:
        return torch.zeros(shape, dtype=torch.float32, device=self._device)

    def _put(self, array: Array) -> Any:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

    def _get(self, array: Any) -> Array:
        return np.asarray(array.cpu().numpy(), np.float32)


def _blurred(tensor: torch.Tensor, axis: int, sigma: float) -> torch.Tensor:
    """Smooth as scipy's gaussian_filter1d does, mode nearest."""
    radius = int(_TRUNCATE * sigma + 0.5)
    weights = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(-radius, radius + 1)]
    length = tensor.shape[axis]
    places = torch.arange(length, device=tensor.device)
    pieces = [
        ((places + k).clamp(0, length - 1), torch.full((length,), w / sum(weights), dtype=torch.float32, device=tensor.device))
        for k, w in zip(range(-radius, radius + 1), weights, strict=True)
    ]
    return _sum_of(tensor, axis, pieces)


def _sum_of(tensor: torch.Tensor, axis: int, pieces: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    shape = [-1 if k == axis else 1 for k in range(tensor.ndim)]
    (indices, weights), *others = pieces
    total = tensor.index_select(axis, indices) * weights.reshape(shape)
    for indices, weights in others:
        total += tensor.index_select(axis, indices) * weights.reshape(shape)
    return total
