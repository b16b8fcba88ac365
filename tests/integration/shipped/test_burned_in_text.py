"""Burned-in text from DICOM files to the result: real ultrasound, radiographs, tomograms, and made-up screens with a made-up name."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_node.domain.findings import findings_from_result
from dicom_node.domain.results import ImageRegion, InferenceResult
from dicom_node.errors import ModelInputError
from dicom_node.inference import Model, ModelInput, load_bundle, open_model
from dicom_node.inference.model import StepRecorder
from dicom_node.inference.pixels import images_from_instances
from dicom_node.pipeline.headers import header_attributes
from tests import screens

NOW = datetime(2024, 5, 6, tzinfo=UTC)
FOLDERS = {"pydicom": "data/test_files", "data_store": "data"}
YES, NO = "373066001", "373067005"
# Boxes (left, top, right, bottom) that rapidocr-onnxruntime 1.4.4's own program finds on the ultrasound image US1, with OpenCV 5.0.
RAPIDOCR_US1 = [
    (18, 23, 172, 41), (306, 23, 332, 41), (497, 23, 619, 42), (18, 40, 91, 57), (279, 40, 361, 57), (547, 38, 620, 58), (17, 55, 72, 74),
    (528, 55, 621, 73), (17, 72, 81, 89), (567, 72, 621, 90), (17, 89, 61, 105), (557, 87, 623, 106), (8, 136, 41, 153),
    (597, 135, 632, 154),
    (8, 218, 40, 232), (606, 218, 628, 230), (246, 359, 303, 378), (317, 359, 361, 377), (398, 456, 621, 473),
]  # fmt: skip


@pytest.fixture(scope="module")
def model(text_folder: Path) -> Iterator[Model]:
    opened = open_model(load_bundle(text_folder / "burned-in-text"), threads=1)
    yield opened
    opened.close()


def packaged(package: str, name: str) -> pydicom.Dataset:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return pydicom.dcmread(Path(spec.origin).parent / FOLDERS[package] / name)


def found(model: Model, instances: Sequence[pydicom.Dataset], recorder: StepRecorder | None = None) -> InferenceResult:
    read = images_from_instances("frames", instances)
    return model.run({"images": ModelInput(read.images, header_attributes(read.instances[0]))}, NOW, recorder)


def answers(result: InferenceResult) -> dict[str, str]:
    return {e.id: e.value.value for e in result.evaluations}


def figures(result: InferenceResult) -> dict[str, float]:
    return {m.id: m.value for m in result.measurements}


def boxes(result: InferenceResult) -> list[tuple[float, float, float, float]]:
    points = [np.array(f.region.points_px) for f in result.findings if isinstance(f.region, ImageRegion)]
    return [(*p.min(axis=0), *p.max(axis=0)) for p in points]


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    common = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)


def test_ultrasound_in_colour_has_the_text_that_rapidocr_finds(model: Model) -> None:
    result = found(model, [packaged("data_store", "US1_UNCR.dcm")])
    ours = boxes(result)
    assert len(ours) == len(RAPIDOCR_US1)
    assert min(max(overlap(box, other) for other in ours) for box in RAPIDOCR_US1) > 0.7
    assert answers(result) == {"text_present": YES, "kind": "TEXTPERSON", "header": "HEADERSILENT"}
    assert [f.number for f in result.findings] == list(range(1, 20))
    assert all(0.5 <= (f.score or 0) <= 1 and len(f.region.points_px) == 5 for f in result.findings if isinstance(f.region, ImageRegion))


def test_header_that_denies_text_on_a_gray_ultrasound_is_contradicted(model: Model) -> None:
    instance = packaged("data_store", "JPGLosslessP14SV1_1s_1f_8b.dcm")
    assert instance.BurnedInAnnotation == "NO"
    result = found(model, [instance])
    assert figures(result)["text_places"] == 16, "rapidocr's 17 without the one letter that it reads into the scale"
    assert answers(result)["header"] == "HEADEROTHER"
    assert "The header says Burned In Annotation NO, the pixels say otherwise." in result.warnings


def test_of_several_frames_a_place_is_named_once(model: Model) -> None:
    once = screens.screen(screens.DOSE_LINES[:1])
    later = screens.screen((screens.DOSE_LINES[0], screens.NAME_LINES[0]))
    frames = [np.repeat(f[:, :, None], 3, axis=2) for f in [*[once] * 11, *[later] * 3]]
    recorder = StepRecorder()
    result = found(model, [screens.capture(frames)], recorder)
    assert figures(result)["frames_examined"] == 3
    assert (
        "3 of 14 frames were examined: the first, the last and every 10th of an instance. Text on the others is not seen."
        in result.warnings
    )
    regions = [f.region for f in result.findings if isinstance(f.region, ImageRegion)]
    dose = [r for r in regions if max(y for _, y in r.points_px) < 50]
    name = [r for r in regions if min(y for _, y in r.points_px) > 40]
    assert {r.frame_number for r in dose} == {1}
    assert {r.frame_number for r in name} == {14}
    assert answers(result) == {"text_present": YES, "kind": "TEXTPERSON", "header": "HEADEROTHER"}
    assert "frames=3 of 14" in recorder.steps[0].parameters


def test_labels_alone_do_not_contradict_the_header(model: Model) -> None:
    result = found(model, [screens.capture([screens.screen(screens.LABEL_LINES, inverted=True)])])
    assert answers(result) == {"text_present": YES, "kind": "TEXTLABEL", "header": "HEADERAGREES"}
    assert {f.evaluations[0].value.value for f in result.findings} == {"TEXTLABEL"}
    assert result.warnings == ()


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("data_store", "693_UNCR.dcm"),
        ("pydicom", "examples_overlay.dcm"),
        ("data_store", "eCT_Supplemental.dcm"),
        ("data_store", "SC_rgb.dcm"),
    ],
)
def test_images_without_text_raise_no_alarm(model: Model, package: str, name: str) -> None:
    result = found(model, [packaged(package, name)])
    assert (result.findings, answers(result)["text_present"]) == ((), NO)


def test_a_chest_ct_raises_no_alarm(model: Model, lidc_series: list[Path]) -> None:
    result = found(model, [pydicom.dcmread(lidc_series[i]) for i in (30, 90)])
    assert (result.findings, figures(result)["frames_examined"]) == ((), 2)


def test_what_was_read_stands_nowhere(model: Model, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.DEBUG)
    lines = ("QUILLON MIRABEL", "ID 88213057", "born 02.11.1949", "Series 2  CTDIvol 7.41")
    instance = screens.capture([screens.screen(lines)], PatientName="Quillon^Mirabel", PatientID="88213057")
    read = images_from_instances("frames", [instance])
    given = {"images": ModelInput(read.images, header_attributes(instance))}
    recorder = StepRecorder()
    prepared = model.prepare(given, recorder)
    outputs = model.infer(prepared)
    result = model.conclude(prepared, outputs, NOW)
    assert answers(result) == {"text_present": YES, "kind": "TEXTPERSON", "header": "HEADEROTHER"}
    assert all(array.dtype.kind in "fi" for array in outputs.values()), "only numbers leave the networks"
    where = (
        repr(result), json.dumps(asdict(result), default=str), json.dumps(findings_from_result(result, 1.0)), repr(recorder.steps),
        repr(outputs), repr(vars(model)), caplog.text, *capfd.readouterr(),
    )  # fmt: skip
    for words in ("QUILLON", "MIRABEL", "88213057", "02.11.1949", "7.41", "Series 2"):
        assert [number for number, text in enumerate(where) if words.casefold() in text.casefold()] == [], words


def test_a_volume_or_frames_too_small_for_text_are_refused(model: Model) -> None:
    with pytest.raises(ModelInputError, match="no frame has 16 rows and columns or more"):
        found(model, [screens.capture([np.zeros((8, 40), np.uint8)])])
    volume = images_from_instances("volume", _two_slices())
    with pytest.raises(ModelInputError, match="read as a volume"):
        model.prepare({"images": ModelInput(volume.images, {})}, StepRecorder())


def _two_slices() -> list[pydicom.Dataset]:
    from tests.phantoms import chest_series  # noqa: PLC0415 - for this alone

    return chest_series()[:2]
