"""Whether the files that model.yaml names are there, inside the bundle, and the ones that were pinned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dicom_node.config.faults import Fault
from dicom_node.config.models_dir import lacks_networks
from dicom_node.config.yaml_lines import YamlFile
from dicom_node.inference.bundle.files import file_problem, network_sha256, outside_links
from dicom_node.inference.bundle.manifest import Manifest

_Place = list[str | int]
FETCH = "dicom-node models add"
"""How a hint begins that tells to fetch a network."""
_HINT = "put the file into the bundle"


def network_files(manifest: Manifest) -> tuple[str, ...]:
    """List the network files, relative to the bundle."""
    first = (manifest.network.file,) if manifest.network.file else ()
    return tuple(dict.fromkeys([*first, *manifest.network.more.values()]))


def named_files(manifest: Manifest) -> Iterator[tuple[_Place, str, bool]]:
    """Go through every file that the manifest names: place in model.yaml, name, and whether a folder will do."""
    if manifest.network.file is not None:
        yield ["network", "file"], manifest.network.file, manifest.network.format == "monai"
    for name, file in manifest.network.more.items():
        yield ["network", "more", name], file, False
    for number, case in enumerate(manifest.verification.cases):
        place: _Place = ["verification", "cases", number]
        for slot, recipe in case.inputs.items():
            if recipe.file:
                yield [*place, "inputs", slot, "file"], recipe.file, True
        for segment, expected in case.expect.segments.items():
            if expected.mask:
                yield [*place, "expect", "segments", segment, "mask"], expected.mask, False


def check_files(folder: Path, manifest: Manifest, source: YamlFile) -> Iterator[Fault]:
    """Look for the files.

    Args:
        folder: Of the bundle.
        manifest: As read.
        source: model.yaml, for the lines.
    """
    to_fetch = network_files(manifest) if lacks_networks(folder, manifest.network.file) else ()
    for place, name, directory in named_files(manifest):
        if problem := file_problem(folder, name, directory=directory):
            hint = f"{FETCH} {manifest.name}" if name in to_fetch else _HINT
            yield source.fault(place, problem, hint if problem.startswith("no file") else "")
    for link in outside_links(folder):
        yield source.fault([], f"{link!r} is a link that leads out of the bundle", "copy what it leads to, so that the digest covers it")
    yield from _check_pin(folder, manifest, source)


def _check_pin(folder: Path, manifest: Manifest, source: YamlFile) -> Iterator[Fault]:
    network = manifest.network
    if network.sha256 is None or network.file is None or file_problem(folder, network.file, directory=network.format == "monai"):
        return
    if (found := network_sha256(folder / network.file)) != network.sha256:
        yield source.fault(
            ["network", "sha256"],
            f"{network.file!r} has SHA-256 {found}, {network.sha256} is pinned",
            "restore the file, or pin the new one after validating it",
        )
