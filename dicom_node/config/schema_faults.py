"""Reading a parsed YAML file by its schema: what does not fit becomes faults, each with its place in the file."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dicom_node.config.faults import Fault
from dicom_node.config.section import Section
from dicom_node.config.several_faults import THOROUGH
from dicom_node.config.yaml_lines import YamlFile

_Schema = TypeVar("_Schema", bound=Section)


def validated(schema: type[_Schema], source: YamlFile | None, faults: list[Fault]) -> _Schema | None:
    """Read a parsed file by its schema; on failure add every fault and return None."""
    if source is None:
        return None
    try:
        return schema.model_validate(source.content, context=THOROUGH)
    except ValidationError as error:
        faults.extend(_joined([_fault(schema, source, detail) for detail in _own_faults(error.errors())]))
        return None


def _own_faults(details: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Leave out that a list is too short where an item did not count because it is at fault itself."""
    places = [detail["loc"] for detail in details]
    return [d for d in details if d["type"] != "too_short" or not any(_is_below(place, d["loc"]) for place in places)]


def _is_below(place: Sequence[str | int], other: Sequence[str | int]) -> bool:
    return len(place) > len(other) and place[: len(other)] == other


def _joined(faults: Sequence[Fault]) -> Iterator[Fault]:
    """Join what is said of one value: each of several forms that it could have has its own complaint."""
    places = dict.fromkeys((f.line, f.path) for f in faults)
    for place in places:
        here = [f for f in faults if (f.line, f.path) == place]
        message = "; or: ".join(dict.fromkeys(f.message for f in here))
        yield Fault(here[0].file, *place, message, next((f.hint for f in here if f.hint), ""))


def _fault(schema: type[Section], source: YamlFile, detail: ErrorDetails) -> Fault:
    location = _existing(detail, source.content)
    message, hint = detail["msg"].removeprefix("Value error, "), ""
    if detail["type"] == "extra_forbidden":
        message = "unknown option"
        options = _options(schema, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), options, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "allowed: " + ", ".join(options)
    elif detail["type"] == "missing":
        message = "required option is missing"
    return source.fault(location, message, hint)


def _existing(detail: ErrorDetails, content: object) -> list[str | int]:
    """Keep the parts of a location that stand in the file, and the name of what is missing; pydantic adds the forms that it tried."""
    parts: list[str | int] = []
    for number, part in enumerate(detail["loc"]):
        if _holds(content, part):
            content = content[part]  # type: ignore[index]  # a list or mapping that has it
        elif not (detail["type"] == "missing" and number == len(detail["loc"]) - 1):
            continue
        parts.append(part)
    return parts


def _holds(content: object, part: str | int) -> bool:
    if isinstance(content, dict):
        return part in content
    return isinstance(content, list | tuple) and isinstance(part, int) and part < len(content)


def _options(schema: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """List the options of the section at a location."""
    current: type[BaseModel] = schema
    for part in location:
        if isinstance(part, str) and part in (fields := {f.alias or name: f for name, f in current.model_fields.items()}):
            inner = next(iter(_sections_in(fields[part].annotation)), None)
            current = inner or current
    return [field.alias or name for name, field in current.model_fields.items()]


def _sections_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _sections_in(inner)
