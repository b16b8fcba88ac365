"""What a destination gets of a result: which objects, in which form, in which words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

DEFAULT_SERIES_NUMBER_BASE = 9900


class ProfileObject(StrEnum):
    """Kinds of objects as profiles name them."""

    SR = "sr"
    SEG = "seg"
    SC = "sc"
    GSPS = "gsps"
    KO = "ko"
    PDF = "pdf"
    PM = "pm"
    RTSTRUCT = "rtstruct"


class ReportClass(StrEnum):
    """SOP class of the report: Comprehensive 3D, Comprehensive, Enhanced, Basic Text."""

    COMPREHENSIVE_3D = "comp3d"
    COMPREHENSIVE = "comp"
    ENHANCED = "enhanced"
    BASIC_TEXT = "text"


class SegType(StrEnum):
    """Segmentation Type (0062,0001) of the segmentation object."""

    BINARY = "binary"
    LABELMAP = "labelmap"
    FRACTIONAL = "fractional"


class ScModality(StrEnum):
    """Modality (0008,0060) of Secondary Captures: OT, or as the images that were analysed."""

    OTHER = "OT"
    SOURCE = "source"


class Charset(StrEnum):
    """Specific Character Set (0008,0005): as the source's wherever it holds the texts, or always UTF-8."""

    KEEP = "keep"
    UTF8 = "utf8"


@dataclass(frozen=True, slots=True)
class ResultProfile:
    """What a destination gets.

    Attributes:
        objects: Kinds of objects; each is made only if the result and its source have what it needs.
        rle: Label maps and fractional segmentations are compressed, RLE Lossless.
        language: RFC 5646 tag of the catalogue that reports and pages are written in.
        series_number_base: Series Numbers of results begin after it.
        description_prefix: Stands before Series Description; may be empty.
    """

    name: str
    objects: tuple[ProfileObject, ...]
    sr_class: ReportClass = ReportClass.COMPREHENSIVE_3D
    seg_type: SegType = SegType.BINARY
    rle: bool = False
    sc_modality: ScModality = ScModality.OTHER
    charset: Charset = Charset.KEEP
    language: str = "en"
    series_number_base: int = DEFAULT_SERIES_NUMBER_BASE
    description_prefix: str = ""


_SR, _SEG, _SC, _PM = ProfileObject.SR, ProfileObject.SEG, ProfileObject.SC, ProfileObject.PM
PRESETS: Mapping[str, ResultProfile] = {
    profile.name: profile
    for profile in (
        ResultProfile("generic-pacs", (_SR, _SEG, _SC)),
        ResultProfile("ohif", (_SR, _SEG, _SC)),
        ResultProfile("orthanc", (_SR, _SEG, _SC)),
        ResultProfile("legacy-pacs", (_SC, _SR), sr_class=ReportClass.BASIC_TEXT),
        ResultProfile("research", (_SR, _SEG, _PM)),
    )
}
"""Profiles that every node has; a site's own ones stand beside them."""
DEFAULT_PROFILE = "orthanc"
"""Of a destination that names none."""
