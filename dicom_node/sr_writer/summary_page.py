"""The page a radiologist reads first: outcome, findings, figures, warnings, where the result lies, how the values spread."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dicom_node.sr_writer.content import Outcome
from dicom_node.sr_writer.drawing import (
    BACKGROUND,
    INK,
    PAGE,
    QUIET_INK,
    RULE,
    WARNING,
    Pixels,
    Rgb,
    blended,
    fitted,
    full_window,
    shortened,
    windowed,
    wrapped,
    write_legend,
)
from dicom_node.sr_writer.lines import Line, LineKind, report_lines, unit_label
from dicom_node.sr_writer.marked_frames import marked_frame
from dicom_node.sr_writer.result_set import ResultSet
from dicom_node.sr_writer.slices import chosen_slices

_MARGIN = 28
_COLUMNS = (_MARGIN, 270, 400)
_PICTURE_TOP, _PICTURE_BOTTOM = 470, PAGE - 40
_BINS = 64


def summary_page(results: ResultSet) -> Pixels:
    """Draw the page, (row, column, 3) uint8."""
    page = Image.new("RGB", (PAGE, PAGE), BACKGROUND)
    draw = ImageDraw.Draw(page)
    model = results.request.result.model
    pictures = _pictures(results)
    end = _PICTURE_TOP - 8 if pictures else _PICTURE_BOTTOM
    lines = report_lines(results.page_content, results.page_words)
    title = shortened(draw, model.title, 34, PAGE - 2 * _MARGIN, results.typeface)
    draw.text((_MARGIN, 20), title, INK, results.typeface.sized(34))
    draw.text((_MARGIN, 62), results.page_words("version", version=model.version), QUIET_INK, results.typeface.sized(16))
    below = _draw_banner(results, draw, [line for line in lines if line.kind is LineKind.BANNER])
    rest = [line for line in lines if line.kind not in (LineKind.TITLE, LineKind.BANNER)]
    notes = [line for line in rest if line.kind in (LineKind.WARNING, LineKind.TEXT)]
    rows = [line for line in rest if line.kind in (LineKind.ROW, LineKind.HEADING)][:-1]  # the last heading is that of the notes
    below = _draw_rows(results, draw, rows, (below, end - min(110, 22 * len(notes))))
    _draw_notes(results, draw, notes, (below + 8, end))
    for number, picture in enumerate(pictures):
        page.paste(picture, (_MARGIN + number * (PAGE - _MARGIN) // 2, _PICTURE_TOP))
    engine, small = f"{model.manufacturer}, {model.backend} {model.precision}", results.typeface.sized(14)
    draw.text((PAGE - _MARGIN, PAGE - 30), engine, QUIET_INK, small, anchor="ra")
    if pictures:
        left = PAGE - 3 * _MARGIN - int(draw.textlength(engine, font=small))
        segments = [(s.label, s.color_rgb) for s in results.request.result.segments if results.source.is_marked(s)]
        write_legend(draw, results.typeface, (_MARGIN, PAGE - 32, left), segments)
    return np.asarray(page)


def _draw_banner(results: ResultSet, draw: ImageDraw.ImageDraw, lines: list[Line]) -> int:
    """Outcomes without figures in big letters, then the stage of the model; returns where the rest begins."""
    y = 88
    big = results.page_content.outcome is not Outcome.FOUND
    for number, line in enumerate(lines):
        size = 44 if big and number == 0 else 20 if big else 18
        for text in wrapped(draw, line.text, size, PAGE - 2 * _MARGIN, results.typeface):
            draw.text((_MARGIN, y), text, INK if big and number == 0 else WARNING, results.typeface.sized(size))
            y += size + 8
    return y + 8


def _draw_rows(results: ResultSet, draw: ImageDraw.ImageDraw, rows: list[Line], between: tuple[int, int]) -> int:
    """Draw table rows between two heights; what has no room is counted, not dropped in silence."""
    y, end = between
    for number, row in enumerate(rows):
        notes = wrapped(draw, row.note, 14, PAGE - _MARGIN - _COLUMNS[2], results.typeface)
        height = 26 if row.kind is LineKind.HEADING else max(28, 17 * len(notes) + 10)
        if y + height > end - 22 and number < len(rows) - 1:
            left = sum(r.kind is LineKind.ROW for r in rows[number:])
            draw.text((_MARGIN, y), results.page_words("more_rows", count=left), WARNING, results.typeface.sized(15))
            return y + 22
        if row.kind is LineKind.HEADING:
            draw.text((_MARGIN, y + 4), row.text, QUIET_INK, results.typeface.sized(15))
        else:
            draw.line((_MARGIN, y - 1, PAGE - _MARGIN, y - 1), fill=RULE)
            _draw_cells(results, draw, row, y)
            for line, note in enumerate(notes):
                draw.text((_COLUMNS[2], y + 4 + 17 * line), note, QUIET_INK, results.typeface.sized(14))
        y += height
    return y


def _draw_cells(results: ResultSet, draw: ImageDraw.ImageDraw, row: Line, y: int) -> None:
    room = (_COLUMNS[1] if row.value else PAGE - _MARGIN) - _COLUMNS[0] - 8
    base, font = y + 19, results.typeface.sized(19)  # on one base line, whatever the font's height
    draw.text((_COLUMNS[0], base), shortened(draw, row.text, 19, room, results.typeface), INK, font, anchor="ls")
    room = (_COLUMNS[2] if row.note else PAGE - _MARGIN) - _COLUMNS[1] - 8
    draw.text((_COLUMNS[1], base), shortened(draw, row.value, 19, room, results.typeface), INK, font, anchor="ls")


def _draw_notes(results: ResultSet, draw: ImageDraw.ImageDraw, notes: list[Line], between: tuple[int, int]) -> None:
    y, end = between
    for number, note in enumerate(notes):
        color = WARNING if note.kind is LineKind.WARNING else QUIET_INK
        for line in wrapped(draw, note.text, 15, PAGE - 2 * _MARGIN, results.typeface):
            if y + 19 > end:
                draw.text((PAGE - _MARGIN, end - 17), f"+{len(notes) - number}", WARNING, results.typeface.sized(14), anchor="ra")
                return
            draw.text((_MARGIN, y), line, color, results.typeface.sized(15))
            y += 19
        y += 4


def _pictures(results: ResultSet) -> list[Image.Image]:
    """At most two: a front view and the spread of values of a marked volume; else the first frame worth showing."""
    if not results.source.frames:
        return []
    width, height = (PAGE - 3 * _MARGIN) // 2, _PICTURE_BOTTOM - _PICTURE_TOP
    result = results.request.result
    if results.source.volume is not None and any(map(results.source.is_marked, result.segments)):
        mask = _union(results)
        return [_front_view(results, mask, width, height), _histogram(results, mask, width, height)]
    return [marked_frame(results, index, width, height) for index in chosen_slices(result, results.source)[:2]]


def _union(results: ResultSet) -> NDArray[np.bool_]:
    """Where any segment is."""
    segments = [s for s in results.request.result.segments if results.source.is_marked(s)]
    union = segments[0].mask.copy()
    for segment in segments[1:]:
        touched = results.source.touched(segment)
        union[touched[0] : touched[-1] + 1] |= segment.mask[touched[0] : touched[-1] + 1]
    return union


def _front_view(results: ResultSet, mask: NDArray[np.bool_], width: int, height: int) -> Image.Image:
    """The volume cut along its slice axis where most is marked; of axial slices a front view, the patient's right on the left."""
    volume = results.source.volume
    assert volume is not None  # noqa: S101 - asked of volumes only
    row = int(np.argmax(mask.sum(axis=(0, 2))))
    center, breadth = results.source.frames[0].window or full_window(volume.values)
    rgb = windowed(np.ascontiguousarray(volume.values[:, row]), center, breadth)
    for segment in results.request.result.segments:
        rgb = blended(rgb, segment.mask[:, row], segment.color_rgb, 0.35)
    for highlight in results.request.result.highlights:
        rgb = blended(rgb, highlight.mask[:, row], highlight.color_rgb, 0.85)
    if volume.affine_lps_mm[2, 0] > 0:
        rgb = rgb[::-1]
    if volume.affine_lps_mm[0, 2] < 0:
        rgb = rgb[:, ::-1]
    return fitted(np.ascontiguousarray(rgb), width, height, (volume.spacing_mm[0], volume.spacing_mm[2]))


def _histogram(results: ResultSet, mask: NDArray[np.bool_], width: int, height: int) -> Image.Image:
    """How the values of the marked voxels spread, the part below highlights in their colour."""
    volume = results.source.volume
    assert volume is not None  # noqa: S101 - asked of volumes only
    picture = Image.new("RGB", (width, height), BACKGROUND)
    draw, font = ImageDraw.Draw(picture), results.typeface.sized(13)
    values = volume.values[mask]
    low, high = (float(v) for v in np.percentile(values, (0.5, 99.5)))
    high = high if high > low else low + 1
    parts: list[tuple[NDArray[np.float32], Rgb]] = [(values, results.request.result.segments[0].color_rgb)]
    parts += [(volume.values[mask & h.mask], h.color_rgb) for h in results.request.result.highlights]
    base, tallest = height - 26, 1
    for part, color in parts:
        counts, _ = np.histogram(part, bins=_BINS, range=(low, high))
        tallest = max(tallest, int(counts.max()))
        for number, count in enumerate(counts):
            x0, x1 = width * number // _BINS, width * (number + 1) // _BINS - 1
            top = base - int((height - 60) * count / tallest)
            draw.rectangle((x0, top, x1, base), fill=color)
    draw.line((0, base, width, base), fill=QUIET_INK)
    for x, anchor in ((0, "la"), (width // 2, "ma"), (width - 1, "ra")):
        draw.text((x, base + 7), f"{low + (high - low) * x / (width - 1):.4g}", QUIET_INK, font, anchor=anchor)
    unit = "HU" if str(results.source.headers[0].Modality) == "CT" else unit_label("1")
    title = results.page_words("values_of_marked", unit=unit).rstrip(", ")
    draw.text((0, 0), title, QUIET_INK, results.typeface.sized(15))
    return picture
