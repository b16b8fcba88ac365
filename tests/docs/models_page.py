"""Writes the tables of docs/models.md from the schema: python -m tests.docs.models_page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from enum import Enum

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from dicom_node.inference.bundle.about_schema import Clearance, Contact, Facts
from dicom_node.inference.bundle.codes_schema import CodeEntry
from dicom_node.inference.bundle.engines_schema import EnginesSection, ResourcesSection, ToleranceSection, TritonSection
from dicom_node.inference.bundle.inputs_schema import InputSlot, NetworkSection
from dicom_node.inference.bundle.manifest import Manifest
from dicom_node.inference.bundle.outputs_schema import (
    EvaluationEntry,
    FindingEntry,
    MapEntry,
    MeasurementEntry,
    OutputsSection,
    SegmentEntry,
)
from dicom_node.inference.bundle.scope_schema import Geometry, IntendedUse, Protocol
from dicom_node.inference.bundle.verification_schema import (
    Case,
    Expectation,
    ExpectedFinding,
    ExpectedNumber,
    ExpectedSegment,
    Recipe,
)
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "models.md"
_TABLE = re.compile(r"<!-- table: (\w+)[^>]*-->\n(.*?)<!-- end -->", re.DOTALL)
SECTIONS: dict[str, type[BaseModel]] = {
    section.__name__: section
    for section in (
        Manifest, Clearance, Contact, Facts, IntendedUse, Protocol, Geometry, InputSlot, NetworkSection, OutputsSection, SegmentEntry,
        MeasurementEntry, FindingEntry, EvaluationEntry, MapEntry, CodeEntry, EnginesSection, TritonSection, ToleranceSection,
        ResourcesSection, Case, Recipe, Expectation, ExpectedNumber, ExpectedSegment, ExpectedFinding,
    )
}  # fmt: skip


def written(value: object) -> str:
    if value is PydanticUndefined:
        return "**needed**"
    if value is None or value in ((), {}, "") or isinstance(value, BaseModel):
        return "-"
    if isinstance(value, timedelta):
        return f"`{value.total_seconds() / 60:g}m`"
    if isinstance(value, tuple):
        return f"`[{', '.join(str(v) for v in value)}]`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value.value if isinstance(value, Enum) else f'{value:g}' if isinstance(value, float) else value}`"


def table(section: type[BaseModel]) -> str:
    def rows() -> Iterator[str]:
        for name, field in section.model_fields.items():
            default = "-" if field.default_factory is not None else written(field.default)
            yield f"| `{field.alias or name}` | {default} | {field.description} |"

    return "\n".join(["| option | default | meaning |", "|---|---|---|", *rows()]) + "\n"


def tables_of(text: str) -> dict[str, str]:
    return {found[1]: found[2] for found in _TABLE.finditer(text)}


def rewritten(text: str) -> str:
    def with_rows(found: re.Match[str]) -> str:
        head = found[0].partition("\n")[0]
        return f"{head}\n{table(SECTIONS[found[1]])}<!-- end -->"

    return _TABLE.sub(with_rows, text)


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text("utf-8")), "utf-8")
