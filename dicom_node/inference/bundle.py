"""Model bundles: a folder with `model.yaml`, the network file, and whatever else belongs to the model."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dicom_node.domain.results import Code, ModelIdentity, Stage
from dicom_node.domain.uids import derive_uid
from dicom_node.errors import ModelError


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CodeEntry(_Strict):
    """A coded concept in a manifest."""

    value: str
    scheme: str
    meaning: str = Field(max_length=64)

    def to_code(self) -> Code:
        """Convert to the domain's code."""
        return Code(self.value, self.scheme, self.meaning)


class IntendedUse(_Strict):
    """What the model is for; an input outside is refused."""

    text: str
    modality: str
    min_slices: int = Field(ge=2)


class Protocol(_Strict):
    """How images should have been acquired; outside of it the result carries a warning."""

    contrast: Literal["none", "any"] = "any"
    max_slice_thickness_mm: float | None = Field(None, gt=0)
    source: str = ""


class MeasurementEntry(_Strict):
    """One output."""

    id: str
    label: str
    concept: CodeEntry
    unit: CodeEntry
    reference_range: str = ""
    derivation: CodeEntry | None = None


class SegmentEntry(_Strict):
    """One segment."""

    id: str
    label: str
    category: CodeEntry
    property_type: CodeEntry
    color_rgb: tuple[int, int, int]


class Manifest(_Strict):
    """The whole of model.yaml."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{1,63}$")
    title: str = Field(max_length=64)
    version: str = Field(max_length=16)
    manufacturer: str = Field(max_length=64)
    stage: Stage
    description: str
    limits: str
    contact: str
    intended_use: IntendedUse
    protocol: Protocol
    backend: Literal["onnxruntime"]
    network: str = Field(description="Network file, relative to the bundle.")
    pipeline: str = Field(description="Name of the steps around the network.")
    finding: CodeEntry
    measurements: tuple[MeasurementEntry, ...] = Field(min_length=1)
    segments: tuple[SegmentEntry, ...]


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """A checked bundle.

    Attributes:
        digest: SHA-256 over name and content of every file, hexadecimal; any change makes another model.
        weights_sha256: SHA-256 of the network file, hexadecimal.
    """

    folder: Path
    manifest: Manifest
    digest: str
    weights_sha256: str

    @property
    def network_path(self) -> Path:
        """The network file."""
        return self.folder / self.manifest.network

    def identity(self, backend: str, precision: str) -> ModelIdentity:
        """Name this exact model as run by an engine."""
        m = self.manifest
        return ModelIdentity(
            name=m.name,
            title=m.title,
            version=m.version,
            manufacturer=m.manufacturer,
            weights_sha256=self.weights_sha256,
            manifest_digest=self.digest,
            device_uid=derive_uid("device", m.name, m.version, self.digest),
            backend=backend,
            precision=precision,
            stage=m.stage,
            intended_use=m.intended_use.text,
        )


def load_bundle(folder: Path) -> ModelBundle:
    """Read and check a bundle.

    Raises:
        ModelError: naming every fault of model.yaml, or the missing file.
    """
    path = folder / "model.yaml"
    try:
        manifest = Manifest.model_validate(yaml.safe_load(path.read_text("utf-8")))
        digest = hashlib.sha256()
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            digest.update(f"{file.relative_to(folder).as_posix()}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        weights = hashlib.sha256((folder / manifest.network).read_bytes()).hexdigest()
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors())
        raise ModelError(f"{path}: {faults}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ModelError(f"{path}: {error}") from error
    return ModelBundle(folder, manifest, digest.hexdigest(), weights)


def find_bundles(models_dir: Path) -> dict[str, ModelBundle]:
    """Load every bundle of a folder, by name.

    Raises:
        ModelError: one is faulty, or two have the same name.
    """
    bundles: dict[str, ModelBundle] = {}
    for manifest in sorted(models_dir.glob("*/model.yaml")):
        bundle = load_bundle(manifest.parent)
        if bundle.manifest.name in bundles:
            raise ModelError(f"{manifest}: name {bundle.manifest.name!r} is used by {bundles[bundle.manifest.name].folder} too")
        bundles[bundle.manifest.name] = bundle
    return bundles
