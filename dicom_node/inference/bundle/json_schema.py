"""The JSON Schema of model.yaml, for editors and for those who write bundles by program."""

from __future__ import annotations

from typing import Any

from dicom_node.inference.bundle.manifest import Manifest

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def manifest_json_schema() -> dict[str, Any]:
    """Make the schema (draft 2020-12) from the same classes that read model.yaml; it knows the forms, not what contradicts what."""
    schema = Manifest.model_json_schema(by_alias=True)
    for entry in ("PreprocessEntry", "PostprocessEntry"):
        _make_step(schema["$defs"][entry])
    ways = ["whole", "slices", "sliding_window"]
    infer = schema["$defs"]["InferSection"]
    infer["oneOf"] = [{"required": [way]} for way in ways]
    for way in ways:
        infer["properties"][way] = _or_nothing(infer["properties"][way])
    schema["$defs"]["InferSection"] = {"anyOf": [{"enum": ways[:2]}, infer], "description": infer["description"]}
    _tidy(schema)
    schema["$defs"]["ResourcesSection"]["properties"]["time_limit"]["default"] = "5m"
    return {"$schema": _DRAFT, **schema, "title": "model.yaml of a dicom-node model bundle"}


def _make_step(entry: dict[str, Any]) -> None:
    """A step is a mapping with one key, whose value may be left out."""
    entry.update(minProperties=1, maxProperties=1)
    entry["properties"] = {name: _or_nothing(value) for name, value in entry["properties"].items()}


def _or_nothing(value: dict[str, Any]) -> dict[str, Any]:
    """Show the parameters of a step, or null; pydantic adds a default that nobody writes."""
    return {key: inner for key, inner in value.items() if key != "default"}


def _tidy(value: object) -> None:
    """Take out limits of values that the file writes as text; pydantic compares them after reading."""
    if isinstance(value, dict):
        if value.get("type") == "string":
            value.pop("gt", None)
        for inner in value.values():
            _tidy(inner)
    elif isinstance(value, list):
        for inner in value:
            _tidy(inner)
