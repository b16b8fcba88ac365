"""Names that are given twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dicom_node.config.faults import Fault
from dicom_node.config.yaml_lines import YamlFile

Place = list[str | int]


def repeated(source: YamlFile, items: Sequence[tuple[Place, object]], what: str) -> Iterator[Fault]:
    """Find values that stand in several places.

    Args:
        source: model.yaml.
        items: Place and value.
        what: What the value is, for example `id`.
    """
    seen: dict[object, Place] = {}
    for place, value in items:
        if value in seen:
            line = source.fault(seen[value], "").line
            shown = repr(value) if isinstance(value, str) else str(value)
            yield source.fault(place, f"{what} {shown} is given twice, first in line {line}")
        seen.setdefault(value, place)
