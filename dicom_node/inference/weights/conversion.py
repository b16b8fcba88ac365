"""From TorchScript to ONNX: exported, repaired, compared with the original at full size. The one module here that needs torch."""

from __future__ import annotations

import io
import tempfile
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from dicom_node.inference.backends import Network, SessionOptions, open_session
from dicom_node.inference.engines.repairs import apply_repairs
from dicom_node.inference.weights.recipe import Conversion
from dicom_node.inference.weights.wheels import WeightsError

ORIGIN_KEY = "dicom_node.origin"


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far a converted network was from the original on one input.

    Attributes:
        values: How many output values were compared.
        max_error: Largest difference of one of them.
        decisions: Places where the likelier class differs.
    """

    values: int
    max_error: float
    decisions: int


def torch_is_there() -> bool:
    """Whether the optional library is installed."""
    return find_spec("torch") is not None


def torch_is_missing() -> WeightsError:
    """Say that it is not there, and what to do."""
    return WeightsError(
        "converting needs torch, which is not installed",
        hint="Install the extra `torch`: pip install 'dicom-node[torch]'; it is not needed later",
    )


def converted(program: bytes, how: Conversion, origin: str) -> bytes:
    """Export a TorchScript program as ONNX with a fixed input shape.

    Args:
        program: The .pt file, of known hash: loading it runs code.
        how: From the recipe.
        origin: Written into the file.

    Raises:
        WeightsError: torch is missing, or cannot export the program.
    """
    if not torch_is_there():
        raise torch_is_missing()
    import torch  # noqa: PLC0415 - optional, and seconds to load

    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad():  # TorchScript and its exporter say that they are old
            module = torch.jit.load(io.BytesIO(program), map_location="cpu").eval()  # type: ignore[no-untyped-call]
            names = {"input_names": [how.input], "output_names": [how.output]}
            torch.onnx.export(module, (torch.zeros(how.traced_shape),), buffer, dynamo=False, opset_version=how.opset, **names)  # type: ignore[arg-type]
    except Exception as error:
        raise WeightsError(f"torch {torch.__version__} cannot export the network: {type(error).__name__}: {error}") from error
    model = onnx.load_model_from_string(buffer.getvalue())
    apply_repairs(model, how.repairs)
    _fix_shape(model, how.shape)
    model.metadata_props.add(key=ORIGIN_KEY, value=origin)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def agreement(program: bytes, network: bytes, how: Conversion) -> Agreement:
    """Run the original and the converted network on one random input of full size.

    Raises:
        WeightsError: they differ more than the recipe allows.
    """
    generator = np.random.default_rng(how.parity.seed)
    tensor = generator.standard_normal(how.shape, dtype=np.float32) * np.float32(how.parity.deviation) + np.float32(how.parity.mean)
    wanted, found = original_answer(program, tensor), _answer(network, how, tensor)
    seen = Agreement(wanted.size, float(np.abs(wanted - found).max()), int(np.count_nonzero(wanted.argmax(axis=1) != found.argmax(axis=1))))
    if seen.max_error > how.parity.max_error or seen.decisions > how.parity.most_decisions:
        raise WeightsError(
            f"the converted network is not the original: values differ by up to {seen.max_error:.2g} ({how.parity.max_error:g} allowed), "
            f"{seen.decisions} decisions differ ({how.parity.most_decisions} allowed)",
            hint="nothing was written; another version of torch or onnxruntime than those that the project pins may be at fault",
        )
    return seen


def original_answer(program: bytes, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run the TorchScript program itself."""
    import torch  # noqa: PLC0415 - optional, and seconds to load

    with warnings.catch_warnings(action="ignore"), torch.no_grad():
        module = torch.jit.load(io.BytesIO(program), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        return np.asarray(module(torch.from_numpy(tensor)).numpy())


def _answer(network: bytes, how: Conversion, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        path.write_bytes(network)
        with open_session("onnxruntime", "fp32", Network(path), SessionOptions()) as session:
            return np.asarray(session.infer({how.input: tensor})[how.output], dtype=np.float32)


def _fix_shape(model: onnx.ModelProto, shape: tuple[int, ...]) -> None:
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        for length, dimension in zip(shape[2:], value.type.tensor_type.shape.dim[2:], strict=True):
            dimension.dim_value = length
