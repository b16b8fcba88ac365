"""Parameters of a step as the trace and the result show them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from dicom_node.config.section import Section
from dicom_node.inference.steps.vocabulary import StepEntry


def applied_parameters(step: Section) -> tuple[str, ...]:
    """Write every parameter of a step, defaults filled in, as `name=value`; parts of a parameter as `name.part=value`."""
    return tuple(_written(step, ""))


def chosen_parameters(entries: Iterable[StepEntry]) -> tuple[str, ...]:
    """Write what a manifest chose, as `step.name=value`; a step without any parameter as `step`."""
    written: list[str] = []
    for entry in entries:
        chosen = entry.step.model_fields_set
        lines = [line for line in _written(entry.step, "") if line.partition("=")[0].partition(".")[0] in chosen]
        written += [f"{entry.name}.{line}" for line in lines] or [entry.name]
    return tuple(written)


def _written(section: Section, prefix: str) -> Iterable[str]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _written(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}={_text(value)}"


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(_text(part) for part in value) or "all"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)
