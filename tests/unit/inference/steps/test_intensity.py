from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dicom_node.domain.frames import FrameSet
from dicom_node.domain.volume import Volume
from dicom_node.errors import ModelInputError
from dicom_node.inference.model import StepRecorder
from dicom_node.inference.session import TensorInfo
from dicom_node.inference.steps.grid import images_from_input
from dicom_node.inference.steps.preprocess import preprocess
from dicom_node.inference.steps.preprocess_schema import PreprocessEntry, Tensor
from dicom_node.inference.steps.tensors import form_of_input, tensor_from_images
from tests.unit.inference.steps.phantom import frame_of, frames_of, volume_of

FLOAT = np.dtype(np.float32)


def done(images: Any, *steps: dict[str, Any]) -> np.ndarray:
    entries = [PreprocessEntry.model_validate(step) for step in steps]
    return preprocess({"images": images_from_input(images)}, entries, StepRecorder())["images"][0].values


def of_values(*values: float) -> Volume:
    return Volume(np.array(values, np.float32).reshape(1, 1, -1), np.eye(4), "", ("1.2",))


RAMP = of_values(-100.0, 0.0, 50.0, 100.0, 300.0)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ({"window": {"center": 50, "width": 100}}, [0, 0, 0.5, 1, 1]),
        ({"window": {"lower": 0, "upper": 200, "to": [-1, 1]}}, [-1, -1, -0.5, 0, 1]),
        ({"clip": {"lower": -50}}, [-50, 0, 50, 100, 300]),
        ({"clip": {"upper": 60}}, [-100, 0, 50, 60, 60]),
        ({"percentile_clip": {"lower": 25, "upper": 75}}, [0, 0, 50, 100, 100]),
        ({"percentile_clip": {"lower": 0, "upper": 50, "nonzero": True}}, [-100, 0, 50, 75, 75]),
        ({"normalise": {"kind": "minmax"}}, [0, 0.25, 0.375, 0.5, 1]),
        ({"normalise": {"kind": "scale", "scale": 0.1, "offset": 5}}, [-5, 5, 10, 15, 35]),
        ({"normalise": {"mean": 50, "std": 50}}, [-3, -1, 0, 1, 5]),
        ({"normalise": {"nonzero": True, "mean": 50, "std": 50}}, [-3, 0, 0, 1, 5]),
    ],
)
def test_values_become_what_the_page_says(step: dict[str, Any], expected: list[float]) -> None:
    assert done(RAMP, step).ravel() == pytest.approx(expected)


def test_zscore_takes_the_statistics_of_the_image_or_of_what_is_not_zero() -> None:
    values = RAMP.values.ravel()
    assert done(RAMP, {"normalise": {}}).ravel() == pytest.approx((values - values.mean()) / values.std(), rel=1e-5)
    others = values[values != 0]
    expected = np.where(values == 0, 0, (values - others.mean()) / others.std())
    assert done(RAMP, {"normalise": {"nonzero": True}}).ravel() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("constant", [0.0, 7.0, -1024.0, 0.1, 1e6])
def test_a_constant_image_is_never_divided_by_zero(constant: float) -> None:
    image = of_values(*[constant] * 1000)
    for step in ({"normalise": {}}, {"normalise": {"nonzero": True}}, {"normalise": {"mean": 3.0}}, {"normalise": {"kind": "minmax"}}):
        assert (done(image, step) == 0).all()
    assert (done(image, {"normalise": {"kind": "minmax", "to": [-1, 1]}}) == -1).all()
    assert (done(image, {"percentile_clip": {}}) == np.float32(constant)).all()


def test_no_number_stays_out_of_statistics_and_is_refused_unless_it_is_filled() -> None:
    image = of_values(np.nan, 0.0, 50.0, np.inf, 100.0)
    assert done(image, {"normalise": {"kind": "minmax"}}).ravel()[[1, 2, 4]] == pytest.approx([0, 0.5, 1])
    assert done(image, {"normalise": {}}).ravel()[[1, 2, 4]] == pytest.approx([-1.2247, 0, 1.2247], rel=1e-3)
    form = form_of_input(TensorInfo(FLOAT, (None,) * 5), None, flat=False)
    [raw] = images_from_input(image)
    with pytest.raises(ModelInputError, match="2 of 5 pixels are no numbers"):
        tensor_from_images([raw], form)
    assert done(image, {"fill_nan": {"value": -1}}).ravel().tolist() == [-1, 0, 50, -1, 100]


def test_all_pixels_without_a_number_divide_nothing() -> None:
    image = of_values(np.nan, np.nan)
    for step in (
        {"normalise": {}},
        {"normalise": {"kind": "minmax"}},
        {"percentile_clip": {}},
        {"pad": {"size": [1, 1, 4], "value": "minimum"}},
    ):
        assert np.isnan(done(image, step)).sum() == 2


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float64", "float32", ">i2"])
def test_the_stored_type_does_not_matter(dtype: str) -> None:
    frame = replace(frame_of(), values=np.arange(200).reshape(10, 20).astype(dtype))
    steps = ({"normalise": {}}, {"resize": {"size": [16, 16]}}, {"window": {"lower": -3, "upper": 3}})
    made = done(FrameSet((frame,)), *steps)
    reference = done(FrameSet((replace(frame, values=np.arange(200, dtype=np.float32).reshape(10, 20)),)), *steps)
    assert made.dtype == np.float32
    assert made.tobytes() == reference.tobytes()


def test_each_frame_has_its_own_window() -> None:
    bright = replace(frame_of(), window=(60.0, 80.0))
    made = done(frames_of(bright), {"window": {"from_image": True}})
    assert made.max() == 1.0
    assert made.min() == 0.0
    with pytest.raises(ModelInputError, match="no window of its own"):
        done(frames_of(replace(bright, window=None)), {"window": {"from_image": True}})


def test_colours_become_luma_and_gray_becomes_colours() -> None:
    colours = np.zeros((2, 3, 3), np.uint8)
    colours[0, 0], colours[0, 1], colours[1, 2] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    frame = replace(frame_of(), values=colours)
    assert done(frames_of(frame)).shape == (3, 1, 2, 3)
    luma = done(frames_of(frame), {"channels": {"gray": True}})
    assert luma[0, 0, 0, :2] == pytest.approx([76.245, 149.685])
    assert luma[0, 0, 1, 2] == pytest.approx(29.07)
    assert done(frames_of(frame_of()), {"channels": {"repeat": 3}}).shape == (3, 1, 40, 52)
    given = {"normalise": {"mean": [1.0, 2.0, 3.0], "std": [1.0, 2.0, 4.0]}}
    assert done(frames_of(frame), given)[:, 0, 1, 0].tolist() == [-1, -1, -0.75]
    for step, words in (({"channels": {"repeat": 3}}, "3 channels"), ({"normalise": {"mean": [1.0, 2.0]}}, "normalisation 2")):
        with pytest.raises(ModelInputError, match=words):
            done(frames_of(frame), step)


def test_several_inputs_are_stacked_by_their_place_in_the_patient() -> None:
    """The same object, acquired sagittally and axially, agrees channel by channel to what interpolation leaves."""
    inputs = {name: images_from_input(volume_of(source)) for name, source in (("t1", "axial"), ("t2", "oblique"), ("t3", "axial"))}
    entry = PreprocessEntry.model_validate({"channels": {"stack": ["t1", "t2", "t3"]}})
    stacked = preprocess(inputs, [entry], StepRecorder())["t1"][0].values
    inner = (slice(5, -5),) * 3
    assert np.array_equal(stacked[2], stacked[0])
    assert np.abs(stacked[1] - stacked[0])[inner].mean() < 0.6
    assert np.corrcoef(stacked[1][inner].ravel(), stacked[0][inner].ravel())[0, 1] > 0.98
    elsewhere = {**inputs, "t2": images_from_input(volume_of("oblique", uid="9.9"))}
    with pytest.raises(ModelInputError, match="another frame of reference"):
        preprocess(elsewhere, [entry], StepRecorder())


def test_steps_change_the_inputs_that_they_name() -> None:
    inputs = {"ct": images_from_input(RAMP), "pet": images_from_input(RAMP)}
    entry = PreprocessEntry.model_validate({"clip": {"upper": 0, "inputs": ["pet"]}})
    made = preprocess(inputs, [entry], StepRecorder())
    assert made["ct"][0].values.max() == 300
    assert made["pet"][0].values.max() == 0


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [("uint8", (0.4, 0.6, 254.5), (0, 1, 254)), ("int16", (-3.5, 2.5, 7.0), (-4, 2, 7)), ("float16", (0.1,), (np.float16(0.1),))],
)
def test_a_tensor_has_the_networks_type(dtype: str, values: tuple[float, ...], expected: tuple[float, ...]) -> None:
    form = form_of_input(TensorInfo(np.dtype(dtype), (None,) * 5), Tensor(dtype=dtype), flat=False)
    made = tensor_from_images(images_from_input(of_values(*values)), form)
    assert made.dtype == dtype
    assert made.ravel().tolist() == [float(v) for v in expected]


def test_values_that_the_type_cannot_hold_are_refused() -> None:
    form = form_of_input(TensorInfo(np.dtype(np.uint8), (None,) * 5), None, flat=False)
    with pytest.raises(ModelInputError, match=r"-100 to 300, uint8 holds 0 to 255"):
        tensor_from_images(images_from_input(RAMP), form)


def test_frames_of_different_sizes_are_refused_unless_a_step_makes_them_alike() -> None:
    form = form_of_input(TensorInfo(FLOAT, (None,) * 4), None, flat=True)
    frames = images_from_input(frames_of(frame_of(), frame_of(20, 30, (1, 2, 3, 4))))
    with pytest.raises(ModelInputError, match="20x30, 40x52"):
        tensor_from_images(frames, form)


def test_the_record_holds_every_parameter_with_its_default() -> None:
    recorder = StepRecorder()
    entries = [
        PreprocessEntry.model_validate(s) for s in ({"resample": {"spacing_mm": [1.5, None, 2]}}, {"crop": {"foreground": {"above": 3}}})
    ]
    preprocess({"images": images_from_input(volume_of("axial"))}, entries, recorder)
    first, second = recorder.steps
    assert first.name == "resample"
    assert first.parameters == ("inputs=all", "spacing_mm=1.5,none,2", "size=none", "order=linear", "antialias=false", "align=edges")
    assert second.parameters == ("inputs=all", "center=none", "foreground.above=3", "foreground.margin=0", "box=none")
