"""On what an engine computes here: the processor's name, and the versions of what computes; a record counts only for these."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import dicom_node
from dicom_node.inference.engines.probe import cuda_devices

_LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnx"),
    "torch": ("torch",),
    "openvino": ("openvino", "onnx"),
    "tensorrt": ("tensorrt", "tensorrt-rtx-cu13", "onnx"),
    "triton": ("tritonclient",),
}
CPU = "cpu"


@cache
def cpu_name() -> str:
    """Name the processor as the kernel does."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def device_name(device: str) -> str:
    """Name the processor of a device.

    Args:
        device: `cpu`, `cuda:N`, or the address of a server, which stands for itself.
    """
    if device == CPU:
        return cpu_name()
    named = {f"cuda:{gpu.index}": f"{gpu.name}, compute capability {'.'.join(map(str, gpu.compute_capability))}" for gpu in cuda_devices()}
    return named.get(device, device)


def library_versions(backend: str, device: str) -> Mapping[str, str]:
    """List the versions of the node and of what computes with a back end, and of the driver if a GPU does."""
    found = {"dicom-node": dicom_node.__version__}
    beside = ("torch",) if device.startswith("cuda") else ()  # it may do the steps around the network there
    for name in dict.fromkeys(("numpy", *_LIBRARIES.get(backend, (backend,)), *beside)):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    drivers = [gpu.driver for gpu in cuda_devices() if device == f"cuda:{gpu.index}"]
    return {**found, "cuda-driver": drivers[0]} if drivers else found
