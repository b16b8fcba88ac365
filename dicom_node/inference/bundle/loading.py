"""From a folder to a checked bundle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from dicom_node.config.faults import Fault
from dicom_node.config.models_dir import MANIFEST_FILE, RECIPE_FILE, bundle_paths, lacks_networks
from dicom_node.config.schema_faults import validated
from dicom_node.config.yaml_lines import YamlFile, parse_yaml
from dicom_node.errors import ModelError
from dicom_node.inference.bundle.bundle_faults import BundleFaults
from dicom_node.inference.bundle.checks import check_manifest
from dicom_node.inference.bundle.checks.files import FETCH, check_files, network_files
from dicom_node.inference.bundle.files import digest_of, network_sha256
from dicom_node.inference.bundle.manifest import Manifest
from dicom_node.inference.bundle.model_bundle import ModelBundle
from dicom_node.inference.bundle.zips import unpacked_bundle


@dataclass(frozen=True, slots=True)
class ReadManifest:
    """A manifest as far as it could be read.

    Attributes:
        manifest: None if it does not fit its schema.
        source: None if it is no YAML.
        faults: All that is wrong with it and with the files that it names.
    """

    manifest: Manifest | None
    source: YamlFile | None
    faults: tuple[Fault, ...]


def read_manifest(folder: Path) -> ReadManifest:
    """Read the model.yaml of a folder and look for every fault; never raises for what the bundle holds."""
    faults: list[Fault] = []
    source = parse_yaml(folder / MANIFEST_FILE, faults)
    manifest = validated(Manifest, source, faults)
    if manifest is not None and source is not None:
        faults.extend(check_manifest(manifest, source))
        faults.extend(check_files(folder, manifest, source))
    return ReadManifest(manifest, source, tuple(faults))


def load_bundle(folder: Path, cache: Path | None = None) -> ModelBundle:
    """Read and check a bundle.

    Args:
        folder: The bundle, or a zip of it.
        cache: Where zips are unpacked to; None: `.unpacked` beside the zip.

    Raises:
        BundleFaults: every fault of model.yaml with its line, and of the files that it names.
        ModelError: a file cannot be read.
    """
    origin = folder
    if folder.is_file():
        folder = unpacked_bundle(folder, cache or folder.parent / ".unpacked")
    read = read_manifest(folder)
    if read.faults or read.manifest is None:
        raise BundleFaults([replace(f, file=f.file.replace(str(folder), str(origin), 1)) for f in read.faults])
    try:
        networks = {name: network_sha256(folder / name) for name in network_files(read.manifest)}
        digest = digest_of(folder)
    except OSError as error:
        raise ModelError(f"{error.filename}: cannot be read: {error.strerror}") from error
    file = read.manifest.network.file
    return ModelBundle(folder, read.manifest, digest, networks[file] if file else "", networks, origin)


def find_bundles(models_dir: Path, cache: Path | None = None) -> dict[str, ModelBundle]:
    """Load every bundle of a folder, by name; those whose networks are still to be fetched are left out (`models list` shows them).

    Args:
        models_dir: Folder with a folder or a zip for each bundle.
        cache: Where zips are unpacked to; None: `.unpacked` in that folder.

    Raises:
        BundleFaults: every fault of every bundle; two that have one name are a fault.
        ModelError: a file cannot be read.
    """
    bundles: dict[str, ModelBundle] = {}
    faults: list[Fault] = []
    for path in bundle_paths(models_dir):
        try:
            if path.is_dir() and awaits_networks(path):
                continue
            bundle = load_bundle(path, cache)
        except BundleFaults as found:
            faults.extend(found.faults)
            continue
        name = bundle.manifest.name
        if name in bundles:
            faults.append(_repeated(bundle, bundles[name].origin))
        bundles.setdefault(name, bundle)
    if faults:
        raise BundleFaults(faults)
    return bundles


def awaits_networks(folder: Path) -> bool:
    """Say whether the networks of a bundle are still to be fetched, by `models add`, and nothing else is wrong."""
    if not (folder / RECIPE_FILE).is_file():
        return False
    read = read_manifest(folder)
    return read.manifest is not None and lacks_networks(folder, read.manifest.network.file) and not _other_faults(read)


def _other_faults(read: ReadManifest) -> list[Fault]:
    return [fault for fault in read.faults if not fault.hint.startswith(FETCH)]


def _repeated(bundle: ModelBundle, other: Path) -> Fault:
    path = bundle.folder / MANIFEST_FILE
    source = parse_yaml(path, [])
    line = source.fault(["name"], "").line if source else 1
    return Fault(str(path), line, "name", f"name {bundle.manifest.name!r} is used by {other} too", "names must differ")
