"""Draws the pictures of docs/shipped-models.md from test data: python -m scripts.draw_shipped_models MODELS_DIR.

MODELS_DIR holds the three bundles with their networks (`dicom-node models add NAME --models-dir MODELS_DIR`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image, ImageDraw
from scipy import ndimage

from dicom_node.cli.demo_data import write_series
from dicom_node.domain.results import ImageRegion, InferenceResult
from dicom_node.inference import ModelInput, load_bundle, open_model
from dicom_node.inference.pixels import images_from_instances, read_instances
from dicom_node.pipeline.headers import header_attributes
from tests import colin27, screens

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
KINDS = {"TEXTLABEL": (110, 200, 110), "TEXTOTHER": (240, 200, 70), "TEXTPERSON": (235, 80, 70)}


def run(models: Path, name: str, kind: str, instances: Sequence[pydicom.Dataset]) -> tuple[InferenceResult, object]:
    model = open_model(load_bundle(models / name), threads=2)
    read = images_from_instances(kind, instances)
    try:
        return model.run({"images": ModelInput(read.images, header_attributes(read.instances[0]))}, datetime.now(UTC)), read.images
    finally:
        model.close()


def gray(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.repeat((np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)[:, :, None], 3, axis=2)


def outlined(picture: np.ndarray, mask: np.ndarray, color: Sequence[int]) -> np.ndarray:
    drawn = picture.copy()
    drawn[mask & ~ndimage.binary_erosion(mask)] = color
    return drawn


def beside(*pictures: np.ndarray) -> Image.Image:
    height = max(p.shape[0] for p in pictures)
    padded = [np.pad(p, ((0, height - p.shape[0]), (0, 8), (0, 0))) for p in pictures]
    return Image.fromarray(np.concatenate(padded, axis=1)[:, :-8])


def densitometry(models: Path, scratch: Path) -> Image.Image:
    result, volume = run(models, "chest-ct-densitometry", "volume", read_instances(write_series(scratch)))
    lungs, low = result.segments[0], result.highlights[0]
    axial = 60
    picture = gray(volume.values[axial], -1350, 150)
    picture[low.mask[axial]] = low.color_rgb
    column = volume.values.shape[2] // 3
    repeat = round(volume.spacing_mm[0] / volume.spacing_mm[1])
    up = gray(np.repeat(volume.values[::-1, :, column], repeat, axis=0), -1350, 150)
    return beside(
        outlined(picture, lungs.mask[axial], lungs.color_rgb),
        outlined(up, np.repeat(lungs.mask[::-1, :, column], repeat, axis=0), lungs.color_rgb),
    )


def brain(models: Path) -> Image.Image:
    result, volume = run(models, "brain-extraction", "volume", colin27.series(colin27.head()))
    segment = result.segments[0]
    planes = [(volume.values[95], segment.mask[95]), (volume.values[::-1, :, 88], segment.mask[::-1, :, 88])]
    planes.append((volume.values[::-1, 110], segment.mask[::-1, 110]))
    return beside(*(outlined(gray(values, 0, 170), mask, segment.color_rgb) for values, mask in planes)).resize((1160, 434))


def text(models: Path) -> Image.Image:
    spec = find_spec("data_store")
    ultrasound = pydicom.dcmread(Path(spec.origin).parent / "data" / "US1_UNCR.dcm")
    made_up = screens.capture([screens.screen((*screens.NAME_LINES, *screens.DOSE_LINES))])
    return beside(*(_boxes(models, instance) for instance in (ultrasound, made_up)))


def _boxes(models: Path, instance: pydicom.Dataset) -> np.ndarray:
    result, frames = run(models, "burned-in-text", "frames", [instance])
    values = frames.frames[0].values
    picture = Image.fromarray(values if values.ndim == 3 else gray(values, 0, 255))
    draw = ImageDraw.Draw(picture)
    for finding in result.findings:
        if isinstance(finding.region, ImageRegion):
            draw.line(finding.region.points_px, fill=KINDS[finding.evaluations[0].value.value], width=2)
    return np.asarray(picture)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    PICTURES.mkdir(exist_ok=True)
    for name, picture in (
        ("chest-ct-densitometry", densitometry(folder, folder / ".pictures")),
        ("brain-extraction", brain(folder)),
        ("burned-in-text", text(folder)),
    ):
        picture.quantize(128).save(PICTURES / f"{name}.png", optimize=True)
