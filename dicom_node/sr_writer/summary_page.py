"""The page a radiologist reads first: figures, warnings, where the result lies, how the densities spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dicom_node.domain.results import Stage
from dicom_node.sr_writer.drawing import BACKGROUND, INK, PAGE, QUIET_INK, WARNING, Pixels, blended, fitted, font, windowed, wrapped

if TYPE_CHECKING:
    from dicom_node.sr_writer.build import BuildRequest

_MARGIN = 28
_WINDOW = (-500.0, 1800.0)
_UNITS = {"[hnsf'U]": "HU"}
_PICTURE_TOP, _PICTURE_BOTTOM = 452, PAGE - 40


def summary_page(request: BuildRequest) -> Pixels:
    """Draw the page, (row, column, 3) uint8."""
    page = Image.new("RGB", (PAGE, PAGE), BACKGROUND)
    draw = ImageDraw.Draw(page)
    model = request.result.model
    draw.text((_MARGIN, 22), model.title, INK, font(34))
    stage = "" if model.stage is Stage.CLEARED else "Research software. Not for diagnosis."
    draw.text((_MARGIN, 66), f"version {model.version}    {stage}", WARNING if stage else QUIET_INK, font(18))
    below = _draw_table(request, draw, 108)
    _draw_notes(request, draw, below + 10)
    half = (PAGE - 3 * _MARGIN) // 2
    mask = np.any([s.mask for s in request.result.segments], axis=0) if request.result.segments else None
    if mask is not None and mask.any():
        page.paste(_coronal(request, mask, half), (_MARGIN, _PICTURE_TOP))
        _draw_histogram(draw, request.volume.values[mask], (2 * _MARGIN + half, _PICTURE_TOP, half, _PICTURE_BOTTOM - _PICTURE_TOP))
    draw.text((_MARGIN, PAGE - 30), f"{model.manufacturer}, {model.backend} {model.precision}", QUIET_INK, font(14))
    return np.asarray(page)


def _draw_table(request: BuildRequest, draw: ImageDraw.ImageDraw, top: int) -> int:
    for x, heading in ((_MARGIN, "Measurement"), (260, "Value"), (400, "Reference range")):
        draw.text((x, top), heading, QUIET_INK, font(15))
    y = top + 26
    for m in request.result.measurements:
        draw.line((_MARGIN, y - 3, PAGE - _MARGIN, y - 3), fill=(44, 50, 58))
        draw.text((_MARGIN, y), m.label, INK, font(20))
        unit = _UNITS.get(m.unit.value, m.unit.value)
        draw.text((260, y), f"{m.value:,.0f} {unit}" if abs(m.value) >= 100 else f"{m.value:.2f} {unit}", INK, font(20))
        lines = wrapped(draw, m.reference_range, 14, PAGE - _MARGIN - 400)
        for number, line in enumerate(lines):
            draw.text((400, y + 3 + 17 * number), line, QUIET_INK, font(14))
        y += max(30, 17 * len(lines) + 10)
    return y


def _draw_notes(request: BuildRequest, draw: ImageDraw.ImageDraw, top: int) -> None:
    y = top
    warnings = [w for w in (request.replaces, *request.result.warnings) if w]
    notes = [(w, WARNING) for w in warnings] + [(f"Intended use: {request.result.model.intended_use}", QUIET_INK)]
    for text, color in notes:
        for line in wrapped(draw, text, 15, PAGE - 2 * _MARGIN):
            if y + 20 > _PICTURE_TOP:
                return
            draw.text((_MARGIN, y), line, color, font(15))
            y += 19
        y += 4


def _coronal(request: BuildRequest, mask: NDArray[np.bool_], side: int) -> Image.Image:
    """The row with most of the segment, as a front view: superior up, patient's right on the left."""
    volume = request.volume
    row = int(np.argmax(mask.sum(axis=(0, 2))))
    rgb = blended(windowed(np.ascontiguousarray(volume.values[:, row]), *_WINDOW), mask[:, row], request.result.segments[0].color_rgb, 0.35)
    for highlight in request.result.highlights:
        rgb = blended(rgb, highlight.mask[:, row], highlight.color_rgb, 0.85)
    if volume.affine_lps_mm[2, 0] > 0:
        rgb = rgb[::-1]
    if volume.affine_lps_mm[0, 2] < 0:
        rgb = rgb[:, ::-1]
    return fitted(np.ascontiguousarray(rgb), side, _PICTURE_BOTTOM - _PICTURE_TOP, (volume.spacing_mm[0], volume.spacing_mm[2]))


def _draw_histogram(draw: ImageDraw.ImageDraw, values: NDArray[np.float32], box: tuple[int, int, int, int]) -> None:
    left, top, width, height = box
    counts, edges = np.histogram(values, bins=64, range=(-1024.0, -400.0))
    base, tallest = top + height - 26, max(int(counts.max()), 1)
    for number, count in enumerate(counts):
        x0, x1 = left + width * number // 64, left + width * (number + 1) // 64 - 1
        color = (230, 60, 50) if edges[number + 1] <= -950 else (70, 170, 220)
        draw.rectangle((x0, base - int((height - 60) * count / tallest), x1, base), fill=color)
    draw.line((left, base, left + width, base), fill=QUIET_INK)
    for tick in (-1000, -950, -800, -600, -400):
        x = left + int(width * (tick + 1024) / 624)
        draw.line((x, base, x, base + 5), fill=QUIET_INK)
        if tick != -1000:
            draw.text((x, base + 7), str(tick), QUIET_INK, font(13), anchor="ma" if tick < -400 else "ra")
    draw.text((left, top), "Density of the marked voxels, HU", QUIET_INK, font(15))
