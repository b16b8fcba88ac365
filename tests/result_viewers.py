"""Programs that radiologists' viewers are made of, run on result objects: cornerstone's adapters and dcmjs (OHIF), DCMTK, PDFium."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.conftest import ROOT

READER = ROOT / "tests" / "viewers"
needs_npm = pytest.mark.skipif(not (READER / "node_modules").is_dir(), reason="no `npm ci` was run in tests/viewers; `make test` does")


def ohif_reads(folder: Path) -> dict[str, Any]:
    """What OHIF's code makes of source-*.dcm, seg-*.dcm, sr-*.dcm and pm-*.dcm of a folder; other files are parsed."""
    node = shutil.which("node")
    assert node is not None
    done = subprocess.run([node, READER / "read.mjs", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Drawn:
    """A graphic that DCMTK finds in a presentation state for one image."""

    layer: str
    kind: str
    points_px: NDArray[np.float64]


@dataclass(frozen=True)
class Presented:
    """An image as DCMTK presents it.

    Attributes:
        gray: Shape (row, column), 0 to 255, through the state's window.
        texts: By layer.
    """

    gray: NDArray[np.uint8]
    graphics: tuple[Drawn, ...]
    texts: tuple[tuple[str, str], ...]


def presented(state: Path, image: Path, frame: int = 1) -> Presented:
    """Apply a presentation state; dcmp2pgm paints gray values alone and lists the marks."""
    picture = state.with_name(f"{state.stem}-{image.stem}-{frame}.pgm")
    command = ["/usr/bin/dcmp2pgm", "-v", "-f", str(frame), "-p", str(state), str(image), str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    listed = done.stdout + done.stderr
    assert done.returncode == 0, listed
    layer, graphics, texts = "", [], []
    for line in listed.splitlines():
        if found := re.search(r"Graphic Layer #\d+ \[(.*)\]", line):
            layer = found[1]
        elif found := re.search(r'text \d+: "(.*)"', line):
            texts.append((layer, found[1]))
        elif found := re.search(r"graphic \d+: points=\d+ type=(\w+)", line):
            graphics.append((layer, found[1]))
        elif found := re.search(r"coordinates: (.*)", line):
            points = np.array([[float(v) for v in pair.split("\\")] for pair in found[1].replace(" ", "").strip(",").split(",")])
            graphics[-1] = Drawn(*graphics[-1][:2], points)  # type: ignore[index,call-overload,misc]
    return Presented(np.asarray(Image.open(picture)), tuple(graphics), tuple(texts))  # type: ignore[arg-type]


def run_dcmtk(program: str, *arguments: object) -> str:
    """Run one of DCMTK's programs and return what it prints; its warnings are faults."""
    done = subprocess.run([f"/usr/bin/{program}", *map(str, arguments)], capture_output=True, check=False)
    said = done.stderr.decode("utf-8", "replace")
    assert done.returncode == 0, said
    return done.stdout.decode("utf-8", "replace") + said


def picture_by_dcmtk(capture: Path) -> NDArray[np.uint8]:
    """Pixels of a capture; shape (row, column, 3)."""
    target = capture.with_suffix(".ppm")
    run_dcmtk("dcm2pnm", "+op", capture, target)
    return np.asarray(Image.open(target))


def pages_of(document: Path, scale: float = 1.0) -> list[tuple[str, Image.Image]]:
    """Text and picture of each page of an encapsulated PDF, taken out by DCMTK and drawn by PDFium."""
    target = document.with_suffix(".pdf")
    run_dcmtk("dcm2pdf", document, target)
    opened = pypdfium2.PdfDocument(target)
    try:
        return [(page.get_textpage().get_text_range(), page.render(scale=scale).to_pil()) for page in opened]
    finally:
        opened.close()
