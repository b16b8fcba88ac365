"""Pages of the source with what was found drawn on them: single frames, an overview of many slices, maps in colour."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from dicom_node.domain.results import ParametricMap
from dicom_node.sr_writer.content import SentenceKind
from dicom_node.sr_writer.drawing import BACKGROUND, INK, PAGE, QUIET_INK, WARNING, Pixels, Rgb, fitted, shortened, write_legend
from dicom_node.sr_writer.lines import unit_label
from dicom_node.sr_writer.marked_frames import drawn_on, finding_label, frame_picture, marked_frame
from dicom_node.sr_writer.result_set import ResultSet
from dicom_node.sr_writer.slices import chosen_slices, marked_pixels

_FOOTER = 62
_LEGEND = (16, PAGE - 52, PAGE - 32)
_TILES = (5, 4)
_MAP_PAGES = 3
_RAMP = np.array([(0, 0, 80), (0, 90, 200), (0, 200, 160), (240, 220, 40), (230, 60, 20)], np.float64)
"""From the lowest to the highest value of a map."""


@dataclass(frozen=True, slots=True, eq=False)
class OverlayPage:
    """A drawn page.

    Attributes:
        indices: Frames of the source that it shows.
        pixels: Shape (row, column, 3), uint8.
    """

    indices: tuple[int, ...]
    pixels: Pixels


def overlay_pages(results: ResultSet) -> Iterator[OverlayPage]:
    """Draw the frames worth showing, an overview if there are many slices, and each map."""
    if not results.source.frames:
        return
    for index in chosen_slices(results.request.result, results.source):
        yield OverlayPage((index,), _frame_page(results, index))
    tiles = _overview_slices(results)
    if tiles:
        yield OverlayPage(tuple(tiles), _overview_page(results, tiles))
    for shown in results.request.result.maps:
        for index in _map_slices(shown):
            yield OverlayPage((index,), _map_page(results, shown, index))


def _frame_page(results: ResultSet, index: int) -> Pixels:
    page = Image.new("RGB", (PAGE, PAGE), BACKGROUND)
    picture = marked_frame(results, index, PAGE, PAGE - _FOOTER)
    page.paste(picture, ((PAGE - picture.width) // 2, 0))
    draw = ImageDraw.Draw(page)
    result = results.request.result
    shown: list[tuple[str, Rgb]] = [(s.label, s.color_rgb) for s in result.segments if results.source.marks[s.id][index]]
    shown += [(h.label, h.color_rgb) for h in result.highlights if h.mask[index].any()]
    labels = {drawn.label: drawn.color for drawn in drawn_on(results, index) if drawn.label}
    whole = [(finding_label(g), INK) for g in results.page_content.findings if g.place is None]
    write_legend(draw, results.typeface, _LEGEND, [*shown, *labels.items(), *whole])
    key = "slice_of" if results.source.volume is not None else "frame_of"
    _write_footer(results, draw, results.page_words(key, number=index + 1, count=len(results.source.frames)))
    return np.asarray(page)


def _write_footer(results: ResultSet, draw: ImageDraw.ImageDraw, what: str) -> None:
    """Say what is seen, which model drew it, and that it is not to be relied on."""
    model = results.request.result.model
    stage = next(s.text for s in results.page_content.sentences if s.kind is SentenceKind.STAGE)
    font = results.typeface.sized(15)
    text = shortened(
        draw, f"{what}, {model.title} {model.version}", 15, PAGE - 32 - int(draw.textlength(stage, font=font)) - 16, results.typeface
    )
    draw.text((16, PAGE - 26), text, QUIET_INK, font)
    draw.text((PAGE - 16, PAGE - 26), stage, WARNING, font, anchor="ra")


def _overview_slices(results: ResultSet) -> list[int]:
    """Slices of the overview: evenly over what is marked; none where single pages show as much."""
    if results.source.volume is None:
        return []
    counts = marked_pixels(results.source)
    touched = set(np.flatnonzero(counts).tolist())
    touched |= {o.index for g in results.page_content.findings if g.place for o in g.place.outlines}
    if len(touched) <= 5:
        return []
    order = np.array(sorted(touched))
    steps = np.linspace(0, len(order) - 1, min(len(order), _TILES[0] * _TILES[1])).round().astype(int)
    return [int(i) for i in order[np.unique(steps)]]


def _overview_page(results: ResultSet, indices: list[int]) -> Pixels:
    page = Image.new("RGB", (PAGE, PAGE), BACKGROUND)
    draw = ImageDraw.Draw(page)
    columns, rows = _TILES
    width, height = PAGE // columns, (PAGE - _FOOTER) // rows
    for number, index in enumerate(indices):
        x, y = number % columns * width, number // columns * height
        tile = marked_frame(results, index, width - 4, height - 4, labels=False)
        page.paste(tile, (x + (width - tile.width) // 2, y + (height - tile.height) // 2))
        draw.text((x + 4, y + 2), str(index + 1), INK, results.typeface.sized(13))
    result = results.request.result
    shown = [(s.label, s.color_rgb) for s in result.segments] + [(h.label, h.color_rgb) for h in result.highlights]
    write_legend(draw, results.typeface, _LEGEND, shown)
    _write_footer(results, draw, results.page_words("overview", shown=len(indices), count=len(results.source.frames)))
    return np.asarray(page)


def _map_slices(shown: ParametricMap) -> list[int]:
    """The frames where the map is highest on average."""
    means = np.nan_to_num(np.nanmean(shown.values, axis=(1, 2)), nan=-np.inf)
    return sorted(int(i) for i in np.argsort(means)[::-1][:_MAP_PAGES])


def _map_page(results: ResultSet, shown: ParametricMap, index: int) -> Pixels:
    """Lay a map over its frame, the more opaque the higher, with a bar that says which colour is which value."""
    low, high = float(np.nanmin(shown.values)), float(np.nanmax(shown.values))
    part = np.nan_to_num((shown.values[index] - low) / max(high - low, 1e-12))
    below, opacity = frame_picture(results, index), (0.65 * part)[..., None]
    below = below if below.ndim == 3 else below[..., None]
    rgb = (below.astype(np.float64) * (1 - opacity) + _ramp(part) * opacity).astype(np.uint8)
    page = Image.new("RGB", (PAGE, PAGE), BACKGROUND)
    picture = fitted(rgb, PAGE - 70, PAGE - _FOOTER, results.source.frames[index].pixel_mm)
    page.paste(picture, ((PAGE - 70 - picture.width) // 2, 0))
    draw = ImageDraw.Draw(page)
    bar = _ramp(np.linspace(1, 0, 300)[:, None].repeat(16, axis=1)).astype(np.uint8)
    page.paste(Image.fromarray(bar), (PAGE - 40, 60))
    font = results.typeface.sized(13)
    draw.text((PAGE - 12, 42), f"{high:.4g}", INK, font, anchor="ra")
    draw.text((PAGE - 12, 364), f"{low:.4g}", INK, font, anchor="ra")
    legend = results.page_words("map_legend", label=shown.label, unit=unit_label(shown.unit.value)).rstrip(", ")
    write_legend(draw, results.typeface, _LEGEND, [(legend, INK)])
    _write_footer(results, draw, results.page_words("slice_of", number=index + 1, count=len(results.source.frames)))
    return np.asarray(page)


def _ramp(part: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    places = np.linspace(0, 1, len(_RAMP))
    return np.stack([np.interp(part, places, _RAMP[:, channel]) for channel in range(3)], axis=-1)
