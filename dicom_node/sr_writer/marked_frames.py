"""A frame of the source with everything on it that was found there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from dicom_node.domain.results import RegionKind
from dicom_node.sr_writer.content import Group, Outline
from dicom_node.sr_writer.drawing import REGION_COLORS, Pixels, Rgb, blended, fitted, full_window, outline, windowed
from dicom_node.sr_writer.fonts import Font
from dicom_node.sr_writer.result_set import ResultSet

_LABEL_SIZE = 15


@dataclass(frozen=True, slots=True)
class Drawn:
    """An outline to draw, with its colour and label; the label is empty where another of the same group has it."""

    outline: Outline
    color: Rgb
    label: str


def frame_picture(results: ResultSet, index: int) -> Pixels:
    """Show a frame in the source's window.

    Returns:
        Of a frame in colour new memory, shape (row, column, 3); of a grey one (row, column), shared and not to be changed.
    """
    frame, shown = results.source.frames[index], results.source.windowed
    if frame.values.ndim == 3:
        return np.array(frame.values, np.uint8)
    if index not in shown:
        center, width = frame.window or full_window(frame.values)  # type: ignore[arg-type]
        shown[index] = windowed(frame.values, center, width)  # type: ignore[arg-type]
    return shown[index]


def marked_frame(results: ResultSet, index: int, width: int, height: int, *, labels: bool = True) -> Image.Image:
    """Draw segments, highlights and findings of a frame and scale it into a box, pixels.

    Lines of findings are drawn after scaling, so that they are sharp on a large radiograph and on a small thumbnail.
    """
    frame = results.source.frames[index]
    pixels = frame_picture(results, index)
    result = results.request.result
    for highlight in result.highlights:
        pixels = blended(pixels, highlight.mask[index], highlight.color_rgb, 0.75)
    edge = max(1, round(max(pixels.shape[:2]) / max(width, height)))
    for segment in result.segments:
        if results.source.marks[segment.id][index]:
            pixels = blended(pixels, outline(segment.mask[index], edge), segment.color_rgb, 1.0)
    picture = fitted(pixels, width, height, frame.pixel_mm)
    scale = (picture.width / pixels.shape[1], picture.height / pixels.shape[0])
    draw = ImageDraw.Draw(picture)
    for drawn in drawn_on(results, index):
        _draw(draw, drawn, scale)
        if labels and drawn.label:
            _write_label(picture, drawn, scale, results.typeface.sized(_LABEL_SIZE))
    return picture


def drawn_on(results: ResultSet, index: int) -> list[Drawn]:
    """List the outlines of findings on a frame."""
    found = []
    for number, group in enumerate(results.page_content.findings):
        lines = [o for o in (group.place.outlines if group.place else ()) if o.index == index]
        color = REGION_COLORS[number % len(REGION_COLORS)]
        found += [Drawn(line, color, finding_label(group) if line is lines[0] else "") for line in lines]
    return found


def finding_label(group: Group) -> str:
    """Label of a finding with its certainty."""
    return group.label if group.certainty is None else f"{group.label} {100 * group.certainty:.0f} %"


def _draw(draw: ImageDraw.ImageDraw, drawn: Drawn, scale: tuple[float, float]) -> None:
    points = [(x * scale[0], y * scale[1]) for x, y in drawn.outline.points_px]
    if drawn.outline.kind is RegionKind.POINT:
        x, y = points[0]
        draw.ellipse((x - 7, y - 7, x + 7, y + 7), outline=drawn.color, width=2)
        draw.line((x - 11, y, x + 11, y), fill=drawn.color)
        draw.line((x, y - 11, x, y + 11), fill=drawn.color)
    else:
        draw.line(points, fill=drawn.color, width=2, joint="curve")


def _write_label(picture: Image.Image, drawn: Drawn, scale: tuple[float, float], font: Font) -> None:
    """Write the label above the outline, or below where there is no room."""
    draw = ImageDraw.Draw(picture)
    xs, ys = [x * scale[0] for x, _ in drawn.outline.points_px], [y * scale[1] for _, y in drawn.outline.points_px]
    size = draw.textlength(drawn.label, font=font)
    x = max(2.0, min(*xs, picture.width - size - 4))
    top, bottom = min(ys) - _LABEL_SIZE - 6, max(ys) + 4
    y = top if top >= 0 else min(bottom, picture.height - _LABEL_SIZE - 4)
    draw.rectangle((x - 2, y, x + size + 2, y + _LABEL_SIZE + 3), fill=(0, 0, 0))
    draw.text((x, y), drawn.label, drawn.color, font)
