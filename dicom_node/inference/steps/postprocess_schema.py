"""Steps that turn a network's outputs into segments, boxes, scores and maps."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dicom_node.config.section import Section
from dicom_node.inference.steps.vocabulary import StepEntry, unit

Probability = Annotated[float, Field(ge=0, le=1)]
Labels = tuple[Annotated[int, Field(ge=0)], ...]


class PostprocessStep(Section):
    """What every step after the network has."""

    of: str = Field("", description="Network output that the step changes; empty: the first one.", json_schema_extra=unit("output name"))


class ActivationKind(StrEnum):
    """From what a network says to probabilities."""

    SIGMOID = "sigmoid"
    SOFTMAX = "softmax"


class Activation(PostprocessStep):
    """Turn logits into probabilities."""

    kind: ActivationKind = Field(
        description="sigmoid: each value alone; softmax: over the channels of an image, over the last axis of a list of scores.",
        json_schema_extra=unit(""),
    )


class Threshold(PostprocessStep):
    """Make each channel a mask."""

    at: float = Field(0.5, description="A pixel with this value or more belongs to the mask.", json_schema_extra=unit("as the output"))


class Argmax(PostprocessStep):
    """Make one label map of all channels: the number of the highest channel, from 0; of equal ones the first."""


class _MaskStep(PostprocessStep):
    labels: Labels = Field(
        (),
        description="Channels of the masks, or values of the label map, that the step changes; none named: every one, 0 of a label map "
        "excepted.",
        json_schema_extra=unit(""),
    )


class Components(_MaskStep):
    """Keep connected parts of each mask or label; what is dropped becomes background."""

    keep: int = Field(0, ge=0, description="Only the largest ones, so many; 0: all.", json_schema_extra=unit("components"))
    drop_below_ml: float = Field(0.0, ge=0, description="Drop smaller ones; volumes only.", json_schema_extra=unit("mL"))
    drop_below_pixels: int = Field(0, ge=0, description="Drop smaller ones, counted in pixels of the grid that they are on.",
                                   json_schema_extra=unit("pixel"))  # fmt: skip
    connectivity: Literal["faces", "edges", "corners"] = Field(
        "faces", description="What joins two pixels: 6, 18 or 26 neighbours (in frames 4, 8, 8).", json_schema_extra=unit("")
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not (self.keep or self.drop_below_ml or self.drop_below_pixels):
            raise ValueError("give keep, drop_below_ml or drop_below_pixels")
        return self


class FillHoles(_MaskStep):
    """Fill background that a mask or label encloses; other labels are never overwritten."""

    per_slice: bool = Field(
        default=False, description="Enclosed within each slice (array axis 0) rather than on all sides.", json_schema_extra=unit("")
    )


class Opening(_MaskStep):
    """Remove what is thinner than a ball: erosion, then dilation."""

    radius_mm: float = Field(gt=0, description="Radius of the ball (of the disc, in frames).", json_schema_extra=unit("mm"))


class Closing(_MaskStep):
    """Close gaps narrower than a ball: dilation, then erosion; other labels are never overwritten."""

    radius_mm: float = Field(gt=0, description="Radius of the ball (of the disc, in frames).", json_schema_extra=unit("mm"))


class BoxFormat(StrEnum):
    """What the numbers of a box are."""

    CORNERS = "corners"
    """Lower corner, then upper corner."""
    CENTER_SIZE = "center_size"


class Boxes(PostprocessStep):
    """Read detections: `of` has shape ([batch,] box, numbers); scores and classes stand in it or in outputs of their own."""

    format: BoxFormat = Field(
        BoxFormat.CORNERS, description="corners: lower corner, then upper corner; center_size: centre, then lengths.",
        json_schema_extra=unit(""),
    )  # fmt: skip
    axes: Literal["xy", "yx", "xyz", "zyx"] = Field(
        description="Order of the coordinates of a corner: x, y and z run along array axis 2, 1 and 0 as the network saw it.",
        json_schema_extra=unit(""),
    )
    normalised: bool = Field(
        default=False, description="Coordinates are shares of the network input's size, 0 to 1, not pixels.", json_schema_extra=unit("")
    )
    origin: Literal["edge", "center"] = Field(
        "edge", description="What coordinate 0 is: the outer edge of the first pixel, or its centre.", json_schema_extra=unit("")
    )
    scores: str = Field(
        "",
        description="Output with the scores, shape ([batch,] box) or ([batch,] box, class); empty: they follow the coordinates, one "
        "number a class.",
        json_schema_extra=unit("output name"),
    )
    classes: str = Field(
        "",
        description="Output with each box's class, shape ([batch,] box), from 0; empty: the class of the highest score.",
        json_schema_extra=unit("output name"),
    )
    at: Probability = Field(0.0, description="Boxes with a lower score are dropped.", json_schema_extra=unit("score"))


class Nms(Section):
    """Of boxes that overlap keep the one with the highest score; within one image or slice, in 3-D within the volume."""

    iou: Probability = Field(0.5, description="Boxes whose intersection over union is above this overlap.", json_schema_extra=unit(""))
    per_class: bool = Field(default=True, description="Boxes of different classes never suppress each other.", json_schema_extra=unit(""))


class TopK(Section):
    """Keep the boxes with the highest scores."""

    k: int = Field(ge=1, description="So many, over all images and classes.", json_schema_extra=unit("boxes"))


class Pooling(StrEnum):
    """How the scores of several frames or slices become one."""

    MEAN = "mean"
    MAX = "max"


class ClassScores(PostprocessStep):
    """Read class scores: shape (batch, class); those of several frames or slices become one list."""

    pool: Pooling = Field(Pooling.MEAN, description="Mean or maximum of each class over frames or slices.", json_schema_extra=unit(""))


class Rescale(PostprocessStep):
    """Give an output its unit: value x scale + offset, as after regression on normalised targets."""

    scale: float = Field(1.0, description="Factor.", json_schema_extra=unit("unit per output"))
    offset: float = Field(0.0, description="What is added after the factor.", json_schema_extra=unit("as the result"))
    pool: Pooling | None = Field(
        None,
        description="Mean or maximum of the numbers of several frames or slices; null: the images must give one list.",
        json_schema_extra=unit(""),
    )


class ToSource(PostprocessStep):
    """Bring an output back to the source grid: masks and labels by the nearest pixel, values linearly. Without this step, the last one."""

    outside: float = Field(
        0.0, description="Value of source pixels that the network never saw, such as cropped ones.", json_schema_extra=unit("as the output")
    )


class PostprocessEntry(StepEntry):
    """One step after the network."""

    activation: Activation | None = Field(None, description="Turn logits into probabilities.")
    threshold: Threshold | None = Field(None, description="Make each channel a mask.")
    argmax: Argmax | None = Field(None, description="Make one label map of all channels.")
    components: Components | None = Field(None, description="Keep connected parts.")
    fill_holes: FillHoles | None = Field(None, description="Fill enclosed background.")
    opening: Opening | None = Field(None, description="Remove what is thin.")
    closing: Closing | None = Field(None, description="Close narrow gaps.")
    boxes: Boxes | None = Field(None, description="Read detections.")
    nms: Nms | None = Field(None, description="Of overlapping boxes keep the best.")
    top_k: TopK | None = Field(None, description="Keep the best boxes.")
    class_scores: ClassScores | None = Field(None, description="Read class scores.")
    rescale: Rescale | None = Field(None, description="Give an output its unit.")
    to_source: ToSource | None = Field(None, description="Bring an output back to the source grid.")
