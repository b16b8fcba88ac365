"""Words and units that the schemas of several steps share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import Field, model_validator

from dicom_node.config.section import Section

T = TypeVar("T")
PerAxis = Annotated[tuple[T, ...], Field(min_length=2, max_length=3)]
"""Three values: slice, row and column axis of the array as it then stands; two: row and column axis, the slice axis is left alone."""


def unit(name: str) -> dict[str, Any]:
    """Give a field its unit, for the tables of the documentation and the JSON Schema."""
    return {"unit": name}


class Order(StrEnum):
    """How a value between pixel centres is found."""

    NEAREST = "nearest"
    LINEAR = "linear"
    CUBIC = "cubic"
    """Cubic B-spline through all pixels."""


class Align(StrEnum):
    """What an old and a new grid have in common."""

    EDGES = "edges"
    """The outer edge of the first pixel; pixel i covers i - 0.5 to i + 0.5 (`align_corners=False`)."""
    CENTERS = "centers"
    """The centre of the first pixel, and of the last if a size is given (`align_corners=True`)."""


class StepEntry(Section):
    """One step of a list: a mapping with one key, the name of the step."""

    @model_validator(mode="before")
    @classmethod
    def _one_name(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError("a step is a mapping with one key, its name, for example `argmax: {}`")
        if len(value) != 1:
            raise ValueError(f"a step has one name, this entry has {len(value)}: {', '.join(map(str, value)) or 'none'}")
        return {name: {} if parameters is None else parameters for name, parameters in value.items()}

    @property
    def name(self) -> str:
        """Name of the step."""
        return next(iter(self.model_fields_set))

    @property
    def step(self) -> Section:
        """Parameters of the step."""
        step = getattr(self, self.name)
        if not isinstance(step, Section):
            raise TypeError(f"{self.name} is no step")
        return step


def require_one(section: Section, *names: str) -> None:
    """Check that exactly one of several fields is given.

    Raises:
        ValueError: none is, or several are.
    """
    given = [name for name in names if getattr(section, name) not in (None, False, ())]
    if len(given) != 1:
        raise ValueError(f"give exactly one of {', '.join(names)}; given: {', '.join(given) or 'none'}")
