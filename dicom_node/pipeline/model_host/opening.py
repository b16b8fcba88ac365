"""Opening a bundle's model on the engine that may serve it, and noticing when another one should."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from dicom_node.errors import DicomNodeError, ModelError
from dicom_node.inference import Model, ModelBundle, load_bundle
from dicom_node.inference.bundle.inputs_schema import FileFormat
from dicom_node.inference.gate.choice import Choice
from dicom_node.inference.gate.engine_facts import CPU, device_name, library_versions
from dicom_node.inference.gate.subject import Engine
from dicom_node.pipeline.model_engines import NodeEngines, chosen, open_chosen, open_first_choice, records_folder, unverified_engines
from dicom_node.pipeline.model_host.messages import HostSettings, ModelChoice, OpenedWith

_TRY_AGAIN_S = 60.0
_PATIENCE = 10
"""An engine that could not be loaded is tried again after a minute, or ten times as long as it took to find out."""


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A model that is loaded, and how.

    Attributes:
        declared_bytes: What its manifest says it takes on its device; 0 if it says nothing.
        across_jobs: Runs of different jobs that one inference may take, at least 1.
        watch: Notices when another engine should serve.
    """

    model: Model
    opened: OpenedWith
    declared_bytes: int
    across_jobs: int
    watch: EngineWatch

    @property
    def runs_program(self) -> bool:
        """Whether each run starts a program."""
        return self.watch.bundle.manifest.network.format is FileFormat.COMMAND


@dataclass(slots=True, eq=False)
class EngineWatch:
    """Compares the engine that serves a model with the one that should, when records have changed or an engine may be back.

    Attributes:
        without: Engines that failed while they served, with the reason; tried again after a while, as are those that could not be loaded.
    """

    bundle: ModelBundle
    node: NodeEngines
    choice: Choice
    without: dict[Engine, str] = field(default_factory=dict)
    _records: int = 0
    _try_at_s: float = float("inf")

    def __post_init__(self) -> None:
        """Note the records as they are now."""
        self._records = _changed_at(self.node.data_dir)
        if self.without or _serving(self.choice) != self._wanted():
            self._try_at_s = monotonic() + _TRY_AGAIN_S

    def another(self, model: Model) -> tuple[Model, Choice] | None:
        """Load the engine that should serve by now; None if nothing has changed, or it cannot be loaded after all.

        Where the same engine should serve and the reason is another one, that is told with the model that there is.

        Raises:
            ModelError: by the records of now the model may not serve at all.
        """
        changed = _changed_at(self.node.data_dir)
        if changed == self._records and monotonic() < self._try_at_s:
            return None
        self._records, begin = changed, monotonic()
        if monotonic() >= self._try_at_s:
            self.without.clear()
        wanted = chosen(self.bundle, self.node, datetime.now(UTC), without=self.without)
        if _serving(wanted) == _serving(self.choice):
            return None if wanted == self.choice else (model, wanted)
        try:
            return open_first_choice(self.bundle, self.node, without=self.without)
        except ModelError as error:
            self.without[Engine(wanted.backend, wanted.precision)] = f"it cannot be loaded: {error}"
            self._try_at_s = monotonic() + max(_TRY_AGAIN_S, _PATIENCE * (monotonic() - begin))
            return None

    def _wanted(self) -> tuple[str, str, str]:
        try:
            return _serving(chosen(self.bundle, self.node, datetime.now(UTC)))
        except DicomNodeError:
            return ("", "", "")


def open_choice(choice: ModelChoice, settings: HostSettings, without: dict[Engine, str] | None = None) -> OpenedModel:
    """Load the bundle that a job was made for.

    Args:
        choice: Which one.
        settings: Of the host.
        without: Engines that must not be taken now, with the reason.

    Raises:
        ModelError: it has changed since, is faulty, its engine refuses it, or no engine may serve it.
    """
    bundle = load_bundle(choice.folder)
    if bundle.digest != choice.digest:
        raise ModelError(f"bundle {choice.name} changed since the job was made", hint="send the study again to run the new bundle")
    on_cpu = choice.on_cpu if bundle.manifest.engines.cpu_fallback else ""
    node = NodeEngines(settings.data_dir, settings.threads, CPU if on_cpu else settings.device)
    lost = dict(without or {})
    model, found = open_chosen(bundle, node, without=lost)
    return opened_model(model, EngineWatch(bundle, node, found, lost), on_cpu)


def opened_model(model: Model, watch: EngineWatch, on_cpu: str = "") -> OpenedModel:
    """Say how a model was opened.

    Args:
        model: Loaded.
        watch: Of the choice by which it was.
        on_cpu: Why the device was left alone; empty if it was not.
    """
    bundle, found = watch.bundle, watch.choice
    fallback = "; ".join(text for text in (on_cpu, found.fallback) if text)
    versions = library_versions(found.backend, found.device)
    unverified = () if on_cpu else unverified_engines(bundle, watch.node)
    opened = OpenedWith(
        found.backend, found.precision, device_name(found.device), fallback, found.record, versions, found.device, unverified
    )
    return OpenedModel(model, opened, _declared_bytes(bundle, found.device), across_jobs(bundle, model), watch)


def look_again(opened: OpenedModel) -> OpenedModel | None:
    """Load the engine that should serve a model by now; None if nothing has changed. The same model comes back where only words have.

    Raises:
        ModelError: by the records of now the model may not serve at all.
    """
    found = opened.watch.another(opened.model)
    if found is None:
        return None
    model, choice = found
    watch = opened.watch
    return opened_model(model, EngineWatch(watch.bundle, watch.node, choice, dict(watch.without)))


def _serving(choice: Choice) -> tuple[str, str, str]:
    return choice.backend, choice.precision, choice.device


def _declared_bytes(bundle: ModelBundle, device: str) -> int:
    return 0 if device == CPU else bundle.manifest.resources.device_memory or 0


def across_jobs(bundle: ModelBundle, model: Model) -> int:
    """Read how many jobs one inference may take: declared steps say it, or the class of Python steps."""
    declared = bundle.manifest.steps.infer.across_jobs if bundle.manifest.steps.python is None else model.across_jobs
    return max(1, declared)


def _changed_at(data_dir: Path) -> int:
    """When a record was written last; 0 if there is none."""
    try:
        return records_folder(data_dir).stat().st_mtime_ns
    except OSError:
        return 0
