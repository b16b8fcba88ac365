"""Slices with the segments' outlines and the highlights drawn on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from dicom_node.domain.results import Highlight, Segment, Stage
from dicom_node.sr_writer.drawing import BACKGROUND, INK, PAGE, QUIET_INK, Pixels, blended, fitted, font, outline, windowed

if TYPE_CHECKING:
    from dicom_node.sr_writer.build import BuildRequest

PAGES = 5
_LUNG_WINDOW = (-600.0, 1500.0)
_FOOTER = 60


@dataclass(frozen=True, slots=True, eq=False)
class OverlayPage:
    """A drawn slice: pixels (row, column, 3) uint8."""

    slice_index: int
    pixels: Pixels


def overlay_pages(request: BuildRequest) -> Iterator[OverlayPage]:
    """Draw slices spread evenly over the segments, in slice order; none without a segment."""
    for index in chosen_slices(request):
        yield OverlayPage(index, _page(request, index))


def chosen_slices(request: BuildRequest) -> list[int]:
    """Pick slices at even steps of the segments' volume, so that each page shows something."""
    per_slice = np.sum([s.mask.sum(axis=(1, 2)) for s in request.result.segments], axis=0)
    total = np.cumsum(per_slice) if np.ndim(per_slice) else np.zeros(0)
    if not len(total) or total[-1] == 0:
        return []
    marks = total[-1] * (np.arange(PAGES) + 0.5) / PAGES
    return sorted({int(i) for i in np.searchsorted(total, marks)})


def _page(request: BuildRequest, index: int) -> Pixels:
    spacing = request.volume.spacing_mm
    picture = windowed(request.volume.values[index], *_LUNG_WINDOW)
    rgb = np.repeat(picture[..., None], 3, axis=2)
    for highlight in request.result.highlights:
        rgb = blended(rgb, highlight.mask[index], highlight.color_rgb, 0.75)
    for segment in request.result.segments:
        rgb = blended(rgb, outline(segment.mask[index]), segment.color_rgb, 1.0)
    page = Image.new("RGB", (PAGE, PAGE), BACKGROUND)
    drawn = fitted(rgb, PAGE, PAGE - _FOOTER, (spacing[1], spacing[2]))
    page.paste(drawn, ((PAGE - drawn.width) // 2, 0))
    _write_legend(request, index, ImageDraw.Draw(page))
    return np.asarray(page)


def _write_legend(request: BuildRequest, index: int, draw: ImageDraw.ImageDraw) -> None:
    x = 16
    shown: list[Segment | Highlight] = [*request.result.segments, *request.result.highlights]
    for label, color in [(region.label, region.color_rgb) for region in shown]:
        draw.rectangle((x, PAGE - 50, x + 14, PAGE - 36), fill=color)
        draw.text((x + 22, PAGE - 52), label, INK, font(16))
        x += 22 + int(draw.textlength(label, font=font(16))) + 28
    model = request.result.model
    note = "" if model.stage is Stage.CLEARED else ", research, not for diagnosis"
    draw.text(
        (16, PAGE - 26), f"slice {index + 1} of {len(request.volume.values)}, {model.title} {model.version}{note}", QUIET_INK, font(15)
    )
