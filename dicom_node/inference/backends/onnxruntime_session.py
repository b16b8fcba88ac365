"""ONNX Runtime: the default, and in single precision on the CPU the reference that other engines are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import EngineUnavailableError, ModelError
from dicom_node.inference.backends.availability import Availability
from dicom_node.inference.engines.onnx_network import PreparedNetwork, equal_lengths, limits_exceeded, prepare, ranks
from dicom_node.inference.network import Network, NetworkFormat, Precision, SessionOptions
from dicom_node.inference.session import Session, Signature, TensorInfo, Tensors

_DTYPES: Mapping[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int16)": np.int16,
    "tensor(int8)": np.int8,
    "tensor(uint64)": np.uint64,
    "tensor(uint32)": np.uint32,
    "tensor(uint16)": np.uint16,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}
# Tried with ONNX Runtime 1.32.0: opset 28 and IR 14 load, 29 and 15 do not.
_HIGHEST_OPSET, _HIGHEST_IR = 28, 14


def availability() -> Availability:
    """Tell whether ONNX Runtime is installed."""
    for distribution in ("onnxruntime-gpu", "onnxruntime"):
        try:
            return Availability(usable=find_spec("onnxruntime") is not None, reason=f"{distribution} {version(distribution)}")
        except PackageNotFoundError:
            continue
    return Availability(usable=False, reason="the package onnxruntime is not installed")


class OnnxRuntimeSession(Session):
    """A network in ONNX form."""

    backend = "onnxruntime"
    formats = frozenset({NetworkFormat.ONNX})

    def __init__(self, network: Network, precision: Precision, options: SessionOptions) -> None:
        """Name the network; `activate` loads it."""
        super().__init__(network, precision, options)
        self._engine: Any = None
        self._bytes = 0

    @property
    def device(self) -> str:
        """`cpu` or `cuda:N`; the CPU unless the GPU is asked for."""
        return "cpu" if self.options.device == "auto" else self.options.device

    @property
    def memory_bytes(self) -> int:
        """Size of the network with its weights; work space comes on top and is not told by the engine."""
        return self._bytes

    def _activate(self) -> Signature:
        if self.precision is Precision.BF16 and self.device == "cpu":
            raise ModelError("ONNX Runtime has no bfloat16 kernels on the CPU", hint="Choose fp32, or another engine for bf16.")
        prepared = prepare(self.network, self.precision, self.options)
        self._report("load", 0.0)
        self._engine = self._open(prepared)
        self._bytes = prepared.size_bytes
        inputs, outputs = self._engine.get_inputs(), self._engine.get_outputs()
        unknown = ranks(prepared.model)
        return Signature(
            {i.name: TensorInfo(_dtype(i), _shape(i, unknown)) for i in inputs},
            {o.name: TensorInfo(_dtype(o), _shape(o, unknown)) for o in outputs},
            equal_lengths(prepared.model),
        )

    def _open(self, prepared: PreparedNetwork) -> Any:
        import onnxruntime  # noqa: PLC0415

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = self.options.threads
        settings.enable_cpu_mem_arena = settings.enable_mem_pattern = self.options.reuse_memory
        settings.log_severity_level = 3
        source = str(self.network.path) if prepared.external else prepared.content
        try:
            engine = onnxruntime.InferenceSession(source, settings, providers=self._providers(onnxruntime))
        except EngineUnavailableError:
            raise
        except Exception as error:
            why = limits_exceeded(prepared.model, _HIGHEST_OPSET, _HIGHEST_IR) or str(error)
            raise ModelError(f"{self.network.path}: ONNX Runtime refuses the network: {why}") from error
        if self.device != "cpu" and "CUDAExecutionProvider" not in engine.get_providers():
            raise EngineUnavailableError(f"ONNX Runtime fell back to the CPU, {self.device} was asked for")
        return engine

    def _providers(self, onnxruntime: Any) -> list[Any]:
        if self.device == "cpu":
            return ["CPUExecutionProvider"]
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise EngineUnavailableError(f"{self.device}: this ONNX Runtime has no CUDA", hint="pip install onnxruntime-gpu")
        cuda = {"device_id": self.device.removeprefix("cuda:"), "use_tf32": "0", "arena_extend_strategy": "kSameAsRequested"}
        return [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]

    def _infer(self, inputs: Tensors) -> Tensors:
        try:
            outputs = self._engine.run(None, {name: np.asarray(array, order="C") for name, array in inputs.items()})
        except Exception as error:
            raise ModelError(f"ONNX Runtime failed: {type(error).__name__}: {error}") from error
        return {o.name: _array(value) for o, value in zip(self._engine.get_outputs(), outputs, strict=True)}

    def _deactivate(self) -> None:
        self._engine = None
        self._bytes = 0


def _array(value: Any) -> NDArray[np.generic]:
    return np.asarray(value)


def _dtype(node: Any) -> np.dtype[np.generic]:
    if node.type not in _DTYPES:
        raise ModelError(f"{node.name} is {node.type}; inputs and outputs may be {', '.join(sorted(_DTYPES))}")
    return np.dtype(_DTYPES[node.type])


def _shape(node: Any, ranks_by_name: Mapping[str, int | None]) -> tuple[int | None, ...] | None:
    if not node.shape and ranks_by_name.get(node.name, 0) is None:
        return None
    return tuple(length if isinstance(length, int) else None for length in node.shape)
