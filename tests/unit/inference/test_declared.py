"""Models made from a manifest alone: every kind of task, from images to results in the patient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicom_node.domain.frames import FrameSet
from dicom_node.domain.results import BoxRegion, ImageRegion, InferenceResult
from dicom_node.domain.volume import Volume
from dicom_node.errors import ModelError, ModelInputError
from dicom_node.inference import Model, ModelInput, StepRecorder, open_model
from dicom_node.inference.declared import DeclaredModel
from tests.unit.inference.steps import networks
from tests.unit.inference.steps.bundles import ABSENT, NODULE, ONE, PRESENT, SEGMENT, write_bundle
from tests.unit.inference.steps.phantom import (
    BRIGHT,
    CENTER_LPS_MM,
    RADIUS_MM,
    SOURCES,
    frame_of,
    frames_of,
    intensity,
    places_lps_mm,
    volume_of,
)

NOW = datetime(2024, 1, 2, tzinfo=UTC)
FRAMES = [{"name": "images", "kind": "frames"}]
WINDOW = {"window": {"lower": 0, "upper": 100}}
FINDING = {"id": "nodule", "label": "Nodule", "concept": NODULE}
DETECT = {"findings": [FINDING]}


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Any]:
    models: list[Model] = []

    def make(
        network: bytes, outputs: dict[str, Any], *, pre: Any = (), infer: Any = "whole", post: Any = (), **sections: Any
    ) -> DeclaredModel:
        steps = {"preprocess": list(pre), "infer": infer, "postprocess": list(post)}
        bundle = write_bundle(tmp_path / f"bundle{len(models)}", network, {"steps": steps, "outputs": outputs, **sections})
        model = open_model(bundle, threads=1)
        assert isinstance(model, DeclaredModel)
        models.append(model)
        return model

    yield make
    for model in models:
        model.close()


def ran(model: Model, images: Any, recorder: StepRecorder | None = None) -> InferenceResult:
    return model.run({"images": ModelInput(images, {})}, NOW, recorder)


def truth_of(volume: Volume) -> np.ndarray:
    away = np.linalg.norm(places_lps_mm(volume.values.shape, volume.affine_lps_mm) - CENTER_LPS_MM, axis=-1)
    return np.asarray(away < RADIUS_MM)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))


THERE_AND_BACK = [
    {"orient": {"to": "RAS"}},
    {"resample": {"spacing_mm": [1.7, 1.7, 1.7]}},
    WINDOW,
    {"crop": {"foreground": {"above": 0.1, "margin": 5}}},
    {"pad": {"multiple": 8, "where": "end"}},
    {"crop": {"center": [64, None, 60]}},
    {"pad": {"size": [48, 48, 48], "value": "edge"}},
]


@pytest.mark.parametrize("source", list(SOURCES))
@pytest.mark.parametrize(
    "infer", ["whole", {"sliding_window": {"size": [24, 24, 24]}, "batch": 4}, {"sliding_window": {"size": [24, 24, 24], "keep": "labels"}}]
)
def test_a_segment_lies_where_it_lay_in_the_patient(made: Any, source: str, infer: Any) -> None:
    labels = infer != "whole" and infer["sliding_window"].get("keep") == "labels"
    post = [{"components": {"keep": 1}}] if labels else [{"activation": {"kind": "softmax"}}, {"to_source": {}}, {"argmax": {}}]
    model = made(networks.threshold_segmenter(), {"segments": [{**SEGMENT, "label_value": 1}]}, pre=THERE_AND_BACK, infer=infer, post=post)
    volume = volume_of(source)
    [segment] = ran(model, volume).segments
    assert segment.mask.shape == volume.values.shape
    assert dice(segment.mask, truth_of(volume)) > (0.9 if labels else 0.95)  # a ball of 9 mm moved by a voxel of 2 mm: 0.83
    found = places_lps_mm(volume.values.shape, volume.affine_lps_mm)[segment.mask].mean(axis=0)
    assert found == pytest.approx(CENTER_LPS_MM, abs=0.8 if labels else 0.3)


@pytest.mark.parametrize("source", list(SOURCES))
def test_a_box_lies_where_it_lay_in_the_patient(made: Any, source: str) -> None:
    post = [{"boxes": {"axes": "xyz", "scores": "scores"}}, {"nms": {"iou": 0.2}}]
    model = made(networks.box_detector(planar=False), DETECT, pre=THERE_AND_BACK, post=post)
    volume = volume_of(source)
    [finding] = ran(model, volume).findings
    assert isinstance(finding.region, BoxRegion)
    corners = np.array(finding.region.corners_lps_mm)
    assert corners.mean(axis=0) == pytest.approx(CENTER_LPS_MM, abs=1.0)
    # each edge is as long as the ball is wide, to a pixel of 1.7 mm; its directions are the source's
    sides = corners[[1, 3, 4]] - corners[0]
    assert np.linalg.norm(sides, axis=1) == pytest.approx([2 * RADIUS_MM] * 3, abs=2.2)
    directions = volume.affine_lps_mm[:3, [2, 1, 0]] / np.linalg.norm(volume.affine_lps_mm[:3, [2, 1, 0]], axis=0)
    assert np.abs(np.sum(sides.T * directions, axis=0)) == pytest.approx(np.linalg.norm(sides, axis=1))
    first, last = finding.region.slice_range
    marked = np.flatnonzero(truth_of(volume).any(axis=(1, 2)))
    assert (first, last) == pytest.approx((marked[0], marked[-1]), abs=1)


@pytest.mark.parametrize("source", list(SOURCES))
def test_a_map_lies_where_it_lay_in_the_patient(made: Any, source: str) -> None:
    entry = {"id": "map", "label": "Map", "quantity": NODULE, "unit": ONE}
    model = made(
        networks.identity(), {"maps": [entry]}, pre=THERE_AND_BACK, post=[{"rescale": {"scale": 100}}, {"to_source": {"outside": -1}}]
    )
    volume = volume_of(source)
    [made_map] = ran(model, volume).maps
    seen = made_map.values > 5
    there = places_lps_mm(volume.values.shape, volume.affine_lps_mm)
    assert np.abs(made_map.values - intensity(there))[seen].mean() < 8
    assert np.average(there[seen], axis=0, weights=np.where(made_map.values > 60, made_map.values, 0)[seen]) == pytest.approx(
        CENTER_LPS_MM, abs=0.5
    )
    assert made_map.values.max() <= BRIGHT + 1e-3


@pytest.mark.parametrize("source", list(SOURCES))
def test_boxes_and_masks_of_slices_along_any_axis_come_home(made: Any, source: str) -> None:
    volume = volume_of(source)
    pre = [{"orient": {"to": "AIR"}}, WINDOW]
    post = [{"boxes": {"axes": "xy", "scores": "scores", "at": 0.6}}, {"nms": {}}, {"top_k": {"k": 1}}]
    model = made(networks.box_detector(), DETECT, pre=pre, infer={"slices": {}, "batch": 16}, post=post)
    [finding] = ran(model, volume).findings
    assert isinstance(finding.region, BoxRegion)
    corners = np.array(finding.region.corners_lps_mm)
    assert np.linalg.norm(corners.mean(axis=0) - CENTER_LPS_MM) < RADIUS_MM + 2
    segments = {"segments": [{**SEGMENT, "channel": 1}]}
    model = made(
        networks.threshold_segmenter(planar=True),
        segments,
        pre=pre,
        infer="slices",
        post=[{"activation": {"kind": "softmax"}}, {"threshold": {}}],
    )
    [segment] = ran(model, volume).segments
    assert np.array_equal(segment.mask, volume.values >= 50)


def test_a_strided_output_covers_what_its_input_covered(made: Any) -> None:
    from onnx import helper  # noqa: PLC0415

    nodes = [helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2, 2], strides=[2, 2, 2])]
    network = networks.model(nodes, [networks.value("x", ["n", 1, "d", "h", "w"])], [networks.value("y", ["n", 1, "d2", "h2", "w2"])])
    model = made(
        network,
        {"segments": [SEGMENT]},
        pre=[{"orient": {"to": "LIP"}}, WINDOW, {"pad": {"multiple": 2}}],
        post=[{"to_source": {}}, {"threshold": {}}],
    )
    volume = volume_of("flipped")
    [segment] = ran(model, volume).segments
    at = places_lps_mm(volume.values.shape, volume.affine_lps_mm)
    assert at[segment.mask].mean(axis=0) == pytest.approx(CENTER_LPS_MM, abs=0.3)
    assert dice(segment.mask, truth_of(volume)) > 0.9


def test_frames_are_segmented_each_in_its_place(made: Any) -> None:
    pre = [{"resize": {"size": [64, 64]}}, WINDOW]
    post = [{"activation": {"kind": "softmax"}}, {"to_source": {}}, {"argmax": {}}, {"fill_holes": {}}]
    measured = [
        {
            "id": "width",
            "label": "Width",
            "concept": NODULE,
            "unit": {"value": "mm", "scheme": "UCUM", "meaning": "mm"},
            "of": "diameter_mm",
            "segment": "ball",
        },
        {"id": "parts", "label": "Parts", "concept": NODULE, "unit": ONE, "of": "count", "segment": "ball"},
    ]
    outputs = {"segments": [{**SEGMENT, "label_value": 1}], "measurements": measured}
    model = made(networks.threshold_segmenter(planar=True), outputs, pre=pre, infer={"whole": {}, "batch": 2}, post=post, inputs=FRAMES)
    frames = frames_of(frame_of(), frame_of(box=(20, 30, 2, 10), number=2), frame_of(box=(0, 0, 0, 0), number=3))
    result = ran(model, frames)
    mask = result.segments[0].mask
    assert mask.shape == (3, 40, 52)
    for found, frame in zip(mask, frames.frames, strict=True):
        assert np.array_equal(found, frame.values > 50)
    figures = {m.id: m.value for m in result.measurements}
    assert figures["width"] == pytest.approx(np.hypot(10 * 0.5, 8 * 0.25), abs=0.3)
    assert figures["parts"] == 2
    with pytest.raises(ModelInputError, match="different sizes"):
        ran(model, frames_of(frame_of(), frame_of(20, 30, (1, 4, 3, 9))))
    bare = FrameSet((replace(frame_of(), pixel_spacing_mm=None),))
    assert ran(model, bare).warnings == ("Width was not measured: the images have no Pixel Spacing.",)


def test_boxes_come_back_to_frames_of_any_size(made: Any) -> None:
    post = [{"boxes": {"axes": "xy", "scores": "scores", "at": 0.2}}, {"nms": {"iou": 0.1, "per_class": False}}]
    model = made(
        networks.box_detector(),
        DETECT,
        pre=[WINDOW, {"resize": {"size": [80, 80]}}],
        infer={"whole": {}, "batch": 3},
        post=post,
        inputs=FRAMES,
    )
    boxes = [(5, 9, 20, 60), (30, 39, 1, 7), (2, 100, 3, 10)]
    sizes = [(40, 80), (40, 10), (160, 20)]
    frames = frames_of(*(frame_of(*size, box, n + 1) for n, (size, box) in enumerate(zip(sizes, boxes, strict=True))))
    findings = ran(model, frames).findings
    assert [f.number for f in findings] == [1, 2, 3]
    by_frame = {f.region.frame_number: np.array(f.region.points_px) for f in findings if isinstance(f.region, ImageRegion)}
    for number, (top, bottom, left, right) in enumerate(boxes, 1):
        points = by_frame[number]
        assert (*points.min(axis=0), *points.max(axis=0)) == pytest.approx((left, top, right, bottom), abs=2.1)
        assert points[0].tolist() == points[-1].tolist()


def test_each_finding_is_of_its_own_class(made: Any) -> None:
    from onnx import helper  # noqa: PLC0415

    nodes = [helper.make_node("Shape", ["x"], ["unused"]), helper.make_node("Identity", ["both"], ["boxes"])]
    rows = np.array([[[1, 1, 9, 9, 0.2, 0.9], [20, 20, 30, 30, 0.7, 0.1], [2, 30, 9, 38, 0.1, 0.6]]], np.float32)
    network = networks.model(nodes, [networks.value("x", ["n", 1, "h", "w"])], [networks.value("boxes", [1, 3, 6])], both=rows)
    entries = [FINDING, {**FINDING, "id": "mass", "label": "Mass", "class_index": 1}]
    model = made(network, {"findings": entries}, inputs=FRAMES, post=[{"boxes": {"axes": "xy"}}])
    findings = ran(model, frames_of(frame_of())).findings
    assert [(f.id, f.number, round(f.score or 0, 3)) for f in findings] == [("nodule", 1, 0.7), ("mass", 1, 0.9), ("mass", 2, 0.6)]
    assert isinstance(findings[2].region, ImageRegion)
    assert findings[2].region.points_px[0] == pytest.approx((2, 30))


def test_a_box_in_the_border_is_no_finding_and_the_trace_counts_it(made: Any) -> None:
    model = made(networks.box_detector(), DETECT, pre=[WINDOW, {"pad": {"size": [80, 80], "value": 1.0}}], inputs=FRAMES,
                 post=[{"boxes": {"axes": "xy", "scores": "scores"}}])  # fmt: skip
    recorder = StepRecorder()
    result = ran(model, frames_of(frame_of()), recorder)
    assert len(result.findings) == 2  # the whole square, which is cut at the frame's edges
    assert not [s for s in recorder.steps if s.name == "boxes_outside"]
    model = made(networks.box_detector(), DETECT, pre=[WINDOW, {"pad": {"size": [40, 53], "value": 9.0, "where": "end"}}], inputs=FRAMES,
                 post=[{"rescale": {"of": "scores", "scale": 0.1}}, {"boxes": {"axes": "xy", "scores": "scores"}}])  # fmt: skip
    recorder = StepRecorder()
    dark = frame_of(box=(0, 0, 0, 0))
    assert ran(model, frames_of(dark), recorder).findings == ()
    assert [s.parameters for s in recorder.steps if s.name == "boxes_outside"] == [("count=2",)]


def classify(made: Any, *, pool: str, classes: int = 2) -> DeclaredModel:
    kind = "softmax" if classes == 2 else "sigmoid"
    outputs = {
        "findings": [{**FINDING, "class_index": classes - 1, "threshold": 0.6}],
        "evaluations": [{"id": "presence", "label": "Presence", "concept": NODULE, "classes": [ABSENT, PRESENT]}],
    }
    model: DeclaredModel = made(networks.blob_classifier(classes=classes), outputs, pre=[WINDOW], inputs=FRAMES,
                                post=[{"activation": {"kind": kind}}, {"class_scores": {"pool": pool}}])  # fmt: skip
    return model


@pytest.mark.parametrize("classes", [1, 2])
def test_class_scores_become_an_answer_and_a_finding(made: Any, classes: int) -> None:
    model = classify(made, pool="mean", classes=classes)
    bright, dark = frame_of(), frame_of(box=(0, 0, 0, 0))
    yes, no, both = (ran(model, frames_of(*frames)) for frames in ((bright,), (dark,), (bright, dark, dark)))
    assert [r.evaluations[0].value.meaning for r in (yes, no, both)] == ["Present", "Absent", "Absent"]
    share = 1 / (1 + np.exp(-4 * classes))
    assert yes.evaluations[0].score == pytest.approx(share, abs=1e-4)
    assert [(f.id, f.number, f.region) for f in yes.findings] == [("nodule", 1, None)]
    assert yes.findings[0].score == pytest.approx(share, abs=1e-4)
    assert no.findings == both.findings == ()
    assert ran(classify(made, pool="max", classes=1), frames_of(dark, bright)).findings


def test_logits_are_never_taken_for_scores(made: Any) -> None:
    outputs = {"evaluations": [{"id": "presence", "label": "Presence", "concept": NODULE, "classes": [ABSENT, PRESENT]}]}
    model = made(networks.blob_classifier(), outputs, pre=[WINDOW], inputs=FRAMES, post=[{"class_scores": {}}])
    with pytest.raises(ModelError, match="0 to 1 is wanted") as caught:
        ran(model, frames_of(frame_of()))
    assert "activation" in caught.value.hint


MEAN = {"measurements": [{"id": "level", "label": "Level", "concept": NODULE, "unit": ONE, "of": "level"}]}


def test_a_regression_speaks_of_one_image_or_says_how_several_count(made: Any) -> None:
    model = made(networks.mean_intensity(planar=True), MEAN, inputs=FRAMES, post=[{"rescale": {"scale": 2, "offset": 1}}])
    frame = frame_of()
    assert ran(model, frames_of(frame)).measurements[0].value == pytest.approx(2 * frame.values.mean() + 1, rel=1e-5)
    with pytest.raises(ModelInputError, match="2 answers"):
        ran(model, frames_of(frame, frame))
    pooled = made(networks.mean_intensity(planar=True), MEAN, inputs=FRAMES, post=[{"rescale": {"pool": "max"}}])
    assert ran(pooled, frames_of(frame, frame_of(box=(0, 0, 0, 0)))).measurements[0].value == pytest.approx(frame.values.mean(), rel=1e-5)


def test_a_network_that_gives_no_number_fails_the_job(made: Any) -> None:
    from onnx import helper  # noqa: PLC0415

    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        helper.make_node("Sqrt", ["p"], ["r"]),
        helper.make_node("Flatten", ["r"], ["level"]),
    ]
    network = networks.model(nodes, [networks.value("x", ["n", 1, "d", "h", "w"])], [networks.value("level", ["n", 1])])
    model = made(network, MEAN, pre=[{"normalise": {"kind": "scale", "offset": -1000}}])
    with pytest.raises(ModelError, match="output level is nan"):
        ran(model, volume_of("axial"))


def test_nan_in_the_images_is_the_reason_why_nothing_was_analysed(made: Any) -> None:
    volume = volume_of("axial")
    values = volume.values.copy()
    values[3, 4, 5] = np.nan
    spoilt = replace(volume, values=values)
    with pytest.raises(ModelInputError, match="1 of 31824 pixels are no numbers"):
        ran(made(networks.mean_intensity(), MEAN), spoilt)
    filled = ran(made(networks.mean_intensity(), MEAN, pre=[{"fill_nan": {}}]), spoilt)
    assert filled.measurements[0].value == pytest.approx(np.nan_to_num(values).mean(), rel=1e-4)


def test_an_empty_segment_has_a_volume_and_a_warning(made: Any) -> None:
    units = {"volume_ml": "mL", "mean": "[hnsf'U]", "diameter_mm": "mm"}
    measured = [
        {"id": q, "label": q, "concept": NODULE, "unit": {"value": u, "scheme": "UCUM", "meaning": u}, "of": q, "segment": "ball"}
        for q, u in units.items()
    ]
    model = made(
        networks.threshold_segmenter(), {"segments": [{**SEGMENT, "label_value": 1}], "measurements": measured}, post=[{"argmax": {}}]
    )
    dark = replace(volume_of("axial"), values=np.zeros((4, 5, 6), np.float32))
    result = ran(model, dark)
    assert [(m.id, m.value, m.segment) for m in result.measurements] == [("volume_ml", 0.0, "ball")]
    assert result.warnings == (
        "mean was not measured: nothing was marked as Ball.",
        "diameter_mm was not measured: nothing was marked as Ball.",
    )


def test_what_arrives_in_another_kind_or_size_is_refused_with_the_reason(made: Any) -> None:
    model = made(networks.identity(size=(8, 8, 8)), {"maps": [{"id": "m", "label": "M", "quantity": NODULE, "unit": ONE}]})
    with pytest.raises(ModelInputError, match=r"\[26, 34, 36\] pixels when they reach the network, it takes \[8, 8, 8\]"):
        ran(model, volume_of("axial"))
    with pytest.raises(ModelInputError, match="no volume"):
        ran(model, frames_of(frame_of()))
    with pytest.raises(ModelInputError, match="input images is missing"):
        model.run({}, NOW)


def test_the_record_names_every_step_and_the_result_what_was_chosen(made: Any) -> None:
    pre, post = [{"orient": {"to": "RAS"}}, WINDOW], [{"argmax": {}}, {"components": {"keep": 1}}]
    infer = {"sliding_window": {"size": [16, 16, 16]}, "batch": 2}
    model = made(networks.threshold_segmenter(), {"segments": [{**SEGMENT, "label_value": 1}]}, pre=pre, infer=infer, post=post)
    shares: list[float] = []
    recorder = StepRecorder(on_progress=shares.append)
    result = ran(model, volume_of("axial"), recorder)
    assert [s.name for s in recorder.steps] == ["orient", "window", "tensor", "sliding_window", "infer", "argmax", "components", "outputs"]
    by_name = {s.name: s.parameters for s in recorder.steps}
    assert by_name["tensor"] == ("input=x", "layout=NCDHW", "dtype=float32", "shape=1x1x36x34x26")
    assert "overlap=0.25" in by_name["sliding_window"]
    assert "batch=2" in by_name["sliding_window"]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert result.parameters[:3] == ("orient.to=RAS", "window.lower=0", "window.upper=100")
    assert "sliding_window.size=16,16,16" in result.parameters
    assert result.parameters[-2:] == ("argmax", "components.keep=1")
    assert result.model.backend == "onnxruntime"
    assert result.model.precision == "fp32"
    assert result.started_at == NOW
    own = sum(s.seconds for s in recorder.steps if s.name != "infer")
    assert own <= result.compute_s < own + 0.5


def test_a_model_shrinks_until_nothing_is_left_to_halve(made: Any) -> None:
    infer = {"sliding_window": {"size": [32, 32, 32]}, "batch": 2}
    entry = {"id": "map", "label": "Map", "quantity": NODULE, "unit": ONE}
    model = made(networks.identity(), {"maps": [entry]}, infer=infer)
    volume = volume_of("axial")
    before = ran(model, volume).maps[0].values
    assert [model.shrink() for _ in range(3)] == [True, True, False]
    recorder = StepRecorder()
    assert np.abs(ran(model, volume, recorder).maps[0].values - before).max() < 1e-4
    [step] = [s for s in recorder.steps if s.name == "sliding_window"]
    assert "size=16,16,16" in step.parameters
    assert "batch=1" in step.parameters


def test_several_inputs_reach_one_network(made: Any) -> None:
    inputs = [{"name": name, "kind": "volume"} for name in ("images", "other")]
    pre = [{"channels": {"stack": ["images", "other"]}}]
    entry = {"id": "map", "label": "Map", "quantity": NODULE, "unit": ONE, "channel": 1}
    model = made(networks.identity(channels=2), {"maps": [entry]}, pre=pre, inputs=inputs)
    volume, other = volume_of("axial"), volume_of("coronal")
    given = {"images": ModelInput(volume, {}), "other": ModelInput(other, {})}
    [found] = model.run(given, NOW).maps
    inner = (slice(5, -5),) * 3
    assert np.abs(found.values - volume.values)[inner].mean() < 0.6
    apart = {**given, "other": ModelInput(replace(other, frame_of_reference_uid="7.7"), {})}
    with pytest.raises(ModelInputError, match="frame of reference"):
        model.run(apart, NOW)
