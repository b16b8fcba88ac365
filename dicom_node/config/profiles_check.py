"""Whether destinations name profiles that exist, and whether profiles keep the presets' names and known languages."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.config.catalogues import catalogues, check_language
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
    languages = catalogues("sr_writer", "languages")
    for number, destination in enumerate(node.destinations):
        yield from check_language(destination.language, ["destinations", number, "language"], languages, source)
    for number, profile in enumerate(node.profiles):
        if profile.name in PRESETS:
            message = f"{profile.name!r} is the name of a preset"
            yield source.fault(["profiles", number, "name"], message, "give your own profile another name")
        yield from check_language(profile.language, ["profiles", number, "language"], languages, source)
