"""What destinations need that one section alone cannot say."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.config.faults import Fault
from dicom_node.config.node_schema import NodeFile
from dicom_node.config.yaml_lines import YamlFile
from dicom_node.domain.destinations import DestinationType

_HINTS = {
    "token_file": "create it, readable by the node's user only",
    "password_file": "create it, readable by the node's user only",
    "ca": "PEM file of the authorities",
}


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
        for option, hint in _HINTS.items():
            path = getattr(section, option)
            if path is not None and not path.is_file():
                yield source.fault(["destinations", number, option], f"no file {path}", hint)
