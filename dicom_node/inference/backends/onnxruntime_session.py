"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

from dicom_node.errors import ModelError
from dicom_node.inference.session import Session, TensorInfo, Tensors

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int16)": np.int16,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}


class OnnxRuntimeSession(Session):
    """A network in ONNX form."""

    backend = "onnxruntime"
    precision = "fp32"

    def __init__(self, network: Path, *, threads: int = 0) -> None:
        """Name the network; `activate` loads it.

        Args:
            network: ONNX file.
            threads: Threads within an operator; 0 takes all cores.
        """
        super().__init__()
        self._network = network
        self._threads = threads
        self._engine: onnxruntime.InferenceSession | None = None

    def _activate(self) -> Mapping[str, TensorInfo]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        try:
            self._engine = onnxruntime.InferenceSession(self._network.read_bytes(), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelError(f"{self._network}: ONNX Runtime refuses the network: {error}") from error
        return {i.name: TensorInfo(np.dtype(_DTYPES[i.type]), _shape(i.shape)) for i in self._engine.get_inputs()}

    def _infer(self, inputs: Tensors) -> Tensors:
        if self._engine is None:
            raise ModelError("session is not active")
        try:
            outputs = self._engine.run(None, dict(inputs))
        except Exception as error:
            raise ModelError(f"ONNX Runtime failed: {type(error).__name__}") from error
        return {o.name: np.asarray(value) for o, value in zip(self._engine.get_outputs(), outputs, strict=True)}

    def _deactivate(self) -> None:
        self._engine = None


def _shape(shape: list[int | str | None]) -> tuple[int | None, ...]:
    return tuple(length if isinstance(length, int) else None for length in shape)
