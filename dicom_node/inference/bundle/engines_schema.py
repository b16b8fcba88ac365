"""On which engines a model may run, how exactly they have to agree, and what a run may take."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from dicom_node.config.section import Section
from dicom_node.config.values import Duration, Size
from dicom_node.inference.network import Precision, RemoteModel


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("is a file of the host: write its absolute path")
    return path


HostFile = Annotated[Path, AfterValidator(_absolute)]
"""File of the host, not of the bundle."""
_Share = Annotated[float, Field(ge=0, le=1)]
_Shape = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]


class Backend(StrEnum):
    """An engine that runs networks."""

    TENSORRT = "tensorrt"
    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"
    TORCH = "torch"
    TRITON = "triton"


class ToleranceSection(Section):
    """How far an engine may differ from the reference, which is the network's own runtime in fp32."""

    dice: _Share = Field(0.995, description="Least Dice of each segment, 0 to 1.")
    argmax: _Share = Field(0.999, description="Least share of places where the strongest channel is the same, 0 to 1.")
    max_error: float = Field(0.01, ge=0, description="Largest error of an output, as a share of the reference's largest magnitude there.")
    measurements: float = Field(0.01, ge=0, description="Largest relative error of a measurement.")
    iou: _Share = Field(0.9, description="Least overlap of the regions of two findings taken for the same one, 0 to 1.")


class ShapeProfile(Section):
    """Shapes of one network input that an engine is built for."""

    min: _Shape = Field(description="Smallest shape.")
    opt: _Shape = Field(description="Shape that has to run fastest.")
    max: _Shape = Field(description="Largest shape.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not len(self.min) == len(self.opt) == len(self.max):
            raise ValueError(f"min has {len(self.min)} axes, opt {len(self.opt)} and max {len(self.max)}: they must agree")
        for axis, (low, best, high) in enumerate(zip(self.min, self.opt, self.max, strict=True)):
            if not low <= best <= high:
                raise ValueError(f"axis {axis} has min {low}, opt {best} and max {high}: wanted is min <= opt <= max")
        return self


class TritonSection(Section):
    """Where an inference server (Triton, or another that speaks KServe's protocol v2 over HTTP) serves the network."""

    url: str = Field(
        pattern=r"^(https?://)?([A-Za-z0-9._-]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?$",
        description="Host and port, or https://host:port; no user or password.",
    )
    model: str = Field(min_length=1, description="Name of the model on the server.")
    version: str = Field(min_length=1, description="Version on the server, in quotes; the answer must come from exactly this one.")
    ca_file: HostFile | None = Field(None, description="Certificates of the authorities that the server's is checked with, PEM, for https.")
    token_file: HostFile | None = Field(None, description="File with the bearer token that is sent along; needs https.")
    timeout: Duration = Field(timedelta(seconds=60), gt=timedelta(0), description="Longest wait for one answer.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        secure = self.url.startswith("https://")
        for option in ("ca_file", "token_file"):
            if getattr(self, option) is not None and not secure:
                raise ValueError(f"{option}: is for https, the url says {self.url}")
        return self

    def to_remote(self) -> RemoteModel:
        """Convert to what a session is given."""
        return RemoteModel(self.url, self.model, self.version, self.timeout.total_seconds(), self.ca_file, self.token_file)


class EnginesSection(Section):
    """Which engines may run the network."""

    backends: tuple[Backend, ...] = Field(
        (Backend.ONNXRUNTIME,), min_length=1, description="tensorrt, onnxruntime, openvino, torch, triton; in order of preference."
    )
    precisions: tuple[Precision, ...] = Field((Precision.FP32,), min_length=1, description="fp32, fp16, bf16; in order of preference.")
    keep_fp32: tuple[str, ...] | None = Field(
        None, description="ONNX operator types that stay in single precision under fp16 and bf16; without, the node's own list."
    )
    tolerance: ToleranceSection = Field(default_factory=ToleranceSection, description="How far an engine may differ from the reference.")
    profiles: dict[str, ShapeProfile] = Field({}, description="Shapes by network input, for inputs with open lengths.")
    triton: TritonSection | None = Field(None, description="The server; exactly when backends name triton.")
    steps_on_device: bool = Field(
        default=True,
        description="Where the network runs on a GPU, resample images and sum up windows there too, if torch can use it; what fails there "
        "goes on in numpy.",
    )
    cpu_fallback: bool = Field(default=True, description="Run on the CPU if no GPU can.")


class ResourcesSection(Section):
    """What one run may take."""

    time_limit: Duration = Field(timedelta(minutes=5), gt=timedelta(0), description="Longest time for one run, such as 5m.")
    memory: Size | None = Field(None, gt=0, description="Main memory it takes, such as 4GiB.")
    device_memory: Size | None = Field(None, gt=0, description="GPU memory it takes, such as 2GiB.")
