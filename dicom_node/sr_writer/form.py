"""Which result objects are made, and in which of the forms that the standard offers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dicom_node.domain.profiles import DEFAULT_SERIES_NUMBER_BASE, Charset, ScModality


class ObjectKind(StrEnum):
    """Kind of a result object; named as Modality (0008,0060) where that tells kinds apart."""

    SR = "SR"
    SEG = "SEG"
    SC = "SC"
    PM = "PM"
    PR = "PR"
    KO = "KO"
    DOC = "DOC"
    RTSTRUCT = "RTSTRUCT"


class SrClass(StrEnum):
    """SOP class of the report; the later, the more archives and viewers take it, and the less it can say."""

    COMPREHENSIVE_3D = "comp3d"
    COMPREHENSIVE = "comp"
    ENHANCED = "enhanced"
    BASIC_TEXT = "text"


class SegKind(StrEnum):
    """Segmentation Type (0062,0001)."""

    BINARY = "BINARY"
    FRACTIONAL = "FRACTIONAL"
    """A segment that has a parametric map of its own `id` takes its values, 0 to 1; any other is 0 or 1."""
    LABELMAP = "LABELMAP"
    """Another SOP class, which older archives refuse; segments that overlap are written as BINARY all the same."""


DEFAULT_OBJECTS = frozenset({ObjectKind.SR, ObjectKind.SEG, ObjectKind.SC, ObjectKind.PM})


@dataclass(frozen=True, slots=True)
class ResultForm:
    """What a destination, or the one who asks, wants to have.

    Attributes:
        objects: Kinds to make; each only if the result and its source have what it needs.
        rle: Whether fractional segmentations and label maps are compressed, RLE Lossless; others cannot be.
        series_number_base: Series Numbers begin after it.
        description_prefix: Stands before Series Description.
    """

    objects: frozenset[ObjectKind] = DEFAULT_OBJECTS
    sr_class: SrClass = SrClass.COMPREHENSIVE_3D
    seg_kind: SegKind = SegKind.BINARY
    rle: bool = False
    sc_modality: ScModality = ScModality.OTHER
    charset: Charset = Charset.KEEP
    series_number_base: int = DEFAULT_SERIES_NUMBER_BASE
    description_prefix: str = ""


DEFAULT_FORM = ResultForm()
