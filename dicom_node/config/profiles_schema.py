"""Schema of result profiles in node.yaml."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from dicom_node.config.section import Section
from dicom_node.config.values import Name
from dicom_node.domain.jobs import CommitPolicy
from dicom_node.domain.profiles import (
    DEFAULT_SERIES_NUMBER_BASE,
    Charset,
    Fallback,
    ProfileObject,
    ReportClass,
    ResultProfile,
    ScModality,
    SegType,
)


def _check_prefix(value: str) -> str:
    if not value.isascii() or not value.isprintable() or "\\" in value:
        raise ValueError("a prefix holds printable ASCII characters without backslash")
    return value


class TransferSyntax(StrEnum):
    """Transfer syntaxes as profiles name them; the last two hold compressed images, nothing else."""

    IMPLICIT = "implicit"
    EXPLICIT = "explicit"
    RLE = "rle"
    JPEG_LS = "jpeg-ls"


_SYNTAXES = {
    TransferSyntax.IMPLICIT: "1.2.840.10008.1.2",
    TransferSyntax.EXPLICIT: "1.2.840.10008.1.2.1",
    TransferSyntax.RLE: "1.2.840.10008.1.2.5",
    TransferSyntax.JPEG_LS: "1.2.840.10008.1.2.4.80",
}


class ProfileSection(Section):
    """A result profile of the site's own."""

    name: Name = Field(description="Name for `destinations[].profile`; none of the presets'.")
    objects: tuple[ProfileObject, ...] = Field(
        min_length=1, description="What is sent: `sr`, `seg`, `sc`, `gsps`, `ko`, `pdf`, `pm`, `rtstruct`."
    )
    sr_class: ReportClass = Field(
        ReportClass.COMPREHENSIVE_3D, description="Class of the report: `comp3d`, `comp`, `enhanced`, `text` (Basic Text)."
    )
    seg_type: SegType = Field(SegType.BINARY, description="Segmentation: `binary`, `labelmap`, `fractional`.")
    rle: bool = Field(default=False, description="Compress label maps and fractional segmentations, RLE Lossless.")
    sc_modality: ScModality = Field(ScModality.OTHER, description="Modality of Secondary Captures: `OT`, or `source` for the images' own.")
    charset: Charset = Field(Charset.KEEP, description="Character set: `keep` the source's where it holds the texts, or always `utf8`.")
    language: str = Field("en", description="Language of reports and pages: `en`, `ko`.")
    series_number_base: int = Field(
        DEFAULT_SERIES_NUMBER_BASE, ge=0, le=2_000_000_000, description="Series Numbers of results begin after this one."
    )
    description_prefix: Annotated[str, AfterValidator(_check_prefix)] = Field(
        "", max_length=16, description="Text before Series Description, ASCII, at most 16 characters."
    )

    transfer_syntaxes: tuple[TransferSyntax, ...] = Field(
        (),
        description="What is proposed for its objects, the best first: `implicit`, `explicit`, `rle`, `jpeg-ls`; absent: as written, then "
        "`explicit`, `implicit`.",
    )
    commit: CommitPolicy | None = Field(
        None, description="Storage commitment of its destinations, unless `destinations[].commit` says it: `off`, `wait`, `require`."
    )
    fallback: tuple[Fallback, ...] = Field(
        tuple(Fallback),
        description="What may go instead of an object that is not taken: `seg` (binary), `comp`, `enhanced`, `text`, `pdf`, `sc`; `[]`: "
        "nothing; absent: each.",
    )

    @field_validator("commit", mode="before")
    @classmethod
    def _read_off(cls, value: object) -> object:
        """Take `off` for the word that it is: YAML reads it as false."""
        return "off" if value is False else value

    @field_validator("transfer_syntaxes")
    @classmethod
    def _check_syntaxes(cls, value: tuple[TransferSyntax, ...]) -> tuple[TransferSyntax, ...]:
        if value and not {TransferSyntax.IMPLICIT, TransferSyntax.EXPLICIT} & set(value):
            raise ValueError("name implicit or explicit too: reports cannot be compressed")
        return value

    def to_profile(self) -> ResultProfile:
        """Return what results are built by."""
        return ResultProfile(
            self.name,
            tuple(dict.fromkeys(self.objects)),
            self.sr_class,
            self.seg_type,
            self.rle,
            self.sc_modality,
            self.charset,
            self.language,
            self.series_number_base,
            self.description_prefix,
            tuple(_SYNTAXES[one] for one in dict.fromkeys(self.transfer_syntaxes)),
            self.commit,
            tuple(dict.fromkeys(self.fallback)),
        )
