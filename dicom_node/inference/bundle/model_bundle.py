"""A checked bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node.domain.results import ModelIdentity
from dicom_node.domain.uids import derive_uid
from dicom_node.errors import ModelError
from dicom_node.inference.bundle.manifest import Manifest


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """A checked bundle.

    Attributes:
        folder: Where its files lie; of a bundle in a zip, where it was unpacked to.
        digest: SHA-256 over name and content of every file, hexadecimal; any change makes another model.
        weights_sha256: SHA-256 of the network file, hexadecimal; empty if the model has none.
        networks_sha256: The same of every network file, by its name in the bundle.
        origin: The folder or zip in models_dir.
    """

    folder: Path
    manifest: Manifest
    digest: str
    weights_sha256: str
    networks_sha256: Mapping[str, str] = field(default_factory=dict, hash=False)
    origin: Path = field(default=Path())

    @property
    def network_path(self) -> Path:
        """The network file.

        Raises:
            ModelError: the model has none.
        """
        if self.manifest.network.file is None:
            raise ModelError(f"{self.folder}: the model has no network file", hint="It is a model of Python steps alone.")
        return self.folder / self.manifest.network.file

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
