"""Schema of result profiles in node.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from dicom_node.config.section import Section
from dicom_node.config.values import Name
from dicom_node.domain.profiles import (
    DEFAULT_SERIES_NUMBER_BASE,
    Charset,
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
        )
