"""Whether destinations name profiles that exist, and whether profiles keep the presets' names and known languages."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources

from dicom_node.config.faults import Fault, known
from dicom_node.config.node_schema import NodeFile
from dicom_node.config.yaml_lines import YamlFile
from dicom_node.domain.profiles import PRESETS


def check_profiles(node: NodeFile, source: YamlFile) -> Iterator[Fault]:
    """Find what the sections alone cannot see.

    Args:
        node: With all its sections.
        source: The file it came from.
    """
    names = list(dict.fromkeys((*PRESETS, *(p.name for p in node.profiles))))
    for number, destination in enumerate(node.destinations):
        if destination.profile not in names:
            message = f"no result profile is named {destination.profile!r}"
            yield source.fault(["destinations", number, "profile"], message, known(destination.profile, names))
    catalogues = _languages()
    for number, destination in enumerate(node.destinations):
        if destination.language not in catalogues:
            message = f"no catalogue of language {destination.language!r}"
            yield source.fault(["destinations", number, "language"], message, known(destination.language, catalogues))
    for number, profile in enumerate(node.profiles):
        if profile.name in PRESETS:
            message = f"{profile.name!r} is the name of a preset"
            yield source.fault(["profiles", number, "name"], message, "give your own profile another name")
        if profile.language not in catalogues:
            message = f"no catalogue of language {profile.language!r}"
            yield source.fault(["profiles", number, "language"], message, known(profile.language, catalogues))


def _languages() -> tuple[str, ...]:
    folder = resources.files("dicom_node").joinpath("sr_writer", "languages")
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")))
