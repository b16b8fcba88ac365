"""Brain extraction on a real head, from the DICOM series to the result, beside deepbet's own program."""

from __future__ import annotations

import sys
import types
import warnings
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from dicom_node.errors import ModelInputError
from dicom_node.inference import Model, ModelInput, load_bundle, open_model
from dicom_node.inference.model import StepRecorder
from dicom_node.inference.pixels import images_from_instances
from dicom_node.inference.session import Tensors
from dicom_node.inference.weights import load_recipe
from dicom_node.inference.weights.wheels import fetched_wheel
from dicom_node.pipeline.headers import header_attributes
from tests import colin27

NOW = datetime(2024, 5, 6, tzinfo=UTC)
COLIN27_ML = 1956.468
pytestmark = pytest.mark.skipif(not colin27.FILE.exists(), reason="Debian's package mricron-data is not installed: make system-packages")


@pytest.fixture(scope="module")
def model(brain_folder: Path) -> Iterator[Model]:
    opened = open_model(load_bundle(brain_folder / "brain-extraction"), threads=1)
    yield opened
    opened.close()


def model_input(taken: colin27.Head, **elements: object) -> ModelInput:
    read = images_from_instances("volume", colin27.series(taken, **elements))
    return ModelInput(read.images, header_attributes(read.instances[0]))


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))


def deepbets_mask(wheel: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Run deepbet's own program out of its wheel; what it imports beside torch for other purposes is left out."""
    filling = types.ModuleType("fill_voids")
    filling.fill = ndimage.binary_fill_holes  # type: ignore[attr-defined]
    bar = types.ModuleType("tqdm")
    bar.tqdm = None  # type: ignore[attr-defined]
    for name, module in (("fill_voids", filling), ("tqdm", bar), ("pandas", types.ModuleType("pandas"))):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.syspath_prepend(str(wheel))
    with zipfile.ZipFile(wheel) as archive:
        fine, coarse = (archive.extract(f"data/models/{name}.pt", folder) for name in ("model", "bbox_model"))
    with warnings.catch_warnings(action="ignore"):  # TorchScript says that it is old
        from deepbet.bet import BrainExtraction  # noqa: PLC0415 - from the wheel

        _, mask, _ = BrainExtraction(no_gpu=True, model_path=fine, bbox_model_path=coarse).run(colin27.nifti())
    return np.asarray(mask.dataobj, dtype=np.bool_)


def test_the_conversion_was_compared_with_torch(brain_folder: Path) -> None:
    said = (brain_folder / "added.txt").read_text()
    assert "33554432 values agree within" in said
    assert "4194304 values agree within" in said
    assert "note: SHA-256" not in said, "the pinned torch and onnx give the pinned bytes"


def test_colin27_gets_deepbets_own_mask(model: Model, brain_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = StepRecorder()
    given = model_input(colin27.head())
    prepared = model.prepare({"images": given}, recorder)
    outputs = model.infer(prepared)
    result = model.conclude(prepared, outputs, NOW)
    wheel = fetched_wheel(load_recipe(brain_folder / "brain-extraction").package)
    wanted = np.flip(deepbets_mask(wheel, tmp_path, monkeypatch), (0, 1)).transpose(2, 1, 0)
    mask = result.segments[0].mask
    assert dice(mask, wanted) >= 0.999
    assert np.count_nonzero(mask != wanted) <= 10
    volume = result.measurements[0]
    assert (volume.id, volume.unit.value, volume.concept.value, volume.segment) == ("brain_volume", "mL", "118565006", "brain")
    assert volume.value == pytest.approx(COLIN27_ML, rel=1e-4)
    assert volume.value == pytest.approx(np.count_nonzero(mask) * given.images.voxel_ml)
    assert (result.segments[0].property_type.value, result.warnings) == ("12738006", ())
    assert [step.name for step in recorder.steps] == ["canonical", "outline"]
    _other_planes_give_the_same(model, prepared.tensors["image"], outputs, mask)


def _other_planes_give_the_same(model: Model, axial: np.ndarray, outputs: Tensors, axial_mask: np.ndarray) -> None:
    """The networks see the very same voxels whatever the plane, so that one run stands for all; its mask finds every way back."""
    for name in [name for name in colin27.ORIENTATIONS if name != "axial"]:
        prepared = model.prepare({"images": model_input(colin27.head(name))}, StepRecorder())
        assert np.array_equal(prepared.tensors["image"], axial), name
        result = model.conclude(prepared, outputs, NOW)
        assert np.array_equal(colin27.as_axial(result.segments[0].mask, name), axial_mask), name


def test_oblique_thicker_slices_give_the_same_volume_within_one_per_cent(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    result = model.run({"images": model_input(colin27.oblique(20, (1.5, 1.0, 1.0)))}, NOW)
    assert result.measurements[0].value == pytest.approx(COLIN27_ML, rel=0.01)


def test_images_without_contrast_or_brain_are_refused(model: Model) -> None:
    flat = colin27.Head(np.full((110, 64, 64), 7, np.uint8), colin27.head().affine_lps_mm)
    with pytest.raises(ModelInputError, match="no contrast: 99 % of the voxels are 7"):
        model.prepare({"images": model_input(flat)}, StepRecorder())
    noise = colin27.Head(np.random.default_rng(0).integers(0, 200, (110, 64, 64), np.uint8), flat.affine_lps_mm)
    prepared = model.prepare({"images": model_input(noise)}, StepRecorder())
    with pytest.raises(ModelInputError, match="no brain was found"):
        model.conclude(prepared, {"brain": np.zeros((64, 64, 110), np.bool_)}, NOW)
