"""The build half of TensorRT with the builder of TensorRT-RTX, which needs no GPU; no plan is run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from dicom_node.errors import BuildCancelledError, EngineUnavailableError, ModelError
from dicom_node.inference.engines import tensorrt_library
from dicom_node.inference.engines.build_progress import PhaseTree
from dicom_node.inference.engines.onnx_network import prepare
from dicom_node.inference.engines.tensorrt_build import BuildOrder, build_plan
from dicom_node.inference.engines.tensorrt_library import Flavour, TensorRt, load_tensorrt
from dicom_node.inference.network import BuildProgress, Network, Precision, SessionOptions, ShapeRange
from tests.networks import volume_net

PROFILE = {"x": ShapeRange((1, 1, 8, 8, 8), (1, 1, 8, 8, 8), (4, 1, 8, 8, 8))}

pytest.importorskip("tensorrt_rtx", reason="the extra `rtx` is not installed")


@pytest.fixture(scope="module")
def rtx() -> TensorRt:
    return load_tensorrt(Flavour.RTX)


def order_of(path: Path, precision: str = "fp32", options: SessionOptions | None = None, **changes: object) -> BuildOrder:
    prepared = prepare(Network(path), Precision(precision), options or SessionOptions())
    return replace(BuildOrder(prepared, str(path), PROFILE, 1 << 30, for_this_device=False), **changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "network.onnx"
    file.write_bytes(volume_net().SerializeToString())
    return file


@pytest.mark.parametrize(
    ("precision", "options"),
    [
        ("fp32", SessionOptions()),
        ("fp16", SessionOptions()),
        ("fp16", SessionOptions(repairs=("instance-norm-by-axis",))),
        ("bf16", SessionOptions(keep_fp32=("ConvTranspose", "InstanceNormalization", "Softmax"))),
    ],
)
def test_network_is_built_in_every_precision(rtx: TensorRt, path: Path, precision: str, options: SessionOptions) -> None:
    built = build_plan(rtx, order_of(path, precision, options))
    assert len(built.plan) > 10_000
    assert built.log == ()
    assert 0 < built.seconds < 60
    assert built.timing_cache == b""


def test_progress_names_phases_and_never_falls(rtx: TensorRt, path: Path) -> None:
    seen: list[BuildProgress] = []
    build_plan(rtx, order_of(path), on_progress=seen.append)
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert len(set(fractions)) > 20
    assert {"Building engine", "Optimizing graph", "Built"} <= {progress.phase for progress in seen}


def test_build_is_cancelled_half_way(rtx: TensorRt, path: Path) -> None:
    seen: list[BuildProgress] = []
    with pytest.raises(BuildCancelledError, match="cancelled"):
        build_plan(rtx, order_of(path), on_progress=seen.append, is_cancelled=lambda: bool(seen) and seen[-1].fraction >= 0.5)
    assert 0.5 <= seen[-1].fraction < 1.0


def test_exception_of_the_listener_stops_the_build_and_is_raised(rtx: TensorRt, path: Path) -> None:
    def fail(progress: BuildProgress) -> None:
        if progress.fraction > 0.3:
            raise ModelError("the listener fails")

    with pytest.raises(ModelError, match="the listener fails"):
        build_plan(rtx, order_of(path), on_progress=fail)


def test_weights_beside_the_network_are_read(rtx: TensorRt, tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    onnx.save_model(volume_net(), path, save_as_external_data=True, location="network.weights", size_threshold=100)
    order = order_of(path)
    assert order.network.external == ("network.weights",)
    assert len(build_plan(rtx, order).plan) > 10_000


@pytest.mark.parametrize(
    ("profiles", "words"),
    [
        ({}, r"input x has shape \(-1, 1, 8, 8, 8\), where -1 is open, and no profile"),
        ({**PROFILE, "z": PROFILE["x"]}, "a profile is given for z, the network's inputs are x"),
        ({"x": ShapeRange((1, 2, 8, 8, 8), (1, 2, 8, 8, 8), (4, 2, 8, 8, 8))}, r"min \(1, 2, 8, 8, 8\) .* the network has \(-1, 1"),
        ({"x": ShapeRange((1, 1, 8), (1, 1, 8), (4, 1, 8))}, "the profile of x"),
    ],
)
def test_profiles_that_do_not_fit_are_refused_with_the_numbers(
    rtx: TensorRt, path: Path, profiles: dict[str, ShapeRange], words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        build_plan(rtx, order_of(path, profiles=profiles))


@pytest.mark.parametrize(("low", "best", "high"), [((4,), (1,), (2,)), ((1,), (3,), (2,)), ((0,), (1,), (2,)), ((1,), (1, 1), (2,))])
def test_shape_ranges_that_are_none_are_refused(low: tuple[int, ...], best: tuple[int, ...], high: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="profile has min"):
        ShapeRange(low, best, high)


def test_operator_that_tensorrt_lacks_is_quoted(rtx: TensorRt, path: Path) -> None:
    order = order_of(path)
    unknown = volume_net()
    unknown.graph.node[2].op_type = "Frobnicate"
    broken = replace(order.network, content=unknown.SerializeToString())
    with pytest.raises(ModelError, match=r"cannot read the network: Frobnicate relu: .*Plugin not found"):
        build_plan(rtx, replace(order, network=broken))
    with pytest.raises(ModelError, match="Failed to parse the ONNX model"):
        build_plan(rtx, replace(order, network=replace(order.network, content=b"garbage")))


def test_failed_build_gives_the_builders_reason(rtx: TensorRt, path: Path) -> None:
    order = order_of(path, "bf16", SessionOptions(keep_fp32=("InstanceNormalization", "Softmax")))
    with pytest.raises(ModelError, match=r"cannot build the network: .*Could not infer output types"):
        build_plan(rtx, order)  # RTX 1.7.1 has no bf16 deconvolution


def test_missing_library_is_said_with_both_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ImportError("libnvinfer.so.11: cannot open shared object file")

    monkeypatch.setattr(tensorrt_library, "_import_full", missing)
    assert load_tensorrt().flavour is Flavour.RTX
    monkeypatch.setattr(tensorrt_library, "_import_rtx", missing)
    with pytest.raises(EngineUnavailableError, match=r"tensorrt: libnvinfer.*; tensorrt-rtx: libnvinfer"):
        load_tensorrt()


def test_phases_fill_the_step_they_belong_to() -> None:
    seen: list[BuildProgress] = []
    tree = PhaseTree(seen.append)
    tree.start("all", None, 2)
    tree.start("inner", "all", 4)
    for step in range(4):
        tree.step("inner", step)
    tree.finish("inner")
    tree.step("all", 0)
    tree.step("nobody knows", 3)
    tree.step("all", 1)
    tree.finish("all")
    assert [progress.fraction for progress in seen] == [0, 0, 0.125, 0.25, 0.375, 0.5, 0.5, 1.0]
