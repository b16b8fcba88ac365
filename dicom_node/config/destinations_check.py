"""What destinations need that one section alone cannot say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dicom_node.config.faults import Fault, known
from dicom_node.config.named_files import check_named_files
from dicom_node.config.node_schema import NodeFile
from dicom_node.config.rules_schema import RuleSection
from dicom_node.config.yaml_lines import YamlFile
from dicom_node.domain.destinations import DestinationType

_TAKES_IMAGES = (DestinationType.DICOM, DestinationType.STOW)
_FILES = ("token_file", "password_file", "ca")


def check_destinations(node: NodeFile, source: YamlFile) -> Iterator[Fault]:
    """Find files that destinations name and that are not there, and results that could return to nobody.

    Args:
        node: With absolute paths.
        source: The file it came from.
    """
    for number, section in enumerate(node.destinations):
        if section.type is DestinationType.SENDER and not any(peer.port for peer in node.peers):
            message = "no peer has a port, so nothing can return to whoever sent it"
            yield source.fault(["destinations", number, "type"], message, "give peers[].port to those that listen")
        yield from check_named_files(section, _FILES, ["destinations", number], source)


def check_forwarding(node: NodeFile, rule: RuleSection, place: Sequence[str | int], source: YamlFile) -> Iterator[Fault]:
    """Find destinations of `forward_to` that are not there or take no images.

    Args:
        node: With the destinations.
        rule: Of the rules file.
        place: Of its `forward_to`.
        source: The rules file.
    """
    types = {d.name: d.type for d in node.destinations}
    taking = [name for name, of_type in types.items() if of_type in _TAKES_IMAGES]
    for position, name in enumerate(rule.forward_to):
        if name not in types:
            yield source.fault([*place, position], f"no destination is named {name!r}", known(name, taking))
        elif name not in taking:
            why = "images do not go back to where they came from" if types[name] is DestinationType.SENDER else "it takes no images"
            yield source.fault([*place, position], f"destination {name!r} is of type {types[name]}: {why}", known("", taking))
