"""Masks to lines and back."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw

from dicom_node.domain.volume import Volume
from dicom_node.sr_writer.outlines import closed, mask_outlines, outline_in_space


def filled(lines: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Even-odd rule at pixel centres."""
    inside = np.zeros(shape, bool)
    rows, columns = np.meshgrid(np.arange(shape[0]) + 0.5, np.arange(shape[1]) + 0.5, indexing="ij")
    for line in lines:
        for (x0, y0), (x1, y1) in itertools.pairwise(line):
            if y0 != y1:
                crosses = (rows > min(y0, y1)) & (rows <= max(y0, y1))
                at = x0 + (rows - y0) / (y1 - y0) * (x1 - x0)
                inside ^= crosses & (columns > at)
    return inside


@given(arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_lines_of_a_mask_filled_again_are_the_mask(mask: np.ndarray) -> None:
    lines = mask_outlines(mask)
    assert np.array_equal(filled(lines, mask.shape), mask)
    assert all(np.array_equal(line[0], line[-1]) for line in lines)


def area(line: np.ndarray) -> float:
    x, y = line[:-1].T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


def test_hole_turns_the_other_way() -> None:
    mask = np.ones((5, 5), bool)
    mask[2, 2] = False
    areas = sorted(
        float(np.sum(x[:-1] * np.roll(y[:-1], -1) - np.roll(x[:-1], -1) * y[:-1]) / 2) for x, y in (line.T for line in mask_outlines(mask))
    )
    assert areas == [-1.0, 25.0]


def test_straight_edges_have_corners_only() -> None:
    mask = np.zeros((50, 60), bool)
    mask[10:40, 20:50] = True
    [line] = mask_outlines(mask)
    assert sorted({tuple(p) for p in line}) == [(20, 10), (20, 40), (50, 10), (50, 40)]


def test_long_line_is_thinned_within_a_pixel() -> None:
    picture = Image.new("1", (1600, 1600))
    ImageDraw.Draw(picture).ellipse((20, 20, 1580, 1500), fill=1)
    mask = np.asarray(picture)
    [line] = mask_outlines(mask)
    assert len(line) <= 2000
    again = Image.new("1", (1600, 1600))
    ImageDraw.Draw(again).polygon([tuple(p - 0.5) for p in line], fill=1)
    assert np.count_nonzero(np.asarray(again) != mask) < 0.004 * np.count_nonzero(mask)


def test_middle_of_the_first_pixel_is_the_position_of_the_volume() -> None:
    affine = np.array([[0, 0, 2.0, -30], [0, 3.0, 0, -40], [5.0, 0, 0, 70], [0, 0, 0, 1]])
    volume = Volume(np.zeros((2, 3, 4), np.float32), affine, "1.2", ("1.1", "1.2"))
    assert outline_in_space(volume, 0, np.array([[0.5, 0.5]])).tolist() == [[-30, -40, 70]]
    assert outline_in_space(volume, 1, np.array([[1.5, 0.5], [0.5, 1.5]])).tolist() == [[-28, -40, 75], [-30, -37, 75]]


def test_open_line_is_closed_once() -> None:
    line = np.array([[0.0, 0], [1, 0], [1, 1]])
    assert closed(line).tolist() == [[0, 0], [1, 0], [1, 1], [0, 0]]
    assert np.array_equal(closed(closed(line)), closed(line))
