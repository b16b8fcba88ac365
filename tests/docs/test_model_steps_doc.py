"""The page about declared steps says what the schema says, and its examples run."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dicom_node.domain.results import BoxRegion, ImageRegion, InferenceResult
from dicom_node.inference import ModelInput, StepRecorder, load_bundle, open_model
from tests.docs.model_steps_page import PAGE, tables, tables_of
from tests.unit.inference.steps.bundles import write_bundle
from tests.unit.inference.steps.networks import BY_NAME
from tests.unit.inference.steps.phantom import CENTER_LPS_MM, RADIUS_MM, frame_of, frames_of, places_lps_mm, volume_of

NOW = datetime(2024, 1, 2, tzinfo=UTC)


def test_tables_are_those_of_the_schema() -> None:
    assert tables_of(PAGE.read_text("utf-8")) == tables().strip("\n")


def test_every_parameter_has_words_and_a_unit() -> None:
    for line in tables().splitlines():
        if line.startswith("| `"):
            *_, unit, words, _ = (cell.strip() for cell in line.split("|"))
            assert unit, line
            assert words.endswith("."), line


EXAMPLES = dict(re.findall(r"```yaml example=(\S+) (network=\S+\n.*?)```", PAGE.read_text("utf-8"), re.DOTALL))


def run_example(name: str, images: Any, folder: Path) -> tuple[InferenceResult, StepRecorder]:
    head, _, text = EXAMPLES[name].partition("\n")
    write_bundle(folder, BY_NAME[head.removeprefix("network=")](), yaml.safe_load(text))
    model = open_model(load_bundle(folder), threads=1)
    recorder = StepRecorder()
    try:
        return model.run({"images": ModelInput(images, {"Modality": ("CT",)})}, NOW, recorder), recorder
    finally:
        model.close()


def test_every_kind_of_task_has_an_example() -> None:
    assert set(EXAMPLES) == {"segmentation", "slices", "classification", "detection", "detection-3d", "regression", "map"}


@pytest.mark.parametrize("example", ["segmentation", "slices"])
def test_segmentation_finds_the_ball(example: str, tmp_path: Path) -> None:
    volume = volume_of("oblique")
    result, recorder = run_example(example, volume, tmp_path)
    [segment] = result.segments
    truth = np.linalg.norm(places_lps_mm(volume.values.shape, volume.affine_lps_mm) - CENTER_LPS_MM, axis=-1) < RADIUS_MM
    assert 2 * np.count_nonzero(segment.mask & truth) / (segment.mask.sum() + truth.sum()) > 0.93
    assert [step.name for step in recorder.steps][:2] == ["orient", "resample"]
    if example == "segmentation":
        figures = {m.id: m.value for m in result.measurements}
        assert figures["volume"] == pytest.approx(4 / 3 * np.pi * RADIUS_MM**3 / 1000, rel=0.08)
        assert figures["diameter"] == pytest.approx(2 * RADIUS_MM, abs=2)
        assert figures["mean"] == pytest.approx(float(volume.values[segment.mask].mean()))


def test_classification_answers_once_for_all_frames(tmp_path: Path) -> None:
    dark = frame_of(box=(0, 0, 0, 0), number=2)
    result, _ = run_example("classification", frames_of(frame_of(), dark), tmp_path)
    assert [f.id for f in result.findings] == ["nodule"]
    assert result.findings[0].region is None
    assert result.evaluations[0].value.meaning == "Present"
    nothing, _ = run_example("classification", frames_of(dark), tmp_path)
    assert nothing.findings == ()
    assert nothing.evaluations[0].value.meaning == "Absent"


def test_detection_lands_on_the_frame(tmp_path: Path) -> None:
    result, _ = run_example("detection", frames_of(frame_of(40, 80, (10, 20, 40, 60)), frame_of(64, 32, (4, 8, 2, 30), number=2)), tmp_path)
    assert [(f.number, f.region.frame_number) for f in result.findings if isinstance(f.region, ImageRegion)] == [(1, 1), (2, 2)]
    wide, tall = (np.array(f.region.points_px) for f in result.findings if isinstance(f.region, ImageRegion))
    assert (*wide.min(axis=0), *wide.max(axis=0)) == pytest.approx((40, 10, 60, 20), abs=1.3)
    assert (*tall.min(axis=0), *tall.max(axis=0)) == pytest.approx((2, 4, 30, 8), abs=1.1)


def test_detection_lands_in_the_patient(tmp_path: Path) -> None:
    result, _ = run_example("detection-3d", volume_of("sagittal"), tmp_path)
    [finding] = result.findings
    assert isinstance(finding.region, BoxRegion)
    corners = np.array(finding.region.corners_lps_mm)
    assert corners.mean(axis=0) == pytest.approx(CENTER_LPS_MM, abs=0.6)
    assert np.ptp(corners, axis=0) == pytest.approx([2 * RADIUS_MM] * 3, abs=2)


def test_regression_gives_a_number_in_its_unit(tmp_path: Path) -> None:
    volume = volume_of("axial")
    result, _ = run_example("regression", volume, tmp_path)
    [measurement] = result.measurements
    assert measurement.value == pytest.approx(float(volume.values.mean()), rel=1e-4)


def test_a_map_lies_on_the_source(tmp_path: Path) -> None:
    volume = volume_of("coronal")
    result, _ = run_example("map", volume, tmp_path)
    [parametric] = result.maps
    assert np.allclose(parametric.values, np.where(parametric.values > 0, volume.values / 100, 0), atol=1e-6)
    assert parametric.values.max() == pytest.approx(volume.values.max() / 100)
