"""The bundles that a command is about: those of a node, of a folder, or one by its path."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from dicom_node.config import Configuration, load_configuration
from dicom_node.config.faults import known
from dicom_node.config.models_dir import BundleEntry, find_models
from dicom_node.errors import DicomNodeError, ModelError, StorageError
from dicom_node.inference import BundleFaults, Manifest, ModelBundle, load_bundle
from dicom_node.inference.bundle.loading import awaits_networks, read_manifest
from dicom_node.inference.bundle.tasks import tasks_of
from dicom_node.inference.gate.choice import State
from dicom_node.pipeline.model_engines import NodeEngines, chosen, engine_standings


class Shelf:
    """The bundles that a command is about; zips that are looked at without a node are unpacked for as long as it lasts."""

    def __init__(self, config: Path, models_dir: Path | None) -> None:
        self._config, self._models_dir = config, models_dir
        self._scratch = TemporaryDirectory(prefix="dicom-node-")
        self._configuration: Configuration | None = None

    def __enter__(self) -> Shelf:
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.cleanup()

    @property
    def folder(self) -> Path:
        """models_dir."""
        return self._models_dir or self.configuration.node.models_dir

    @property
    def configuration(self) -> Configuration:
        """node.yaml, read when it is first needed."""
        if self._configuration is None:
            self._configuration = load_configuration(self._config)
        return self._configuration

    @property
    def cache(self) -> Path:
        """Where zips are unpacked to."""
        return self._configuration.bundles_dir if self._configuration is not None else Path(self._scratch.name)

    def engines(self) -> NodeEngines:
        """How engines are run: as this node does, or for as long as the command lasts."""
        if self._configuration is not None:
            return NodeEngines(self._configuration.node.data_dir, self._configuration.workers.threads)
        return NodeEngines(Path(self._scratch.name))

    def find(self, name: str) -> Path:
        """Find a bundle by name, or by its path.

        Raises:
            ModelError: there is none.
        """
        path = Path(name)
        if path.exists() and ("/" in name or path.is_file() or (path / "model.yaml").exists()):
            return path
        found = find_models(self.folder)
        entry: BundleEntry | None = found.get(name)
        if entry is None:
            raise ModelError(f"no model is named {name!r} in {self.folder}, and it is no folder or zip", hint=known(name, list(found)))
        return entry.path

    def opened(self, name: str) -> tuple[Manifest, ModelBundle | None]:
        """Read a bundle; of one whose networks are still to be fetched only model.yaml.

        Raises:
            ModelError: there is none of that name, or it is faulty.
        """
        path = self.find(name)
        if path.is_dir() and awaits_networks(path) and (manifest := read_manifest(path).manifest) is not None:
            return manifest, None
        bundle = load_bundle(path, self.cache)
        return bundle.manifest, bundle

    def row(self, path: Path) -> dict[str, object]:
        """One line of the list."""
        if path.is_dir() and awaits_networks(path) and (manifest := read_manifest(path).manifest) is not None:
            return _row(path, manifest, "", "networks missing: `models add`")
        try:
            bundle = load_bundle(path, self.cache)
        except BundleFaults as found:
            name = next((name for name, entry in find_models(path.parent).items() if entry.path == path), path.name)
            empty: dict[str, object] = dict.fromkeys(("version", "stage", "digest"))
            state = f"{len(found.faults)} fault(s): `models verify`"
            return {"name": name, **empty, "task": [], "engines": [], "state": state, "use": "", "path": str(path)}
        node = self.engines()
        serving = serving_of(bundle, node)
        return {**_row(path, bundle.manifest, bundle.digest, _state(bundle, node, serving)), "serves": serving.engine}


@dataclass(frozen=True, slots=True)
class Serving:
    """Which engine serves a model on this host now.

    Attributes:
        engine: Back end and precision; empty if none may.
        why: Why it is not the first preference, or why none may; empty if it is.
        known: False if this user may not read the node's records.
    """

    engine: str
    why: str
    known: bool = True


def serving_of(bundle: ModelBundle, node: NodeEngines) -> Serving:
    """Choose as a worker would; nothing is loaded."""
    try:
        choice = chosen(bundle, node, datetime.now(UTC))
    except StorageError:  # of a node whose records are not this user's to read
        return Serving("", "", known=False)
    except DicomNodeError as error:
        return Serving("", str(error))
    return Serving(f"{choice.backend} {choice.precision}", choice.fallback)


def _state(bundle: ModelBundle, node: NodeEngines, serving: Serving) -> str:
    if not serving.known:
        return "ready"
    if not serving.engine:
        return "does not serve: `models engines`"
    failed = [str(s.candidate.engine) for s in engine_standings(bundle, node) if s.state is State.FAILED]
    return f"ready; {', '.join(failed)} failed its verification: `models engines`" if failed else "ready"


def _row(path: Path, manifest: Manifest, digest: str, state: str) -> dict[str, object]:
    return {
        "name": manifest.name,
        "version": manifest.version,
        "stage": manifest.stage.value,
        "task": list(tasks_of(manifest)),
        "digest": digest or None,
        "serves": "",
        "engines": [b.value for b in manifest.engines.backends] if manifest.network.file else ["python"],
        "state": state,
        "use": manifest.intended_use.text,
        "path": str(path),
    }
