"""What the gate takes from a bundle: its networks, the engines it prefers, how far they may differ, and what makes a model of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dicom_node.inference.bundle import ModelBundle
from dicom_node.inference.bundle.inputs_schema import FileFormat
from dicom_node.inference.gate.agreement import Tolerance
from dicom_node.inference.model import Model
from dicom_node.inference.network import Network, NetworkFormat, Precision, RemoteModel, Shape, ShapeRange
from dicom_node.inference.registry import build_model
from dicom_node.inference.session import Session

Build = Callable[[ModelBundle, Mapping[str, Session]], Model]
"""Makes a model from its active sessions, by the names of its networks; the model closes them."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A back end with a precision."""

    backend: str
    precision: str

    def __str__(self) -> str:
        """Name it, as `tensorrt fp16`."""
        return f"{self.backend} {self.precision}"


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A model before the gate.

    Attributes:
        networks: By name; `network` is the first. Empty for a model that is steps or a program alone.
        reference: What every other engine is compared with; on the CPU, so that each node has it.
        engines: In order of preference.
        profiles: Shapes by input name.
        window: Shape of a sliding window; empty if there is none.
        remote: Where a server serves the network, for `triton`.
    """

    bundle: ModelBundle
    networks: Mapping[str, Network]
    reference: Engine
    engines: tuple[Engine, ...]
    build: Build
    tolerance: Tolerance = field(default_factory=Tolerance)
    profiles: Mapping[str, ShapeRange] = field(default_factory=dict)
    window: Shape = ()
    remote: RemoteModel | None = None

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.bundle.manifest.name

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.name} {self.bundle.manifest.version}"


def subject_of(bundle: ModelBundle, build: Build = build_model) -> Subject:
    """Read from a bundle what the gate needs.

    The reference is the network's own runtime in single precision: ONNX Runtime for ONNX, torch for torch's files. A program, a MONAI
    bundle, and a model without network have one engine only, which is their reference.

    Args:
        bundle: Checked bundle.
        build: Makes the model from its sessions.
    """
    manifest = bundle.manifest
    network, engines = manifest.network, manifest.engines
    reference = _REFERENCES.get(network.format) if network.file else None
    if reference is None:
        program = network.file is not None or network.format is FileFormat.COMMAND
        own = Engine(network.format.value if program else "python", Precision.FP32.value)
        return Subject(bundle, {}, own, (own,), build, _tolerance(bundle))
    files = {"network": network.file, **network.more}
    form = NetworkFormat(network.format.value)
    window = manifest.steps.infer.sliding_window
    return Subject(
        bundle=bundle,
        networks={n: Network(bundle.folder / file, form, bundle.networks_sha256.get(file, "")) for n, file in files.items() if file},
        reference=reference,
        engines=tuple(dict.fromkeys(Engine(b.value, p.value) for b in engines.backends for p in engines.precisions)),
        build=build,
        tolerance=_tolerance(bundle),
        profiles={name: ShapeRange(p.min, p.opt, p.max) for name, p in engines.profiles.items()},
        window=tuple(window.size) if window else (),
        remote=engines.triton.to_remote() if engines.triton else None,
    )


def _tolerance(bundle: ModelBundle) -> Tolerance:
    declared = bundle.manifest.engines.tolerance
    return Tolerance(declared.dice, declared.argmax, declared.max_error, declared.measurements, declared.iou)


_REFERENCES: Mapping[FileFormat, Engine] = {
    FileFormat.ONNX: Engine("onnxruntime", "fp32"),
    FileFormat.TORCHSCRIPT: Engine("torch", "fp32"),
    FileFormat.PT2: Engine("torch", "fp32"),
}
