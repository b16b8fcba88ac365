"""Opening a bundle's model on the engine that may serve it, and saying how it was opened."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.errors import ModelError
from dicom_node.inference import Model, ModelBundle, load_bundle
from dicom_node.inference.gate.engine_facts import device_name, library_versions
from dicom_node.pipeline.model_engines import NodeEngines, open_chosen
from dicom_node.pipeline.model_host.messages import HostSettings, ModelChoice, OpenedWith

_CPU = "cpu"


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A model that is loaded, and how.

    Attributes:
        declared_bytes: What its manifest says it takes on its device; 0 if it says nothing.
        across_jobs: Runs of different jobs that one inference may take, at least 1.
    """

    model: Model
    opened: OpenedWith
    declared_bytes: int
    across_jobs: int


def open_choice(choice: ModelChoice, settings: HostSettings) -> OpenedModel:
    """Load the bundle that a job was made for.

    Raises:
        ModelError: it has changed since, is faulty, its engine refuses it, or no engine may serve it.
    """
    bundle = load_bundle(choice.folder)
    if bundle.digest != choice.digest:
        raise ModelError(f"bundle {choice.name} changed since the job was made", hint="send the study again to run the new bundle")
    device = _CPU if choice.on_cpu and bundle.manifest.engines.cpu_fallback else "auto"
    model, chosen = open_chosen(bundle, NodeEngines(settings.data_dir, settings.threads, device))
    fallback = "; ".join(text for text in ("the device was lost a short while ago" if device == _CPU else "", chosen.fallback) if text)
    versions = library_versions(chosen.backend, chosen.device)
    opened = OpenedWith(chosen.backend, chosen.precision, device_name(chosen.device), fallback, chosen.record, versions)
    return OpenedModel(model, opened, _declared_bytes(bundle, chosen.device), across_jobs(bundle, model))


def _declared_bytes(bundle: ModelBundle, device: str) -> int:
    return 0 if device == _CPU else bundle.manifest.resources.device_memory or 0


def across_jobs(bundle: ModelBundle, model: Model) -> int:
    """Read how many jobs one inference may take: declared steps say it, or the class of Python steps."""
    declared = bundle.manifest.steps.infer.across_jobs if bundle.manifest.steps.python is None else model.across_jobs
    return max(1, declared)
