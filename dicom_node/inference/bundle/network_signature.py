"""Inputs and outputs of an ONNX file, read without running it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, ValueInfoProto, helper

from dicom_node.errors import ModelError
from dicom_node.inference.session import Signature, TensorInfo


def read_onnx(path: Path) -> ModelProto:
    """Read a graph without its external weights and let ONNX's own checker look at it, shapes included.

    Raises:
        ModelError: no ONNX file, or one that breaks the rules of the format.
    """
    try:
        onnx.checker.check_model(path, full_check=True)
        return onnx.load(path, load_external_data=False)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, DecodeError, OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"{path.name}: ONNX's checker refuses it: {reason or type(error).__name__}") from error


def onnx_signature(model: ModelProto) -> Signature:
    """Tell inputs and outputs; weights that are declared as inputs too are none.

    Raises:
        ModelError: an input or output is no tensor, or its type has no counterpart in numpy.
    """
    weights = {initializer.name for initializer in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    return Signature(_infos(inputs), _infos(model.graph.output))


def _infos(values: Iterable[ValueInfoProto]) -> dict[str, TensorInfo]:
    return {value.name: _info(value) for value in values}


def _info(value: ValueInfoProto) -> TensorInfo:
    tensor = value.type.tensor_type
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except (KeyError, TypeError) as error:
        raise ModelError(f"{value.name} is no tensor of numbers") from error
    if not tensor.HasField("shape"):
        return TensorInfo(dtype, None)
    return TensorInfo(dtype, tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim))
