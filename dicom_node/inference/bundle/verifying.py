"""The static part of `models verify`: all that can be said of a bundle without running it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from dicom_node.config.faults import Fault
from dicom_node.config.yaml_lines import YamlFile
from dicom_node.errors import ModelError
from dicom_node.inference.bundle.bundle_faults import BundleFaults
from dicom_node.inference.bundle.checks.about import expired_clearances
from dicom_node.inference.bundle.checks.graph import check_networks, unused_keep_fp32
from dicom_node.inference.bundle.inputs_schema import FileFormat
from dicom_node.inference.bundle.loading import load_bundle, read_manifest
from dicom_node.inference.bundle.manifest import Manifest
from dicom_node.inference.bundle.model_bundle import ModelBundle
from dicom_node.inference.python_models import load_python_model


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found.

    Attributes:
        origin: Folder or zip.
        bundle: None if it cannot be loaded.
        faults: With any of these the model must not serve.
        warnings: What whoever publishes the model may want to change.
    """

    origin: Path
    bundle: ModelBundle | None
    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]


def verify_static(origin: Path, today: date, cache: Path | None = None) -> Verdict:
    """Look at a bundle: model.yaml, files, network files, Python steps; nothing of it is run, and what is wrong is never raised.

    Args:
        origin: Folder, or zip.
        today: For clearances that end.
        cache: Where zips are unpacked to.
    """
    try:
        bundle = load_bundle(origin, cache)
    except BundleFaults as found:
        return Verdict(origin, None, found.faults, ())
    except ModelError as error:
        return Verdict(origin, None, (Fault(str(origin), 1, "", str(error), error.hint),), ())
    read = read_manifest(bundle.folder)
    if read.source is None:
        return Verdict(origin, None, read.faults, ())
    ended, ending = expired_clearances(bundle.manifest, read.source, today)
    faults = [*ended, *check_networks(bundle.folder, bundle.manifest, read.source), *_check_python(bundle.manifest, read.source)]
    warnings = [*ending, *_warnings(bundle, read.source)]
    return Verdict(origin, bundle, _told(faults, bundle), _told(warnings, bundle))


def _told(faults: list[Fault], bundle: ModelBundle) -> tuple[Fault, ...]:
    """Sort faults by line; of a zip they are the zip's, not of where it was unpacked to."""
    named = [replace(f, file=f.file.replace(str(bundle.folder), str(bundle.origin), 1)) for f in faults]
    return tuple(sorted(named, key=lambda fault: (fault.line, fault.path)))


def _check_python(manifest: Manifest, source: YamlFile) -> Iterator[Fault]:
    if manifest.steps.python is None:
        return
    try:
        load_python_model(manifest.steps.python)
    except ModelError as error:
        yield source.fault(["steps", "python"], str(error), error.hint)


def _warnings(bundle: ModelBundle, source: YamlFile) -> Iterator[Fault]:
    manifest = bundle.manifest
    use = manifest.intended_use
    if not use.match and not use.geometry.model_fields_set and not use.inputs:
        yield source.fault(["intended_use"], "limits nothing: whatever a rule sends is analysed", "name at least the Modality under match")
    if not manifest.verification.cases:
        yield source.fault(
            ["verification"],
            "no cases: engines are compared on generated images only",
            "add a case with what must come out under verification",
        )
    missing = [name for name in ("population", "performance", "warnings") if not getattr(manifest.facts, name)]
    if missing:
        yield source.fault(["facts"], f"nothing is said of {' and '.join(missing)}", "it stands on the model's label")
    if manifest.network.file is not None and manifest.network.sha256 is None:
        pin = f"sha256: {bundle.weights_sha256}"
        yield source.fault(["network"], "the network file is not pinned, another one would be taken too", pin)
    if manifest.network.file is not None and manifest.network.format is not FileFormat.ONNX:
        yield source.fault(["network", "format"], f"a {manifest.network.format} network is a program, and was not looked into")
    for name in unused_keep_fp32(bundle.folder, manifest):
        yield source.fault(["engines", "keep_fp32"], f"no network has an operator {name}")
