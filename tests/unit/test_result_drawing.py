"""Drawing on part of a picture, or in steps, gives what drawing on the whole at once gives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from dicom_node.sr_writer.drawing import blended, full_window, outline, windowed


@pytest.mark.parametrize("seed", range(40))
def test_full_window_is_that_of_the_percentiles(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = (random.normal(0, 900, random.integers(1, 4000)) if seed % 2 else random.integers(-5, 400, seed + 1)).astype(np.float32)
    values[: seed % 3] = (np.nan, np.inf)[: len(values[: seed % 3])]
    shown = values[np.isfinite(values)]
    above = shown[shown > shown.min()] if shown.size else np.zeros(1, np.float32)
    low, high = (float(v) for v in np.percentile(above if above.size else shown, (1, 99)))
    assert full_window(values) == ((low + high) / 2, max(high - low, 1e-6))


def test_window_is_linear_and_shows_what_is_no_number_in_black() -> None:
    values = np.random.default_rng(1).normal(100, 300, (701, 333)).astype(np.float32)
    values[5, :4] = np.nan, np.inf, -np.inf, -0.0
    wanted = np.clip(np.nan_to_num((values - (40.5 - 401 / 2)) * (255.0 / 401)), 0, 255).astype(np.uint8)
    assert np.array_equal(windowed(values, 40.5, 401), wanted)
    assert list(windowed(values, 40.5, 401)[5, :3]) == [0, 255, 0]


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("place", [np.s_[3:9, 4:30], np.s_[0:5, 0:40], np.s_[11:12, 39:40], np.s_[0:0, 0:0]])
def test_edge_and_tint_are_those_of_the_whole_mask(place: tuple[slice, slice], width: int) -> None:
    mask = np.zeros((12, 40), np.bool_)
    mask[place] = True
    mask[4, 6] = False
    edge = mask & ~ndimage.binary_erosion(mask, iterations=width)
    assert np.array_equal(outline(mask, width), edge)
    gray = np.arange(480, dtype=np.uint32).reshape(12, 40).astype(np.uint8)
    wanted = np.repeat(gray[..., None], 3, axis=2)
    wanted[mask] = (wanted[mask] * (1 - 0.35) + np.array((200, 10, 90)) * 0.35).astype(np.uint8)
    assert np.array_equal(blended(gray.copy(), mask, (200, 10, 90), 0.35), wanted)
