"""What goes into a model: its inputs, and the network file."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import Field, field_validator, model_validator

from dicom_node.config.keywords import keyword_problem
from dicom_node.config.section import Section
from dicom_node.config.several_faults import several_faults
from dicom_node.inference.bundle.codes_schema import Identifier, Sha256, SlotName
from dicom_node.inference.pixels.geometry import GeometryPolicy


class InputKind(StrEnum):
    """How the images of an input are read."""

    VOLUME = "volume"
    """Slices that form one regular grid."""
    FRAMES = "frames"
    """Images without a common grid."""


class Irregular(StrEnum):
    """What happens to a volume that is none as it was acquired."""

    REFUSE = "refuse"
    RESAMPLE = "resample"


class Color(StrEnum):
    """What the pixels of frames are."""

    GRAY = "gray"
    RGB = "rgb"


class InputSlot(Section):
    """One named input; rules name the series that goes into it."""

    name: SlotName = Field(description="Name, as the `inputs` of a rule have it.")
    kind: InputKind = Field(description="volume: slices that form one grid; frames: images without a common grid.")
    uneven: Irregular = Field(
        Irregular.REFUSE, description="Slices at uneven distances: refuse, or resample to an even grid. Volumes only."
    )
    tilted: Irregular = Field(Irregular.REFUSE, description="Slices sheared by a gantry tilt: refuse, or resample. Volumes only.")
    only: dict[str, str | int | float] = Field(
        {},
        description="Which frames are wanted where a series holds several at one position, such as {TemporalPositionIndex: 1}: the value "
        "by DICOM keyword; without, such a series is refused. Volumes only.",
    )
    color: Color = Field(Color.GRAY, description="gray: one value a pixel; rgb: red, green and blue. Frames only.")
    optional: bool = Field(default=False, description="The model also runs without it. Never the first input.")
    fill: float | None = Field(
        None,
        description="Of an optional input that a network takes: what every pixel is, on the first input's grid, where it is missing. "
        "Declared steps only.",
    )

    @field_validator("only")
    @classmethod
    def _check_keywords(cls, value: dict[str, str | int | float]) -> dict[str, str | int | float]:
        if faults := [((keyword,), problem) for keyword in value if (problem := keyword_problem(keyword))]:
            raise several_faults("only", faults, value)
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        volume_only = self.model_fields_set & {"uneven", "tilted", "only"}
        if self.kind is InputKind.FRAMES and volume_only:
            raise ValueError(f"{' and '.join(sorted(volume_only))}: only volumes have it, the input is frames")
        if self.fill is not None and not self.optional:
            raise ValueError("fill: the input is never missing, it is not optional")
        if self.kind is InputKind.VOLUME and "color" in self.model_fields_set:
            raise ValueError("color: only frames have it, the input is a volume")
        return self

    def to_policy(self) -> GeometryPolicy:
        """Convert what is declared of the geometry to what reads pixels."""
        return GeometryPolicy(self.uneven.value, self.tilted.value, {keyword: str(value) for keyword, value in self.only.items()})


class FileFormat(StrEnum):
    """Form of the network file."""

    ONNX = "onnx"
    TORCHSCRIPT = "torchscript"
    PT2 = "pt2"
    COMMAND = "command"
    MONAI = "monai"


class InputFiles(StrEnum):
    """What a program finds in its input folder."""

    NIFTI = "nifti"
    DICOM = "dicom"


class NetworkSection(Section):
    """The network file and how the inputs reach it."""

    file: str | None = Field(None, description="Network file, relative to the bundle; null for Python steps that need none.")
    format: FileFormat = Field(FileFormat.ONNX, description="onnx, torchscript, pt2, command (a program) or monai (a MONAI bundle).")
    sha256: Sha256 | None = Field(None, description="SHA-256 of the file, 64 lower case hexadecimal digits; another file is refused.")
    inputs: dict[str, SlotName] = Field({}, description="Inputs of the network, each with the input of the model it gets after preprocess.")
    outputs: tuple[str, ...] = Field(
        (), description="Names for the outputs of a torchscript or pt2 network, in order; others have their own."
    )
    more: dict[Identifier, str] = Field({}, description="Further network files for Python steps, by name, relative to the bundle.")
    command: tuple[str, ...] = Field(
        (), description="Of format command: program and arguments; {input}, {output} and {bundle} stand for the folders."
    )
    image: str = Field("", description="Of format command: container image that it runs in, by docker or podman; empty: on this host.")
    input_files: InputFiles = Field(
        InputFiles.NIFTI, description="Of format command: nifti, or dicom (the files as received), in the program's input folder."
    )
    repairs: tuple[str, ...] = Field((), description="Repairs of an onnx graph to make before it runs, by name.")
