"""Opening a bundle's model as configured, and saying how it was opened."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import dicom_node
from dicom_node.errors import ModelError
from dicom_node.inference import Model, ModelBundle, load_bundle, open_model
from dicom_node.pipeline.model_host.messages import HostSettings, ModelChoice, OpenedWith

_LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "torch": ("torch",),
    "openvino": ("openvino",),
    "tensorrt": ("tensorrt", "tensorrt_rtx_cu13", "pycuda"),
    "triton": ("tritonclient",),
}


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A model that is loaded, and how.

    Attributes:
        declared_bytes: What its manifest says it takes; 0 if it says nothing.
        across_jobs: Runs of different jobs that one inference may take, at least 1.
    """

    model: Model
    opened: OpenedWith
    declared_bytes: int
    across_jobs: int


def open_choice(choice: ModelChoice, settings: HostSettings) -> OpenedModel:
    """Load the bundle that a job was made for.

    Raises:
        ModelError: it has changed since, is faulty, or its engine refuses it.
    """
    bundle = load_bundle(choice.folder)
    if bundle.digest != choice.digest:
        raise ModelError(f"bundle {choice.name} changed since the job was made", hint="send the study again to run the new bundle")
    return _open(bundle, choice, settings)


def _open(bundle: ModelBundle, choice: ModelChoice, settings: HostSettings) -> OpenedModel:
    model = open_model(bundle, threads=settings.threads)
    fallback = "the device was lost, the CPU stands in for it" if choice.on_cpu else ""
    opened = OpenedWith("onnxruntime", "fp32", cpu_name(), fallback, "", library_versions("onnxruntime"))
    return OpenedModel(model, opened, _declared_bytes(bundle), _across_jobs(bundle, model))


def _declared_bytes(bundle: ModelBundle) -> int:
    """What counts among loaded models: the device's memory where that is declared."""
    return bundle.manifest.resources.device_memory or 0


def _across_jobs(bundle: ModelBundle, model: Model) -> int:
    """Read how many jobs one inference may take: declared steps say it, or the class of Python steps."""
    declared = getattr(bundle.manifest.steps.infer, "across_jobs", 1) if bundle.manifest.steps.python is None else model.across_jobs
    return max(1, int(declared))


@cache
def cpu_name() -> str:
    """Name the processor as the kernel does."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


@cache
def library_versions(backend: str) -> Mapping[str, str]:
    """List the versions of the node and of what computes with a back end."""
    found = {"dicom-node": dicom_node.__version__, "python": platform.python_version()}
    for name in ("numpy", *_LIBRARIES.get(backend, ())):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
