"""Ways to run a network, all from an array in host memory to an array in host memory, so that their times compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dicom_node.errors import ModelError
from dicom_node.inference.backends import Network, SessionOptions, ShapeRange, open_session
from gpu_parts.networks import Measured

Array = NDArray[np.float32]
Run = Callable[[Array], Array]
Open = Callable[[Measured, Path], AbstractContextManager[Run]]
"""Raises one of CANNOT_RUN where it cannot."""


@contextmanager
def torch_eager(network: Measured, _onnx: Path, *, device: str, half: bool, compiled: bool) -> Iterator[Run]:
    """Torch with autocast to fp16 or in single precision, compiled or not; channels last in fp16."""
    module = network.module.to(device)
    layout = torch.channels_last_3d if len(network.shape) == 4 else torch.channels_last
    if half:
        module = module.to(memory_format=layout)  # type: ignore[call-overload]
    forward = torch.compile(module, mode="max-autotune-no-cudagraphs") if compiled else module

    def run(x: Array) -> Array:
        with torch.inference_mode(), torch.autocast(device, torch.float16, enabled=half):
            given = torch.from_numpy(x).to(device, memory_format=layout if half else torch.contiguous_format)
            y: torch.Tensor = forward(given)
            return y.float().cpu().numpy()

    try:
        yield run
    finally:
        network.module.to("cpu")


@contextmanager
def our_session(network: Measured, onnx: Path, *, backend: str, precision: str, device: str) -> Iterator[Run]:
    """A session of the node."""
    shapes = [(size, *network.shape) for size in (1, 1, network.batch)]
    options = SessionOptions(profiles={"x": ShapeRange(*shapes)}, device=device, engines_dir=onnx.parent / "engines")
    with open_session(backend, precision, Network(onnx), options) as session:
        yield lambda x: session.infer({"x": x})["y"].astype(np.float32, copy=False)


CANNOT_RUN = (ModelError, RuntimeError, ImportError)


def columns(*, gpu: bool) -> dict[str, Open]:
    """What is measured on this host; the first is what the others are compared with."""
    if not gpu:
        return {
            "torch eager fp32": lambda n, p: torch_eager(n, p, device="cpu", half=False, compiled=False),
            "onnxruntime fp32": lambda n, p: our_session(n, p, backend="onnxruntime", precision="fp32", device="cpu"),
            "openvino fp32": lambda n, p: our_session(n, p, backend="openvino", precision="fp32", device="auto"),
            "openvino bf16": lambda n, p: our_session(n, p, backend="openvino", precision="bf16", device="auto"),
        }
    return {
        "torch eager fp32": lambda n, p: torch_eager(n, p, device="cuda", half=False, compiled=False),
        "torch compiled fp16": lambda n, p: torch_eager(n, p, device="cuda", half=True, compiled=True),
        "engine fp32": lambda n, p: our_session(n, p, backend="tensorrt", precision="fp32", device="auto"),
        "engine fp16": lambda n, p: our_session(n, p, backend="tensorrt", precision="fp16", device="auto"),
    }
