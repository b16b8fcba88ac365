"""What a destination gets of a result: which objects, in which form, in which words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dicom_node.domain.jobs import CommitPolicy

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


class Fallback(StrEnum):
    """What may go instead of an object that a destination does not take; the best first."""

    SEG_BINARY = "seg"
    COMPREHENSIVE = "comp"
    ENHANCED = "enhanced"
    BASIC_TEXT = "text"
    PDF = "pdf"
    CAPTURE = "sc"


@dataclass(frozen=True, slots=True)
class ResultProfile:
    """What a destination gets.

    Attributes:
        objects: Kinds of objects; each is made only if the result and its source have what it needs.
        rle: Label maps and fractional segmentations are compressed, RLE Lossless.
        language: RFC 5646 tag of the catalogue that reports and pages are written in.
        series_number_base: Series Numbers of results begin after it.
        description_prefix: Stands before Series Description; may be empty.
        transfer_syntaxes: UIDs of those that are proposed for its objects, the best first; empty: the object's own, then Explicit and
            Implicit VR Little Endian.
        commit: What its destinations are asked to confirm, unless they say so themselves; None: nothing.
        fallback: What may go instead of an object that is not taken.
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
    transfer_syntaxes: tuple[str, ...] = ()
    commit: CommitPolicy | None = None
    fallback: tuple[Fallback, ...] = tuple(Fallback)


_IMPLICIT = "1.2.840.10008.1.2"
_SR, _SEG, _SC, _PM = ProfileObject.SR, ProfileObject.SEG, ProfileObject.SC, ProfileObject.PM
PRESETS: Mapping[str, ResultProfile] = {
    profile.name: profile
    for profile in (
        ResultProfile("generic-pacs", (_SR, _SEG, _SC)),
        ResultProfile("ohif", (_SR, _SEG, _SC)),
        ResultProfile("orthanc", (_SR, _SEG, _SC)),
        ResultProfile("sr-sc", (_SR, _SC)),
        ResultProfile("legacy-pacs", (_SC, _SR), sr_class=ReportClass.BASIC_TEXT, transfer_syntaxes=(_IMPLICIT,)),
        ResultProfile("research", (_SR, _SEG, _PM)),
    )
}
"""Profiles that every node has; a site's own ones stand beside them."""
DEFAULT_PROFILE = "orthanc"
"""Of a destination that names none."""
