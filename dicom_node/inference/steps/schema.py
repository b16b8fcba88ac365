"""The `steps` section of model.yaml: what happens before, at and after the network."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from dicom_node.config.section import Section
from dicom_node.inference.steps.postprocess_schema import PostprocessEntry
from dicom_node.inference.steps.preprocess_schema import PreprocessEntry
from dicom_node.inference.steps.vocabulary import PerAxis, unit

SEGMENT_QUANTITIES = ("volume_ml", "mean", "std", "min", "max", "count", "diameter_mm")
"""What can be measured in a segment; beside these `percentile_0` to `percentile_100`."""
SEGMENT_QUANTITY_PATTERN = rf"^({'|'.join(SEGMENT_QUANTITIES)}|percentile_(100|[1-9]?[0-9]))$"


def is_segment_quantity(text: str) -> bool:
    """Say whether a measurement's `of` names something measured in a segment, not a network output."""
    return re.fullmatch(SEGMENT_QUANTITY_PATTERN, text) is not None


_NO_WAYS = ("batch", "across_jobs")


class Blending(StrEnum):
    """How much each pixel of a window counts where windows overlap."""

    CONSTANT = "constant"
    GAUSSIAN = "gaussian"


class Whole(Section):
    """The network sees each image at once: a volume, or each frame of a frame set."""


class Slices(Section):
    """A 2-D network sees the slices of a volume (along array axis 0 as it then stands), each as one image of a batch."""

    neighbours: int = Field(
        0, ge=0, le=16, description="Slices on each side that join as channels, in order; beyond the ends the last slice is repeated.",
        json_schema_extra=unit("slices"),
    )  # fmt: skip


class SlidingWindow(Section):
    """The network sees windows of a fixed size; outputs are blended where they overlap."""

    size: PerAxis[Annotated[int, Field(ge=1)]] = Field(
        description="Window: three lengths for a 3-D network, two (rows, columns) for a 2-D one, which goes over each frame or slice.",
        json_schema_extra=unit("pixel"),
    )
    overlap: float = Field(0.25, ge=0, lt=1, description="Share of a window that its neighbour covers too.", json_schema_extra=unit(""))
    blending: Blending = Field(
        Blending.GAUSSIAN, description="constant: all alike; gaussian: the middle of a window counts most.", json_schema_extra=unit("")
    )
    sigma: float = Field(0.125, gt=0, le=1, description="Of the Gaussian, as a share of the window's length.", json_schema_extra=unit(""))
    padding: float | Literal["edge"] = Field(
        0.0, description="What fills a window that is larger than the image: a number, or the nearest pixel.",
        json_schema_extra=unit("as the network"),
    )  # fmt: skip
    multiple: int = Field(
        16, ge=1, description="Window lengths that the network takes when memory runs short: multiples of this.",
        json_schema_extra=unit("pixel"),
    )  # fmt: skip
    keep: Literal["scores", "labels"] = Field(
        "scores",
        description="labels: keep only the number of the highest channel of each pixel, as argmax does, so that memory does not grow with "
        "the number of classes.",
        json_schema_extra=unit(""),
    )


class InferSection(Section):
    """How the network goes over the images: exactly one of whole, slices, sliding_window."""

    whole: Whole | None = Field(None, description="Each image at once.")
    slices: Slices | None = Field(None, description="A 2-D network over the slices of a volume.")
    sliding_window: SlidingWindow | None = Field(None, description="Windows of a fixed size, blended.")
    batch: int = Field(
        1, ge=1, le=1024, description="Frames, slices or windows in one call of the network; a batch that the network fixes goes before.",
        json_schema_extra=unit("images"),
    )  # fmt: skip

    across_jobs: int = Field(
        1, ge=1, le=64, description="Jobs whose images may share one call of the network: for small images, of which many wait.",
        json_schema_extra=unit("jobs"),
    )  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _one_way(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {value: {}}
        if not isinstance(value, dict):
            return value
        given = {name: {} if name not in _NO_WAYS and parameters is None else parameters for name, parameters in value.items()}
        ways = [name for name in given if name not in _NO_WAYS]
        if len(ways) != 1:
            raise ValueError(f"give exactly one of whole, slices, sliding_window; given: {', '.join(map(str, ways)) or 'none'}")
        return given


class StepsSection(Section):
    """What happens before, at and after the network; or the name of Python steps."""

    preprocess: tuple[PreprocessEntry, ...] = Field((), description="Steps before the network, in order.")
    infer: InferSection = Field(
        default_factory=lambda: InferSection(whole=Whole()), description="How the network goes over the images; default: whole."
    )
    postprocess: tuple[PostprocessEntry, ...] = Field((), description="Steps after the network, in order.")
    python: str | None = Field(
        None, description="Instead of preprocess and postprocess: name of an entry point in group `dicom_node.models`."
    )

    @field_validator("preprocess")
    @classmethod
    def _tensor_is_last(cls, value: tuple[PreprocessEntry, ...]) -> tuple[PreprocessEntry, ...]:
        early = [number for number, entry in enumerate(value, 1) if entry.name == "tensor"]
        # each input may have a form of its own, so that several may stand at the end
        if early and early != list(range(len(value) - len(early) + 1, len(value) + 1)):
            raise ValueError("tensor is the last step: it gives the network's input its form")
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.python is not None and (self.preprocess or self.postprocess):
            raise ValueError("python takes the place of preprocess and postprocess; give one or the other")
        return self
