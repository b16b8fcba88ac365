"""What an engine is given: a network file, and how it should be run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from dicom_node.errors import ModelError

Shape = tuple[int, ...]


class NetworkFormat(StrEnum):
    """Form of a network file."""

    ONNX = "onnx"
    TORCHSCRIPT = "torchscript"
    PT2 = "pt2"


class Precision(StrEnum):
    """Number format that a network computes in; inputs and outputs keep the file's types. FP32 means the file as it is."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"


@dataclass(frozen=True, slots=True)
class Network:
    """A network file.

    Attributes:
        path: The file.
        format: Its form, for example `onnx`.
        sha256: Pinned SHA-256 of the file, hexadecimal; when empty, any content is taken.
    """

    path: Path
    format: NetworkFormat = NetworkFormat.ONNX
    sha256: str = ""

    def read(self) -> bytes:
        """Read the file and compare it with its pin; what was compared is what is returned.

        Raises:
            ModelError: the file cannot be read, or is another one than was pinned.
        """
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise ModelError(f"{self.path}: the network cannot be read: {error.strerror}") from error
        found = hashlib.sha256(content).hexdigest()
        if self.sha256 and found != self.sha256.lower():
            raise ModelError(
                f"{self.path}: SHA-256 is {found}, {self.sha256.lower()} is pinned",
                hint="The file was changed or replaced: restore it, or pin the new one after validating it.",
            )
        return content


@dataclass(frozen=True, slots=True)
class ShapeRange:
    """Shapes of one input that an engine is built for: every length lies between min and max, and opt runs fastest."""

    min: Shape
    opt: Shape
    max: Shape

    def __post_init__(self) -> None:
        """Check the order.

        Raises:
            ModelError: ranks differ, or not 1 <= min <= opt <= max in every axis.
        """
        if not len(self.min) == len(self.opt) == len(self.max):
            raise ModelError(f"profile has min {self.min}, opt {self.opt} and max {self.max}: their ranks differ")
        if any(not 1 <= low <= best <= high for low, best, high in zip(self.min, self.opt, self.max, strict=True)):
            raise ModelError(
                f"profile has min {self.min}, opt {self.opt} and max {self.max}: wanted is 1 <= min <= opt <= max in every axis"
            )

    def holds(self, shape: Shape) -> bool:
        """Tell whether a shape lies within."""
        return len(shape) == len(self.min) and all(a <= n <= b for a, n, b in zip(self.min, shape, self.max, strict=True))


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """Where an inference server serves the network.

    Attributes:
        url: Host and port, or https://host:port; no user information.
        name: The model's name there.
        version: Version there; it must be ready exactly so. Empty takes the server's choice, and no result can say which ran.
        timeout_s: Longest wait for one answer, seconds.
        ca_file: Authorities that the server's certificate is checked with, PEM; None: those of the host.
        token_file: Holds the bearer token; read at each activation, so that it may be renewed.
    """

    url: str
    name: str
    version: str = ""
    timeout_s: float = 60.0
    ca_file: Path | None = None
    token_file: Path | None = None


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """How far an engine build is.

    Attributes:
        phase: What it does, in the engine's words.
        fraction: 0 to 1; never falls.
    """

    phase: str
    fraction: float


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How to run a network; every field has a default that is right for most, and an engine leaves alone what it does not have.

    Attributes:
        threads: Threads on the CPU; 0 takes all cores.
        device: `auto` (the engine's own choice: TensorRT and torch take the first GPU, the others the CPU), `cpu`, or `cuda:N`.
        profiles: Shapes by input name. TensorRT needs one for every input with an open length; others warm up with them.
        keep_fp32: ONNX op types that stay in single precision under fp16 and bf16; None takes `precision.KEEP_FP32`.
        repairs: Graph repairs to apply to an ONNX network before it is run, by name (`engines/repairs.py`); none by default.
        trusted: The file may run code as this user: TorchScript and .pt2 are programs. Never set for what an operator did not install.
        reuse_memory: Keep work space between runs (faster); off gives it back after each.
        cuda_graphs: Record runs of one fixed shape and replay them, where the engine can.
        workspace_bytes: Most work space of TensorRT's builder.
        output_names: Names for the outputs of a torch network, in order; an ONNX file has its own.
        engines_dir: Folder of built engines, their signing key and timing caches; None builds anew each time.
        engines_limit_bytes: Largest size of that folder; engines that were not used for longest go first.
        remote: Where a server serves it; only for `triton`.
        on_progress: Told about a build, from the thread that builds.
    """

    threads: int = 0
    device: str = "auto"
    profiles: Mapping[str, ShapeRange] = field(default_factory=dict)
    keep_fp32: tuple[str, ...] | None = None
    repairs: tuple[str, ...] = ()
    trusted: bool = False
    reuse_memory: bool = True
    cuda_graphs: bool = True
    workspace_bytes: int = 4 << 30
    output_names: tuple[str, ...] = ()
    engines_dir: Path | None = None
    engines_limit_bytes: int = 20 << 30
    remote: RemoteModel | None = None
    on_progress: Callable[[BuildProgress], None] | None = None
