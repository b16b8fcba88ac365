"""OpenVINO on the CPU: faster than ONNX Runtime on volumes, an option.

What its CPU plugin does without a word is refused or avoided here (all seen with 2026.4.1): it computes double in single and
64-bit integers in 32 bit; with one thread it swallows a failure within a run and gives the previous run's outputs; and once a
run has failed, all later ones of that compiled network fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from dicom_node.errors import EngineUnavailableError, ModelError
from dicom_node.inference.backends.availability import Availability
from dicom_node.inference.engines.onnx_network import PreparedNetwork, equal_lengths, prepare
from dicom_node.inference.network import Network, NetworkFormat, Precision, SessionOptions, Shape
from dicom_node.inference.session import Session, Signature, TensorInfo, Tensors

_DTYPES: Mapping[str, type[np.generic]] = {
    "f32": np.float32,
    "f16": np.float16,
    "i64": np.int64,
    "i32": np.int32,
    "i16": np.int16,
    "i8": np.int8,
    "u64": np.uint64,
    "u32": np.uint32,
    "u16": np.uint16,
    "u8": np.uint8,
    "boolean": np.bool_,
}
_HINTS: Mapping[Precision, tuple[str, str]] = {
    Precision.FP32: ("f32", "FP32"),
    Precision.FP16: ("f16", "FP16"),
    Precision.BF16: ("bf16", "BF16"),
}
_NARROWED = frozenset({np.dtype(np.int64), np.dtype(np.uint64), np.dtype(np.uint32)})
_FEWEST_THREADS = 2
_MOST_PROVEN = 1000
_INT32 = np.iinfo(np.int32)


def availability() -> Availability:
    """Tell whether OpenVINO is installed."""
    try:
        return Availability(usable=True, reason=f"openvino {version('openvino')}")
    except PackageNotFoundError:
        return Availability(usable=False, reason="the package openvino is not installed (extra `openvino`)")


class OpenVinoSession(Session):
    """An ONNX network, computed in exactly the precision that was asked for.

    The precision is a hint to the engine (INFERENCE_PRECISION_HINT), which itself decides what stays in single precision;
    the file is not converted and `keep_fp32` has no effect.
    """

    backend = "openvino"
    formats = frozenset({NetworkFormat.ONNX})

    def __init__(self, network: Network, precision: Precision, options: SessionOptions) -> None:
        """Name the network; `activate` loads it."""
        super().__init__(network, precision, options)
        self._model: Any = None
        self._compiled: Any = None
        self._request: Any = None
        self._proven: set[tuple[Shape, ...]] = set()
        self._bytes = 0

    @property
    def device(self) -> str:
        """Always the CPU."""
        return "cpu"

    @property
    def memory_bytes(self) -> int:
        """Size of the network with its weights; the engine's own copy and work space come on top."""
        return self._bytes

    def _activate(self) -> Signature:
        if self.options.device not in ("auto", "cpu"):
            raise EngineUnavailableError(f"openvino runs on the CPU here, {self.options.device} was asked for")
        self._report("load", 0.0)
        return self._load()

    def _load(self) -> Signature:
        prepared = prepare(self.network, Precision.FP32, self.options)
        _refuse_doubles(prepared.model)
        self._compiled = self._compile(prepared)
        self._request = self._compiled.create_infer_request()
        self._bytes = prepared.size_bytes
        return Signature(_described(self._compiled.inputs), _described(self._compiled.outputs), equal_lengths(prepared.model))

    def _compile(self, prepared: PreparedNetwork) -> Any:
        try:
            import openvino  # noqa: PLC0415
        except ImportError as error:
            raise EngineUnavailableError(f"openvino cannot be imported: {error}", hint="Install the extra `openvino`.") from error

        hint, capability = _HINTS[self.precision]
        core = openvino.Core()
        if capability not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise EngineUnavailableError(f"this CPU has no {self.precision} arithmetic, OpenVINO would compute in another precision")
        settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        if self.options.threads:
            settings["INFERENCE_NUM_THREADS"] = max(self.options.threads, _FEWEST_THREADS)
        try:
            # Weights in files of their own are found only from the network's path; their names are in its digest.
            self._model = core.read_model(str(self.network.path) if prepared.external else prepared.content)
            compiled = core.compile_model(self._model, "CPU", settings)
        except RuntimeError as error:
            raise ModelError(f"{self.network.path}: OpenVINO refuses the network: {_last_line(error)}") from error
        taken = str(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
        if taken != hint:
            raise EngineUnavailableError(f"OpenVINO would compute in {taken}, {hint} was asked for")
        return compiled

    def _infer(self, inputs: Tensors) -> Tensors:
        for name, array in inputs.items():
            _refuse_wide(name, array)
        self._prove_shapes(inputs)
        try:
            results = self._request.infer({name: np.asarray(array, order="C") for name, array in inputs.items()})
            # The results lie in the request's memory and change with its next run.
            return {port.any_name: np.array(results[port]) for port in self._compiled.outputs}
        except RuntimeError as error:
            self._load()
            raise ModelError(f"OpenVINO failed: {_last_line(error)}") from error

    def _prove_shapes(self, inputs: Tensors) -> None:
        """Follow shapes through a copy of the graph before a run depends on it; each combination once."""
        shapes = tuple(inputs[name].shape for name in self._signature.inputs)
        if shapes in self._proven:
            return
        try:
            self._model.clone().reshape(dict(zip(self._signature.inputs, map(list, shapes), strict=True)))
        except RuntimeError as error:
            words = ", ".join(f"{name} {shape}" for name, shape in zip(self._signature.inputs, shapes, strict=True))
            raise ModelError(f"the network cannot take inputs of shape {words}: {_last_line(error)}") from error
        if len(self._proven) >= _MOST_PROVEN:
            self._proven.clear()
        self._proven.add(shapes)

    def _deactivate(self) -> None:
        self._request = None
        self._compiled = None
        self._model = None
        self._proven.clear()
        self._bytes = 0


def _described(ports: Any) -> dict[str, TensorInfo]:
    described = {}
    for port in ports:
        kind, shape = port.element_type.get_type_name(), port.partial_shape
        if kind not in _DTYPES:
            raise ModelError(f"{port.any_name} is {kind}; inputs and outputs may be {', '.join(sorted(_DTYPES))}")
        lengths = None if shape.rank.is_dynamic else tuple(None if n.is_dynamic else int(n.get_length()) for n in shape)
        described[port.any_name] = TensorInfo(np.dtype(_DTYPES[kind]), lengths)
    return described


def _refuse_doubles(model: onnx.ModelProto) -> None:
    double, graph = onnx.TensorProto.DOUBLE, model.graph
    tensors = {value.name for value in (*graph.input, *graph.output) if value.type.tensor_type.elem_type == double}
    tensors |= {tensor.name for tensor in graph.initializer if tensor.data_type == double}
    made = {
        n.output[0] for n in graph.node for a in n.attribute if a.t.data_type == double or (a.name in ("to", "dtype") and a.i == double)
    }
    if tensors | made:
        raise ModelError(
            f"the network computes {min(tensors | made)} in double, OpenVINO would do it in single precision",
            hint="Use onnxruntime for it.",
        )


def _refuse_wide(name: str, array: NDArray[np.generic]) -> None:
    if array.dtype in _NARROWED and array.size and (int(np.max(array)) > _INT32.max or int(np.min(array)) < _INT32.min):
        raise ModelError(
            f"input {name} holds values beyond 32 bit, OpenVINO computes {array.dtype} in 32 bit", hint="Use onnxruntime for it."
        )


def _last_line(error: RuntimeError) -> str:
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
