"""Writes the tables of docs/model-steps.md from the schema: python -m tests.docs.model_steps_page."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from dicom_node.inference.steps.postprocess_schema import PostprocessEntry
from dicom_node.inference.steps.preprocess_schema import PreprocessEntry
from dicom_node.inference.steps.schema import InferSection
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "model-steps.md"
_BEGIN, _END = "compares -->\n", "<!-- end of steps -->"


def written(value: object) -> str:
    if value is PydanticUndefined:
        return "**needed**"
    if isinstance(value, bool) or value is None:
        return f"`{str(value).lower()}`" if value is not None else "`null`"
    if isinstance(value, tuple):
        return f"`[{', '.join(f'{v:g}' if isinstance(v, float) else str(v) for v in value)}]`"
    return f"`{value.value if isinstance(value, Enum) else f'{value:g}' if isinstance(value, float) else value}`"


def rows(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        inner = [k for k in getattr(field.annotation, "__args__", ()) if isinstance(k, type) and issubclass(k, BaseModel)]
        unit = (field.json_schema_extra or {}).get("unit") or "-"
        yield f"| `{prefix}{name}` | {written(field.default)} | {unit} | {field.description} |"
        for part in inner:
            yield from rows(part, f"{prefix}{name}.")


def tables() -> str:
    parts: list[str] = []
    for title, entry in (("preprocess", PreprocessEntry), ("infer", InferSection), ("postprocess", PostprocessEntry)):
        parts.append(f"### {title}\n")
        for name, field in entry.model_fields.items():
            kinds = [k for k in getattr(field.annotation, "__args__", ()) if isinstance(k, type) and issubclass(k, BaseModel)]
            if not kinds:
                parts.append(
                    f"Beside it `{name}` (default {written(field.default)}, {field.json_schema_extra['unit']}): {field.description}\n"
                )
                continue
            described = " ".join((kinds[0].__doc__ or "").split())
            parts.append(f"#### {name}\n\n{described}\n")
            lines = list(rows(kinds[0]))
            if lines:
                parts.append("\n".join(["| parameter | default | unit | |", "|---|---|---|---|", *lines]) + "\n")
    return "\n".join(parts)


def tables_of(text: str) -> str:
    return text.split(_BEGIN, 1)[1].split(_END, 1)[0].strip("\n")


def main() -> None:
    before, rest = PAGE.read_text("utf-8").split(_BEGIN, 1)
    after = rest.split(_END, 1)[1]
    words = tables().strip("\n")
    PAGE.write_text(f"{before}{_BEGIN}\n{words}\n\n{_END}{after}", "utf-8")


if __name__ == "__main__":
    main()
