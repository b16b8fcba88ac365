"""Every back end that runs on this host without a GPU keeps the contract; tests/gpu has the others."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from dicom_node.errors import ModelError
from dicom_node.inference.backends import Network, NetworkFormat, RemoteModel, SessionOptions, available_backends, open_session
from tests.contract.session_contract import *  # noqa: F403
from tests.contract.session_contract import Opener
from tests.kserve_server import Served, serving
from tests.networks import EDGES, model, passing


@contextmanager
def on_a_server(path: Path) -> Iterator[SessionOptions]:
    with serving(Served("edges", path.read_bytes(), versions=("2", "3"))) as served:
        yield SessionOptions(remote=RemoteModel(served.address, "edges", "3", timeout_s=20))
        assert served.tensors_in_json == 0


TRUSTED = SessionOptions(threads=1, trusted=True, device="cpu")
OPENERS = {
    "onnxruntime": Opener("onnxruntime"),
    "openvino": Opener("openvino"),
    "torch-pt2": Opener("torch", NetworkFormat.PT2, TRUSTED),
    "torch-torchscript": Opener("torch", NetworkFormat.TORCHSCRIPT, TRUSTED, describes_outputs=False),
    "triton": Opener("triton", served=on_a_server),
}
TYPES = [*("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool"), "bfloat16"]
REFUSED = {
    ("onnxruntime", "bfloat16"): "bfloat16",
    ("openvino", "bfloat16"): "bf16",
    ("openvino", "float64"): "double",
    ("triton", "bfloat16"): "BF16",
}


@pytest.fixture(params=OPENERS)
def opener(request: pytest.FixtureRequest) -> Opener:
    name = str(request.param)
    state = available_backends()[name.split("-", maxsplit=1)[0]]
    if not state.usable:
        pytest.skip(state.reason)
    return OPENERS[name]


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torch-pt2"])
def test_every_type_passes_unchanged_or_is_refused_with_words(engine: str, name: str, tmp_path: Path) -> None:
    dtype = np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)
    case = passing(dtype)
    with OPENERS[engine].prepared(case, tmp_path) as make:
        if (engine, name) in REFUSED:
            with pytest.raises(ModelError, match=REFUSED[engine, name]):
                make().activate()
            return
        with make() as session:
            [output] = session.infer(case.inputs).values()
    assert output.dtype == dtype
    assert np.array_equal(output, case.inputs["x"])


@pytest.mark.parametrize("kind", [TensorProto.STRING, TensorProto.COMPLEX64, TensorProto.FLOAT8E4M3FN, TensorProto.INT4])
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_types_that_numpy_lacks_are_refused(engine: str, kind: int, tmp_path: Path) -> None:
    infos = [helper.make_tensor_value_info(name, kind, [2]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", infos[:1], infos[1:])
    path = tmp_path / "network.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString())
    with pytest.raises(ModelError):
        open_session(engine, "fp32", Network(path)).activate()


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torch-pt2", "torch-torchscript"])
@pytest.mark.parametrize("content", [b"", b"no network at all", b"\x08\x0a\x12\x00", b"PK\x03\x04 broken archive"])
def test_files_that_are_no_network_are_refused(engine: str, content: bytes, tmp_path: Path) -> None:
    opener = OPENERS[engine]
    path = tmp_path / f"network.{opener.form}"
    path.write_bytes(content)
    session = open_session(opener.backend, "fp32", Network(path, opener.form), opener.options)
    with pytest.raises(ModelError, match=r"network\."):
        session.activate()
    assert not session.active
    EDGES.write(tmp_path, opener.form)
    with session:
        assert session.infer(EDGES.inputs)["y"].shape == (2, 3, 8, 9)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torch-pt2"])
def test_file_is_compared_with_its_pin(engine: str, tmp_path: Path) -> None:
    opener = OPENERS[engine]
    path = EDGES.write(tmp_path, opener.form)
    pin = hashlib.sha256(path.read_bytes()).hexdigest()
    with open_session(opener.backend, "fp32", Network(path, opener.form, pin.upper()), opener.options) as session:
        assert session.active
    with pytest.raises(ModelError, match=f"SHA-256 is {pin}, {'0' * 64} is pinned"):
        open_session(opener.backend, "fp32", Network(path, opener.form, "0" * 64), opener.options).activate()
    with pytest.raises(ModelError, match="cannot be read"):
        open_session(opener.backend, "fp32", Network(tmp_path / "missing", opener.form), opener.options).activate()


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_weights_in_a_file_of_their_own_are_found(engine: str, tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    onnx.save_model(EDGES.onnx(), path, save_as_external_data=True, location="network.weights", size_threshold=100)
    with open_session(engine, "fp32", Network(path), SessionOptions(threads=1)) as session:
        assert session.infer(EDGES.inputs)["y"] == pytest.approx(EDGES.expect(EDGES.inputs)["y"], abs=1e-5)
        assert session.memory_bytes > path.stat().st_size
    (tmp_path / "network.weights").unlink()
    with pytest.raises(ModelError, match="weights"):
        open_session(engine, "fp32", Network(path)).activate()


@pytest.mark.parametrize(("opset", "ir", "words"), [(29, 10, "opset 29, the engine knows up to 28"), (18, 15, "IR version 15")])
def test_network_newer_than_the_engine_is_refused_with_the_numbers(opset: int, ir: int, words: str, tmp_path: Path) -> None:
    built = EDGES.onnx()
    built.opset_import[0].version, built.ir_version = opset, ir
    path = tmp_path / "network.onnx"
    path.write_bytes(built.SerializeToString())
    with pytest.raises(ModelError, match=words):
        open_session("onnxruntime", "fp32", Network(path)).activate()


@pytest.mark.parametrize("ranks", [None, []])
def test_input_whose_axes_the_file_does_not_count_takes_any(ranks: list[int] | None, tmp_path: Path) -> None:
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ranks) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", infos[:1], infos[1:])
    path = tmp_path / "network.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString())
    with open_session("onnxruntime", "fp32", Network(path)) as session:
        assert session.inputs["x"].shape == (None if ranks is None else ())
        if ranks is None:
            assert session.infer({"x": np.ones((2, 2), np.float32)})["y"].sum() == -4
            with pytest.raises(ModelError, match="does not say its shape"):
                session.warm_up()
        else:
            assert session.infer({"x": np.float32(3).reshape(())})["y"] == -3


@pytest.mark.parametrize("form", [NetworkFormat.PT2, NetworkFormat.TORCHSCRIPT])
def test_torch_files_run_code_and_are_loaded_only_when_trusted(form: NetworkFormat, tmp_path: Path) -> None:
    path = EDGES.write(tmp_path, form)
    with pytest.raises(ModelError, match="runs code when it is loaded"):
        open_session("torch", "fp32", Network(path, form)).activate()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_torch_computes_in_16_bit_and_answers_in_the_files_types(precision: str, tmp_path: Path) -> None:
    opener = replace(OPENERS["torch-pt2"], precision=precision)
    with opener.prepared(EDGES, tmp_path) as make, make() as session:
        y = session.infer(EDGES.inputs)["y"]
    difference = float(np.abs(y - EDGES.expect(EDGES.inputs)["y"]).max())
    assert y.dtype == np.float32
    assert 1e-6 < difference < 0.1


def test_openvino_computes_in_bf16_only_when_asked(tmp_path: Path) -> None:
    path, differences = EDGES.write(tmp_path, NetworkFormat.ONNX), {}
    for precision in ("fp32", "bf16"):
        with open_session("openvino", precision, Network(path), SessionOptions(threads=1)) as session:
            differences[precision] = float(np.abs(session.infer(EDGES.inputs)["y"] - EDGES.expect(EDGES.inputs)["y"]).max())
    assert differences["fp32"] < 1e-5
    assert differences["bf16"] > 1e-4


def test_openvino_refuses_integers_that_it_would_cut(tmp_path: Path) -> None:
    case = passing(np.dtype(np.int64))
    with open_session("openvino", "fp32", Network(case.write(tmp_path, NetworkFormat.ONNX))) as session:
        assert session.infer({"x": np.full((1, 3), 2**31 - 1)})["output"].max() == 2**31 - 1
        with pytest.raises(ModelError, match="beyond 32 bit"):
            session.infer({"x": np.full((1, 3), 2**31)})


def test_openvino_refuses_doubles_within_the_network(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["d"], to=TensorProto.DOUBLE),
        helper.make_node("Sqrt", ["d"], ["s"]),
        helper.make_node("Cast", ["s"], ["y"], to=TensorProto.FLOAT),
    ]
    x = {"x": np.ones((1, 3), np.float32)}
    path = tmp_path / "network.onnx"
    path.write_bytes(model(nodes, x, {"y": x["x"]}).SerializeToString())
    with pytest.raises(ModelError, match="computes d in double"):
        open_session("openvino", "fp32", Network(path)).activate()


def test_onnxruntime_refuses_bf16_and_a_gpu_that_it_cannot_use(tmp_path: Path) -> None:
    network = Network(EDGES.write(tmp_path, NetworkFormat.ONNX))
    with pytest.raises(ModelError, match="no bfloat16 kernels"):
        open_session("onnxruntime", "bf16", network).activate()
    with pytest.raises(ModelError, match="no CUDA"):
        open_session("onnxruntime", "fp32", network, SessionOptions(device="cuda:0")).activate()


def test_memory_can_be_given_back_after_each_run(tmp_path: Path) -> None:
    network = Network(EDGES.write(tmp_path, NetworkFormat.ONNX))
    with open_session("onnxruntime", "fp32", network, SessionOptions(threads=1, reuse_memory=False)) as session:
        assert session.infer(EDGES.inputs)["y"] == pytest.approx(EDGES.expect(EDGES.inputs)["y"], abs=1e-5)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_run_that_fails_within_the_engine_leaves_the_session_usable(engine: str, tmp_path: Path) -> None:
    built = EDGES.onnx()
    built.graph.input[1].type.tensor_type.shape.dim[0].dim_param = "other"
    path = tmp_path / "network.onnx"
    path.write_bytes(built.SerializeToString())
    with open_session(engine, "fp32", Network(path), SessionOptions(threads=1)) as session:
        for _ in range(2):
            with pytest.raises(ModelError, match=r"failed|cannot take inputs of shape x .2, 1, 8, 9., scale .3, 3."):
                session.infer({**EDGES.inputs, "scale": np.ones((3, 3), np.float32)})
            assert session.infer(EDGES.inputs)["y"] == pytest.approx(EDGES.expect(EDGES.inputs)["y"], abs=1e-5)


@pytest.mark.parametrize(
    ("backend", "precision", "form", "words"),
    [
        ("abacus", "fp32", NetworkFormat.ONNX, "back end 'abacus' is unknown"),
        ("onnxruntime", "fp8", NetworkFormat.ONNX, "precision 'fp8' is unknown"),
        ("torch", "fp32", NetworkFormat.ONNX, "torch reads pt2, torchscript, the network is onnx"),
        ("onnxruntime", "fp32", NetworkFormat.PT2, "onnxruntime reads onnx, the network is pt2"),
        ("triton", "fp32", NetworkFormat.ONNX, "name no server"),
    ],
)
def test_what_cannot_be_opened_is_said_at_once(backend: str, precision: str, form: NetworkFormat, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        open_session(backend, precision, Network(Path("network"), form))
