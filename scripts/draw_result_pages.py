"""Draws the pictures of docs/results.md from made-up images: `PYTHONPATH=. python scripts/draw_result_pages.py`."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from dicom_node.sr_writer import BuildRequest, build_results
from tests.integration.test_result_objects import request_for
from tests.phantoms import chest_series
from tests.result_findings import empty_result, request
from tests.result_sources import projections, stack

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
SIDE = 480


def pages(asked: BuildRequest) -> list[Image.Image]:
    """Draw the pages of a result."""
    return [Image.fromarray(o.data_set.pixel_array) for o in build_results(asked) if o.kind == "SC"]


def main() -> None:
    """Draw and write every picture, small enough for a page of text."""
    FOLDER.mkdir(exist_ok=True)
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
    }
    for name, page in drawn.items():
        small = page.resize((SIDE, SIDE), Image.Resampling.LANCZOS).quantize(64)
        small.save(FOLDER / f"results-{name}.png", optimize=True)


if __name__ == "__main__":
    main()
