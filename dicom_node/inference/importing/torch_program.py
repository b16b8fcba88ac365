"""TorchScript and torch.export files, looked at and converted in a process of their own: loading one runs code.

`python -m dicom_node.inference.importing.torch_program REQUEST` reads a JSON request and prints a JSON answer. The one module here that
needs torch.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from dicom_node.inference.backends import Network, SessionOptions, open_session
from dicom_node.inference.importing.request import ImportFailedError

_LIMIT_S = 900
_OPSET = 18
_LARGEST_ERROR = 1e-3
"""Of the converted network, as a share of the original's largest magnitude."""


def convert(source: Path, target: Path, shape: tuple[int, ...]) -> dict[str, Any]:
    """Convert a trusted file in a process of its own.

    Args:
        source: The .pt or .pt2.
        target: Where the ONNX file goes.
        shape: Of the one input of a TorchScript file, which does not say it; a .pt2 has its own and ignores it.

    Returns:
        `converted` (bool), `why` it was not, `error` against the original, `inputs` and `outputs` with shape and dtype.

    Raises:
        ImportFailedError: torch is missing, or the file cannot even be run by it.
    """
    if find_spec("torch") is None:
        raise ImportFailedError(
            "this file needs torch, which is not installed", hint="Install the extra `torch`: pip install 'dicom-node[torch]'"
        )
    request = json.dumps({"source": str(source), "target": str(target), "shape": shape})
    command = [sys.executable, "-m", "dicom_node.inference.importing.torch_program", request]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_LIMIT_S)
    except subprocess.TimeoutExpired as error:
        raise ImportFailedError(f"{source.name}: torch did not load and convert it within {_LIMIT_S} s") from error
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["no words"])[-1]
        raise ImportFailedError(f"{source.name}: torch cannot load or run it: {last[:300]}")
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    import torch  # noqa: PLC0415 - optional, and seconds to load

    source, target = Path(request["source"]), Path(request["target"])
    torch.manual_seed(0)
    is_program = source.suffix != ".pt2"
    if is_program:
        module = torch.jit.load(source, map_location="cpu").eval()  # type: ignore[no-untyped-call]
        given: tuple[torch.Tensor, ...] = (torch.randn(tuple(request["shape"])),)
        inputs = [argument.name for argument in module.forward.schema.arguments[1:]]
    else:
        exported = torch.export.load(source)
        module = exported.module()
        if exported.example_inputs is None or exported.example_inputs[1]:
            raise ValueError("the file holds no example of its inputs, or wants some by keyword; export it with positional ones")
        given = tuple(torch.randn_like(value) for value in exported.example_inputs[0])
        inputs = list(exported.graph_signature.user_inputs)
    with torch.no_grad():
        result = module(*given)
    wanted = _listed(result)
    numbered = ["output"] if len(wanted) == 1 else [f"output_{n}" for n in range(len(wanted))]
    outputs = list(result) if isinstance(result, dict) else numbered
    answer: dict[str, Any] = {"inputs": _infos(inputs, given), "outputs": _infos(outputs, wanted), "converted": False, "why": ""}
    try:
        names = {"input_names": inputs, "output_names": outputs}
        if is_program:
            torch.onnx.export(module, given, target, dynamo=False, opset_version=_OPSET, **names)  # type: ignore[arg-type]
        else:
            torch.onnx.export(exported, (), target, dynamo=True, opset_version=_OPSET, external_data=False, **names)  # type: ignore[arg-type]
        arrays = {name: np.asarray(tensor) for name, tensor in zip(inputs, given, strict=True)}
        with open_session("onnxruntime", "fp32", Network(target), SessionOptions()) as session:
            found = session.infer(arrays)
        errors = [_error(np.asarray(tensor), found[name]) for name, tensor in zip(outputs, wanted, strict=True)]
        answer["error"] = max(errors)
        answer["converted"] = answer["error"] <= _LARGEST_ERROR
        answer["why"] = "" if answer["converted"] else f"the converted network differs from the original by {answer['error']:.2g}"
    except Exception as error:  # noqa: BLE001 - the exporter raises what it likes; the file is then kept for torch itself, and it is said why
        answer["why"] = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return answer


def _listed(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, tuple | list) else [value]


def _infos(names: list[str], tensors: Any) -> dict[str, Any]:
    return {
        name: {"shape": list(tensor.shape), "dtype": str(tensor.dtype).removeprefix("torch.")}
        for name, tensor in zip(names, tensors, strict=True)
    }


def _error(wanted: Any, found: Any) -> float:
    if wanted.shape != found.shape:
        raise ValueError(f"shape {found.shape} instead of {wanted.shape}")
    return float(np.abs(wanted - found).max() / max(float(np.abs(wanted).max()), 1e-12))


if __name__ == "__main__":
    with warnings.catch_warnings(action="ignore"):
        print(json.dumps(_answer(json.loads(sys.argv[1]))))  # noqa: T201 - the answer to the process that asked
