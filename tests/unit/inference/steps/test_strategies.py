from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from dicom_node.errors import ModelError, ModelInputError
from dicom_node.inference.backends import Network, SessionOptions, open_session
from dicom_node.inference.session import Session
from dicom_node.inference.steps.preprocess_schema import Layout, Tensor
from dicom_node.inference.steps.schema import Blending, SlidingWindow
from dicom_node.inference.steps.slabs import SlabAccumulator, window_weights
from dicom_node.inference.steps.sliding_window import Windows, window_places
from dicom_node.inference.steps.strategies import EachImage, NetworkForm, run_batch
from dicom_node.inference.steps.tensors import form_of_input
from tests.unit.inference.steps.networks import box_detector, identity, mean_intensity, model, threshold_segmenter, value

RNG = np.random.default_rng(5)
VOLUME = RNG.random((1, 1, 19, 23, 17), np.float32)


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    sessions: list[Session] = []

    def make(content: bytes, layout: Layout | None = None, boxes: tuple[str, ...] = ()) -> tuple[Session, NetworkForm]:
        path = tmp_path / f"{len(sessions)}.onnx"
        path.write_bytes(content)
        session = open_session("onnxruntime", "fp32", Network(path), SessionOptions(threads=1))
        session.activate()
        sessions.append(session)
        forms = {name: form_of_input(info, Tensor(layout=layout), flat=False) for name, info in session.inputs.items()}
        return session, NetworkForm(forms, boxes)

    yield make
    for session in sessions:
        session.deactivate()


def quiet(done: int, of: int) -> None:
    assert 0 < done <= of


@pytest.mark.parametrize("blending", ["constant", "gaussian"])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
@pytest.mark.parametrize("size", [(8, 8, 8), (16, 5, 32), (19, 23, 17), (40, 40, 40)])
def test_windows_give_what_the_whole_gives_for_a_pointwise_network(
    opened: Any, size: tuple[int, ...], overlap: float, blending: str
) -> None:
    session, form = opened(threshold_segmenter())
    whole = EachImage(1).run(session, form, {"x": VOLUME}, quiet)["logits"]
    step = SlidingWindow(size=size, overlap=overlap, blending=blending)
    windows = Windows(step, 4).run(session, form, {"x": VOLUME}, quiet)["logits"]
    assert windows.shape == whole.shape == (1, 2, 19, 23, 17)
    assert np.abs(windows - whole).max() < 1e-5


@given(
    shape=st.tuples(*[st.integers(1, 20)] * 3),
    size=st.tuples(*[st.integers(1, 20)] * 3),
    overlap=st.floats(0, 0.9),
    blending=st.sampled_from(list(Blending)),
    sigma=st.floats(0.02, 1.0),
)
@settings(max_examples=60, deadline=None)
def test_weights_sum_to_one_everywhere(shape: Any, size: Any, overlap: float, blending: Blending, sigma: float) -> None:
    shape = tuple(max(n, window) for n, window in zip(shape, size, strict=True))
    sums = SlabAccumulator(shape, window_weights(size, blending, sigma), keep_labels=False)
    starts = [start for _, start in window_places(1, shape, size, overlap)]
    assert starts == sorted(starts)
    for start in starts:
        sums.add(start, np.ones((1, *size), np.float32))
    assert np.abs(sums.finish() - 1).max() < 1e-5


def test_the_sums_hold_one_window_of_slices_however_long_the_volume_is() -> None:
    size, shape = (8, 16, 16), (400, 16, 16)
    sums = SlabAccumulator(shape, window_weights(size, Blending.GAUSSIAN, 0.125), keep_labels=True)
    for _, start in window_places(1, shape, size, 0.5):
        sums.add(start, np.stack([np.full(size, v, np.float32) for v in (0.1, 0.7, 0.2)]))
        assert sums._sums.shape == (3, *size)
    labels = sums.finish()
    assert labels.dtype == np.uint8
    assert labels.shape == (1, *shape)
    assert (labels == 1).all()


def test_labels_are_those_of_the_scores(opened: Any) -> None:
    session, form = opened(threshold_segmenter())
    step = SlidingWindow(size=(8, 8, 8))
    scores = Windows(step, 3).run(session, form, {"x": VOLUME}, quiet)["logits"]
    labels = Windows(step.model_copy(update={"keep": "labels"}), 3).run(session, form, {"x": VOLUME}, quiet)["logits"]
    assert np.array_equal(labels[:, 0], scores.argmax(axis=1))


def test_a_planar_network_goes_over_slices_frames_and_windows_of_both(opened: Any) -> None:
    session, form = opened(threshold_segmenter(planar=True))
    expected = EachImage(5).run(session, form, {"x": VOLUME}, quiet)["logits"]
    assert expected.shape == (1, 2, 19, 23, 17)
    assert np.allclose(expected[0, 1], 20 * (VOLUME[0, 0] - 0.5), atol=1e-5)
    windows = Windows(SlidingWindow(size=(16, 8)), 7).run(session, form, {"x": VOLUME}, quiet)["logits"]
    assert np.abs(windows - expected).max() < 1e-5
    frames = np.moveaxis(VOLUME, 2, 0).copy()
    each = EachImage(4).run(session, form, {"x": frames}, quiet)["logits"]
    assert each.shape == (19, 2, 1, 23, 17)
    assert np.allclose(each[:, 1, 0], expected[0, 1])
    in_windows = Windows(SlidingWindow(size=(16, 8)), 5).run(session, form, {"x": frames}, quiet)["logits"]
    assert np.abs(in_windows - each).max() < 1e-5


def test_channels_last_gives_what_channels_first_gives(opened: Any) -> None:
    first, first_form = opened(threshold_segmenter(planar=True))
    last, last_form = opened(threshold_segmenter(planar=True, channels_last=True), Layout.NHWC)
    a = EachImage(4).run(first, first_form, {"x": VOLUME}, quiet)["logits"]
    assert np.array_equal(a, EachImage(4).run(last, last_form, {"x": VOLUME}, quiet)["logits"])
    windows = Windows(SlidingWindow(size=(16, 16)), 4).run(last, last_form, {"x": VOLUME}, quiet)["logits"]
    assert np.abs(windows - a).max() < 1e-5


def test_neighbours_are_channels_in_order_and_repeat_at_the_ends(opened: Any) -> None:
    session, form = opened(identity(planar=True, channels=3))
    seen = EachImage(4, neighbours=1).run(session, form, {"x": VOLUME}, quiet)["y"][0]
    image = VOLUME[0, 0]
    assert np.array_equal(seen[1], image)
    assert np.array_equal(seen[0], image[[0, *range(18)]])
    assert np.array_equal(seen[2], image[[*range(1, 19), 18]])


def test_a_batch_that_the_network_fixes_is_filled_up(opened: Any) -> None:
    session, form = opened(identity(planar=True, size=(23, 17), batch=4))
    calls: list[int] = []
    out = EachImage(1).run(session, form, {"x": VOLUME}, lambda done, of: calls.append(done))["y"]
    assert np.array_equal(out, VOLUME)
    assert calls == [4, 8, 12, 16, 19]
    fixed, fixed_form = opened(identity(size=(8, 8, 8), batch=3))
    out = Windows(SlidingWindow(size=(8, 8, 8)), 1).run(fixed, fixed_form, {"x": VOLUME}, quiet)["y"]
    assert np.abs(out - VOLUME).max() < 1e-6


def test_a_window_larger_than_the_image_is_filled_as_declared(opened: Any) -> None:
    session, form = opened(mean_of_window())
    small = np.ones((1, 1, 2, 4, 4), np.float32)
    zeros = Windows(SlidingWindow(size=(4, 4, 4), blending="constant"), 1).run(session, form, {"x": small}, quiet)["y"]
    edge = Windows(SlidingWindow(size=(4, 4, 4), padding="edge"), 1).run(session, form, {"x": small}, quiet)["y"]
    assert zeros.shape == edge.shape == small.shape
    assert zeros == pytest.approx(0.5)
    assert edge == pytest.approx(1.0)


def mean_of_window() -> bytes:
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Expand", ["mean", "shape"], ["y"]),
    ]
    axes = ["n", 1, "d", "h", "w"]
    return model(nodes, [value("x", axes)], [value("y", axes)])


class StopError(Exception):
    pass


@pytest.mark.parametrize("way", [EachImage(1), Windows(SlidingWindow(size=(8, 8)), 2)])
def test_whoever_is_told_of_progress_can_end_the_run(opened: Any, way: Any) -> None:
    session, form = opened(threshold_segmenter(planar=True))
    told: list[tuple[int, int]] = []

    def stop(done: int, of: int) -> None:
        told.append((done, of))
        if len(told) == 3:
            raise StopError

    with pytest.raises(StopError):
        way.run(session, form, {"x": VOLUME}, stop)
    assert len(told) == 3
    assert all(a[0] < b[0] and a[1] == b[1] for a, b in itertools.pairwise(told))
    assert session.active


def test_less_memory_means_smaller_batches_then_smaller_windows(opened: Any) -> None:
    _, free = opened(identity())
    way: Any = Windows(SlidingWindow(size=(96, 64, 40), multiple=16), 4)
    seen = []
    while way is not None:
        seen.append((way.batch, way.step.size))
        way = way.smaller(free)
    assert seen == [(4, (96, 64, 40)), (2, (96, 64, 40)), (1, (96, 64, 40)), (1, (48, 32, 16)), (1, (16, 16, 16))]
    _, fixed = opened(identity(size=(32, 32, 32)))
    assert Windows(SlidingWindow(size=(32, 32, 32)), 1).smaller(fixed) is None
    assert EachImage(2).smaller(free) == EachImage(1)
    assert EachImage(1).smaller(free) is None


def test_lists_of_numbers_count_the_images_first(opened: Any) -> None:
    session, form = opened(mean_intensity(planar=True))
    means = EachImage(4).run(session, form, {"x": VOLUME}, quiet)["level"]
    assert means[:, 0] == pytest.approx(VOLUME[0, 0].mean(axis=(1, 2)), rel=1e-5)
    detector, detector_form = opened(box_detector(), boxes=("boxes", "scores"))
    boxes = EachImage(4).run(detector, detector_form, {"x": VOLUME}, quiet)
    assert boxes["boxes"].shape == (19, 2, 4)
    assert boxes["scores"].shape == (19, 2)


def lists_without_batch() -> bytes:
    """As many boxes as there are bright pixels, no batch axis: (box, 4), (box,), (box,)."""
    nodes = [
        helper.make_node("Greater", ["x", "limit"], ["bright"]),
        helper.make_node("NonZero", ["bright"], ["places"]),
        helper.make_node("Transpose", ["places"], ["rows"], perm=[1, 0]),
        helper.make_node("Cast", ["rows"], ["boxes"], to=TensorProto.FLOAT),
        helper.make_node("Slice", ["boxes", "first", "second", "axis"], ["column"]),
        helper.make_node("Squeeze", ["column", "axis"], ["scores"]),
        helper.make_node("Cast", ["scores"], ["labels"], to=TensorProto.INT64),
    ]
    outputs = [value("boxes", ["m", 4]), value("scores", ["m"]), value("labels", ["m"], TensorProto.INT64)]
    numbers = {"limit": np.float32(0.98), "first": np.array([0]), "second": np.array([1]), "axis": np.array([1])}
    return model(nodes, [value("x", [1, 1, "h", "w"])], outputs, **numbers)


def test_lists_of_different_lengths_are_filled_up(opened: Any) -> None:
    session, form = opened(lists_without_batch(), boxes=("boxes", "scores", "labels"))
    counts = (VOLUME[0, 0] > np.float32(0.98)).sum(axis=(1, 2))
    out = EachImage(1).run(session, form, {"x": VOLUME}, quiet)
    by_order = EachImage(1).run(session, NetworkForm(form.inputs, ("", "scores", "labels")), {"x": VOLUME}, quiet)
    assert all(np.array_equal(out[name], by_order[name], equal_nan=name != "labels") for name in out)
    assert out["boxes"].shape == (19, counts.max(), 4)
    assert np.array_equal((~np.isnan(out["scores"])).sum(axis=1), counts)
    assert np.array_equal((out["labels"] >= 0).sum(axis=1), counts)


def test_outputs_that_do_not_count_the_images_are_told(opened: Any) -> None:
    nodes = [helper.make_node("ReduceMean", ["x"], ["y"], keepdims=0)]
    session, form = opened(model(nodes, [value("x", ["n", 1, "h", "w"])], [value("y", [])]))
    assert EachImage(1).run(session, form, {"x": VOLUME}, quiet)["y"].shape == (19, 1)
    with pytest.raises(ModelError, match="must count them"):
        run_batch(session, form, {"x": VOLUME[0, 0, :3, None]})


def test_windows_refuse_outputs_of_another_size_and_inputs_of_two_sizes(opened: Any) -> None:
    session, form = opened(mean_intensity())
    with pytest.raises(ModelError, match="their own size"):
        Windows(SlidingWindow(size=(8, 8, 8)), 1).run(session, form, {"x": VOLUME}, quiet)
    with pytest.raises(ModelInputError, match="one size"):
        Windows(SlidingWindow(size=(8, 8, 8)), 1).run(session, form, {"x": VOLUME, "y": VOLUME[:, :, :5]}, quiet)
    with pytest.raises(ModelInputError, match="different numbers of images"):
        EachImage(1).run(session, form, {"x": VOLUME, "y": np.concatenate([VOLUME, VOLUME])}, quiet)


@pytest.mark.parametrize("where", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("keep_labels", [False, True])
def test_sums_on_a_device_are_those_of_the_processor(where: str, keep_labels: bool) -> None:
    torch = pytest.importorskip("torch")
    if where == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    from dicom_node.inference.steps.device_arrays import DeviceSlabAccumulator  # noqa: PLC0415 - torch is an extra

    shape, size = (21, 12, 9), (8, 8, 8)
    weights = window_weights(size, Blending.GAUSSIAN, 0.125)
    here = SlabAccumulator(shape, weights, keep_labels=keep_labels)
    there = DeviceSlabAccumulator(shape, weights, keep_labels=keep_labels, device=where)
    for _, start in window_places(1, shape, size, 0.4):
        scores = RNG.random((3, *size), np.float32)
        here.add(start, scores)
        there.add(start, scores)
    difference = np.abs(here.finish().astype(np.float64) - there.finish())
    assert difference.max() < 1e-6 if not keep_labels else np.count_nonzero(difference) == 0
