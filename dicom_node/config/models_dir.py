"""Which bundles lie in models_dir, told from their names alone; whether they are sound is for `inference.bundle`."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import yaml

MANIFEST_FILE = "model.yaml"
RECIPE_FILE = "weights.yaml"
"""Says where the networks of a bundle come from that is delivered without them."""

_LARGEST_MANIFEST_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class BundleEntry:
    """One bundle.

    Attributes:
        path: Folder, or zip.
        lacks_networks: Its networks are still to be fetched, by `models add`.
    """

    path: Path
    lacks_networks: bool


def bundle_paths(models_dir: Path) -> Iterator[Path]:
    """List the folders with a model.yaml and the zips, sorted; hidden ones are work in progress and left out."""
    for path in sorted(models_dir.glob("*")):
        if path.name.startswith("."):
            continue
        if (path / MANIFEST_FILE).is_file() or (path.suffix.lower() == ".zip" and path.is_file()):
            yield path


def find_models(models_dir: Path) -> dict[str, BundleEntry]:
    """List the bundles of a folder by the name in their model.yaml; unreadable ones are left to `models verify`."""
    found: dict[str, BundleEntry] = {}
    for path in bundle_paths(models_dir):
        try:
            content = yaml.safe_load(_manifest_text(path))
        except (OSError, ValueError, KeyError, yaml.YAMLError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
            continue
        if isinstance(content, dict) and isinstance(content.get("name"), str):
            network = content.get("network")
            file = network.get("file") if isinstance(network, dict) else None
            found[content["name"]] = BundleEntry(path, lacks_networks(path, file if isinstance(file, str) else None))
    return found


def lacks_networks(folder: Path, file: str | None) -> bool:
    """Say whether the networks of a bundle are still to be fetched: a recipe says where from, and the first one is not there.

    Args:
        folder: Of the bundle; a zip lacks nothing that way.
        file: The network file that model.yaml names.
    """
    return file is not None and (folder / RECIPE_FILE).is_file() and not (folder / file).exists()


def manifest_member(names: list[str]) -> str:
    """Find model.yaml in a zip: at the top, or in the one folder that everything lies in; empty if it is in neither."""
    if MANIFEST_FILE in names:
        return MANIFEST_FILE
    tops = {PurePosixPath(name).parts[0] for name in names if PurePosixPath(name).parts}
    inner = f"{next(iter(tops))}/{MANIFEST_FILE}" if len(tops) == 1 else ""
    return inner if inner in names else ""


def _manifest_text(path: Path) -> str:
    if path.is_dir():
        return (path / MANIFEST_FILE).read_text("utf-8")
    with zipfile.ZipFile(path) as archive, archive.open(manifest_member(archive.namelist())) as member:
        return member.read(_LARGEST_MANIFEST_BYTES).decode("utf-8")
