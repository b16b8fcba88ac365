"""The pictures of docs/results.md: pages as the node draws them, and results as DCMTK, PDFium and Chromium show them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset

from dicom_node.sr_writer import BuildRequest, ObjectKind, ResultForm, build_results
from tests.conftest import ROOT
from tests.integration.test_result_objects import request_for
from tests.phantoms import chest_series
from tests.result_findings import empty_result, request
from tests.result_sources import projections, stack
from tests.result_viewers import pages_of, presented

FOLDER = ROOT / "docs" / "pictures"
SIDE = 480
TEXT_PX = (5, 12)


def pictures() -> dict[str, Image.Image]:
    """Every picture by name, small enough for a page of text."""
    chest, marked, radiograph = pages(request_for(chest_series())), pages(request(stack())), pages(request(projections("DX", 1)))
    reason = "the slices are unevenly spaced: 2.500 to 7.500 mm; a slice may be missing"
    korean = stack()
    for ds in korean.data_sets:
        ds.SpecificCharacterSet = "ISO_IR 192"
    drawn = {
        "summary": chest[0],
        "slice": chest[3],
        "overview": chest[-1],
        "radiograph": radiograph[1],
        "map": marked[-1],
        "not-analysed": pages(request(stack(), empty_result(not_analysed=(reason,))))[0],
        "korean": pages(request(korean, language="ko"))[0],
        "presentation-state": presentation_state(),
        "document": document(),
    }
    return {name: small(picture) for name, picture in drawn.items()}


def small(picture: Image.Image) -> Image.Image:
    """Reduce to what a page of text has room for, in 64 colours."""
    picture = picture.convert("RGB")
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return picture.quantize(64)


def pages(asked: BuildRequest) -> list[Image.Image]:
    """Draw the pages of a result."""
    return [Image.fromarray(o.data_set.pixel_array) for o in build_results(asked) if o.kind == "SC"]


def presentation_state() -> Image.Image:
    """A slice with its presentation state: gray values by DCMTK, lines where DCMTK reads them, which itself paints none."""
    asked = request(stack(), form=ResultForm(frozenset({ObjectKind.PR})))
    with tempfile.TemporaryDirectory() as name:
        state = saved(build_results(asked)[0].data_set, Path(name) / "state.dcm")
        source = [saved(ds, Path(name) / f"{n:03d}.dcm") for n, ds in enumerate(asked.source)]
        found = max((presented(state, path) for path in source), key=lambda page: len(page.graphics))
    scale = SIDE // found.gray.shape[1]
    size = (found.gray.shape[1] * scale, found.gray.shape[0] * scale)
    picture = Image.fromarray(found.gray).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    draw = ImageDraw.Draw(picture)
    texts = dict(found.texts)
    for row, graphic in enumerate(found.graphics):
        points = [(float(x) * scale, float(y) * scale) for x, y in np.atleast_2d(graphic.points_px)]
        if len(points) > 1:
            draw.line(points, fill=(255, 210, 60), width=2)
        at = (points[0][0] + TEXT_PX[0], points[0][1] - TEXT_PX[1] * (row + 1))
        draw.text(at, texts.get(graphic.layer, ""), fill=(255, 210, 60))
    return picture


def document() -> Image.Image:
    """First page of the PDF, taken out by DCMTK and drawn by PDFium."""
    [item] = build_results(request(stack(), form=ResultForm(frozenset({ObjectKind.DOC}))))
    with tempfile.TemporaryDirectory() as name:
        return pages_of(saved(item.data_set, Path(name) / "document.dcm"))[0][1]


def saved(ds: Dataset, path: Path) -> Path:
    ds.save_as(path, enforce_file_format=True)
    return path
