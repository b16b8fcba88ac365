"""Steps that bring images into the form a network was trained on."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from dicom_node.config.section import Section
from dicom_node.inference.steps.vocabulary import Align, Order, PerAxis, StepEntry, require_one, unit

_PAIRS = {"L": "RL", "R": "RL", "A": "AP", "P": "AP", "S": "IS", "I": "IS"}
Positive = Annotated[float, Field(gt=0)]
Pixels = Annotated[int, Field(ge=1)]
Values = tuple[float, ...]


class PreprocessStep(Section):
    """What every step before the network has."""

    inputs: tuple[str, ...] = Field((), description="Inputs that the step changes; none named: every input.", json_schema_extra=unit(""))


class Orient(PreprocessStep):
    """Turn the array so that its axes point where the network expects: permutations and flips only, no interpolation."""

    to: str = Field(
        description="Where index 0, 1 and 2 increase to, a letter each of R/L, A/P, S/I; an oblique axis counts as the nearest one. "
        "RAS is what NIfTI tools call canonical, SPL is an axial series as DICOM stacks it.",
        json_schema_extra=unit("axis codes"),
    )

    @field_validator("to")
    @classmethod
    def _check_codes(cls, value: str) -> str:
        if len(value) != 3 or {_PAIRS.get(letter) for letter in value} != {"RL", "AP", "IS"}:
            raise ValueError(f"{value!r} is no orientation: three letters, one each of R or L, A or P, S or I, for example RAS")
        return value


class Resample(PreprocessStep):
    """Change the distance between pixels, or their number; beyond the outermost pixel centres its value goes on."""

    spacing_mm: PerAxis[Positive | None] | None = Field(
        None, description="Distance between pixel centres; null leaves an axis as it is. This or size.", json_schema_extra=unit("mm")
    )
    size: PerAxis[Pixels | None] | None = Field(
        None, description="Number of pixels; null leaves an axis as it is. This or spacing_mm.", json_schema_extra=unit("pixel")
    )
    order: Order = Field(Order.LINEAR, description="Interpolation: nearest, linear, or cubic B-spline.", json_schema_extra=unit(""))
    antialias: bool = Field(
        default=False,
        description="Where an axis gets coarser by a factor f, smooth it first by a Gaussian of (f - 1) / 2 old pixels.",
        json_schema_extra=unit(""),
    )
    align: Align = Field(
        Align.EDGES,
        description="What old and new grid share: the outer edges (align_corners=False) or the centres of the first pixels "
        "(align_corners=True).",
        json_schema_extra=unit(""),
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        require_one(self, "spacing_mm", "size")
        _refuse_smoothed_nearest(self.order, antialias=self.antialias)
        return self


class Window(PreprocessStep):
    """Clip to a window and bring it to a range; linear, as VOI LUT Function LINEAR_EXACT."""

    center: float | None = Field(None, description="Centre of the window; with width.", json_schema_extra=unit("as the image"))
    width: Positive | None = Field(None, description="Width of the window; with center.", json_schema_extra=unit("as the image"))
    lower: float | None = Field(None, description="Lower end of the window; with upper.", json_schema_extra=unit("as the image"))
    upper: float | None = Field(None, description="Upper end of the window; with lower.", json_schema_extra=unit("as the image"))
    from_image: bool = Field(
        default=False,
        description="Take each frame's own first VOI window; an image without one is not analysed.",
        json_schema_extra=unit(""),
    )
    to: tuple[float, float] = Field(
        (0.0, 1.0), description="What the two ends of the window become.", json_schema_extra=unit("as the network")
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        by_center, by_ends = (self.center, self.width), (self.lower, self.upper)
        ways = [by_center != (None, None), by_ends != (None, None), self.from_image]
        if sum(ways) != 1 or (ways[0] and None in by_center) or (ways[1] and None in by_ends):
            raise ValueError("give center and width, or lower and upper, or from_image")
        if self.lower is not None and self.upper is not None and self.lower >= self.upper:
            raise ValueError(f"lower {self.lower:g} is not below upper {self.upper:g}")
        return self


class Clip(PreprocessStep):
    """Limit values."""

    lower: float | None = Field(None, description="Lower values become this.", json_schema_extra=unit("as the image"))
    upper: float | None = Field(None, description="Higher values become this.", json_schema_extra=unit("as the image"))

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.lower is None and self.upper is None:
            raise ValueError("give lower, upper, or both")
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise ValueError(f"lower {self.lower:g} is above upper {self.upper:g}")
        return self


class PercentileClip(PreprocessStep):
    """Limit values to percentiles of the image itself, all channels together; linear between ranks."""

    lower: float = Field(0.5, ge=0, le=100, description="Lower percentile.", json_schema_extra=unit("%"))
    upper: float = Field(99.5, ge=0, le=100, description="Upper percentile.", json_schema_extra=unit("%"))
    nonzero: bool = Field(
        default=False, description="Take the percentiles of values other than 0; all values are clipped.", json_schema_extra=unit("")
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.lower >= self.upper:
            raise ValueError(f"lower {self.lower:g} is not below upper {self.upper:g}")
        return self


class Normalisation(StrEnum):
    """How values are brought to a common scale."""

    ZSCORE = "zscore"
    MINMAX = "minmax"
    SCALE = "scale"


class Normalise(PreprocessStep):
    """Bring values to a common scale. A constant image becomes 0 (zscore) or the lower end (minmax); nothing is divided by 0."""

    kind: Normalisation = Field(
        Normalisation.ZSCORE,
        description="zscore: (value - mean) / std; minmax: the image's range to `to`; scale: value x scale + offset.",
        json_schema_extra=unit(""),
    )
    mean: Values | float | None = Field(
        None,
        description="zscore: given mean, one or one per channel; null: each image's own, per channel.",
        json_schema_extra=unit("as the image"),
    )
    std: Values | float | None = Field(
        None,
        description="zscore: given standard deviation, one or one per channel; null: each image's own (the population's).",
        json_schema_extra=unit("as the image"),
    )
    nonzero: bool = Field(
        default=False, description="zscore: statistics of values other than 0, and a 0 stays 0.", json_schema_extra=unit("")
    )
    to: tuple[float, float] = Field((0.0, 1.0), description="minmax: the new range.", json_schema_extra=unit("as the network"))
    scale: float = Field(1.0, description="scale: factor.", json_schema_extra=unit("network per image unit"))
    offset: float = Field(0.0, description="scale: what is added after the factor.", json_schema_extra=unit("as the network"))

    @model_validator(mode="after")
    def _check(self) -> Self:
        belongs = {
            "mean": "zscore", "std": "zscore", "nonzero": "zscore", "to": "minmax", "scale": "scale", "offset": "scale",
        }  # fmt: skip
        for name in self.model_fields_set & belongs.keys():
            if belongs[name] != self.kind:
                raise ValueError(f"{name} belongs to kind {belongs[name]}, kind is {self.kind}")
        stds = self.std if isinstance(self.std, tuple) else (self.std,)
        if any(s is not None and s <= 0 for s in stds):
            raise ValueError("std must be above 0")
        return self


class FillNan(PreprocessStep):
    """Replace pixels that are no number. Without this step an image that has any is not analysed."""

    value: float = Field(0.0, description="What NaN and infinities become.", json_schema_extra=unit("as the image"))


class Where(StrEnum):
    """On which side of an axis pixels are added."""

    CENTER = "center"
    END = "end"


class Pad(PreprocessStep):
    """Add pixels around the image; an axis that is long enough stays as it is."""

    multiple: PerAxis[Pixels] | Pixels | None = Field(
        None, description="Length of each axis becomes the next multiple; one number is for all axes. This or size.",
        json_schema_extra=unit("pixel"),
    )  # fmt: skip
    size: PerAxis[Pixels | None] | None = Field(
        None, description="Least length of each axis; null leaves one alone. This or multiple.", json_schema_extra=unit("pixel")
    )
    value: float | Literal["minimum", "edge"] = Field(
        0.0, description="What the new pixels hold: a number, the image's minimum, or the nearest pixel.",
        json_schema_extra=unit("as the image"),
    )  # fmt: skip
    where: Where = Field(
        Where.CENTER, description="On both sides (the odd one at the end), or at the end only.", json_schema_extra=unit("")
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        require_one(self, "multiple", "size")
        return self


class Foreground(Section):
    """The bounding box of what is brighter than a threshold."""

    above: float = Field(0.0, description="Foreground is above this, in any channel.", json_schema_extra=unit("as the image"))
    margin: int = Field(0, ge=0, description="Added on every side, as far as the image goes.", json_schema_extra=unit("pixel"))


class Box(Section):
    """A box of the array as it then stands."""

    start: PerAxis[Annotated[int, Field(ge=0)]] = Field(description="First index of each axis, from 0.", json_schema_extra=unit("pixel"))
    stop: PerAxis[Pixels] = Field(description="Index after the last one of each axis.", json_schema_extra=unit("pixel"))

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.start) != len(self.stop) or any(a >= b for a, b in zip(self.start, self.stop, strict=False)):
            raise ValueError(f"start {self.start} is not before stop {self.stop} on every axis")
        return self


class Crop(PreprocessStep):
    """Keep a part of the image."""

    center: PerAxis[Pixels | None] | None = Field(
        None, description="Greatest length of each axis, cut evenly from both ends; null leaves one alone. This, foreground or box.",
        json_schema_extra=unit("pixel"),
    )  # fmt: skip
    foreground: Foreground | None = Field(
        None, description="Bounding box of the foreground; an image without any is not analysed.", json_schema_extra=unit("")
    )
    box: Box | None = Field(None, description="A fixed box; an image that does not reach it is not analysed.", json_schema_extra=unit(""))

    @model_validator(mode="after")
    def _check(self) -> Self:
        require_one(self, "center", "foreground", "box")
        return self


class Resize(PreprocessStep):
    """Bring the plane of rows and columns to a size, counted in pixels, not millimetres; pixel edges are aligned."""

    size: tuple[Pixels, Pixels] = Field(description="Rows and columns.", json_schema_extra=unit("pixel"))
    keep_aspect: bool = Field(
        default=True,
        description="Scale both axes alike and fill the rest evenly on both sides (letterbox); false stretches.",
        json_schema_extra=unit(""),
    )
    order: Order = Field(Order.LINEAR, description="Interpolation: nearest, linear, or cubic B-spline.", json_schema_extra=unit(""))
    antialias: bool = Field(default=False, description="As in resample.", json_schema_extra=unit(""))
    value: float = Field(0.0, description="What the filled border holds.", json_schema_extra=unit("as the image"))

    @model_validator(mode="after")
    def _check(self) -> Self:
        _refuse_smoothed_nearest(self.order, antialias=self.antialias)
        return self


class Channels(PreprocessStep):
    """Make the channels that the network takes."""

    repeat: Pixels | None = Field(None, description="Copies of the only channel. This, gray or stack.", json_schema_extra=unit("channels"))
    gray: bool = Field(default=False, description="Red, green and blue to luma: 0.299 R + 0.587 G + 0.114 B.", json_schema_extra=unit(""))
    stack: tuple[str, ...] = Field(
        (),
        description="Inputs that become the channels of the first one named; the others are brought onto its grid by their place in the "
        "patient, linearly, 0 outside. They need one frame of reference.",
        json_schema_extra=unit("input names"),
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        require_one(self, "repeat", "gray", "stack")
        if self.stack and (len(self.stack) < 2 or len(set(self.stack)) != len(self.stack) or self.inputs):
            raise ValueError("stack names two or more different inputs, and `inputs` is not given beside it")
        return self


class Layout(StrEnum):
    """Order of the axes of a tensor: batch, channels, depth, height, width; these are array axes 0, 1 and 2 as they then stand."""

    NCHW = "NCHW"
    NHWC = "NHWC"
    NCDHW = "NCDHW"
    NDHWC = "NDHWC"


class Tensor(PreprocessStep):
    """Form of the network's input; the last step. Without it: channels first, and the type that the network declares."""

    layout: Layout | None = Field(
        None, description="Order of the axes; null: NCHW or NCDHW, by the number of axes that the network has.", json_schema_extra=unit("")
    )
    dtype: Literal["float32", "float16", "float64", "uint8", "int16", "int32", "int64"] | None = Field(
        None, description="Type of the numbers, to whole types rounded; null: the network's.", json_schema_extra=unit("")
    )


class PreprocessEntry(StepEntry):
    """One step before the network."""

    orient: Orient | None = Field(None, description="Turn the array to given axes.")
    resample: Resample | None = Field(None, description="Change the distance between pixels, or their number.")
    window: Window | None = Field(None, description="Clip to a window and bring it to a range.")
    clip: Clip | None = Field(None, description="Limit values.")
    percentile_clip: PercentileClip | None = Field(None, description="Limit values to percentiles of the image.")
    normalise: Normalise | None = Field(None, description="Bring values to a common scale.")
    fill_nan: FillNan | None = Field(None, description="Replace pixels that are no number.")
    pad: Pad | None = Field(None, description="Add pixels around the image.")
    crop: Crop | None = Field(None, description="Keep a part of the image.")
    resize: Resize | None = Field(None, description="Bring rows and columns to a size.")
    channels: Channels | None = Field(None, description="Make the channels that the network takes.")
    tensor: Tensor | None = Field(None, description="Form of the network's input.")


def _refuse_smoothed_nearest(order: Order, *, antialias: bool) -> None:
    if antialias and order is Order.NEAREST:
        raise ValueError("antialias smooths, order nearest keeps values as they are; choose linear or cubic, or leave antialias out")
