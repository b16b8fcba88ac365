"""Files that options name and that are not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dicom_node.config.faults import Fault
from dicom_node.config.section import Section
from dicom_node.config.yaml_lines import YamlFile

_HINTS = {
    "token_file": "create it, readable by the node's user only",
    "password_file": "create it, readable by the node's user only",
    "ca": "PEM file of the authorities",
}


def check_named_files(section: Section, options: Sequence[str], place: Sequence[str | int], source: YamlFile) -> Iterator[Fault]:
    """Find files that a section names and that are not there.

    Args:
        section: With absolute paths.
        options: Which of its options are looked at.
        place: Of the section.
        source: The file it came from.
    """
    for option in options:
        path = getattr(section, option)
        if path is not None and not path.is_file():
            yield source.fault([*place, option], f"no file {path}", _HINTS[option])
