"""What the DICOM dictionary says about the elements that rules ask for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from pydicom.datadict import dictionary_is_retired, dictionary_VM, dictionary_VR, tag_for_keyword

ASSOCIATION_KEYWORDS = ("CallingAET", "CalledAET")
"""What a rule may ask for beside DICOM keywords: who sent, and under which of the node's titles."""

_BINARY = frozenset({"SQ", "OB", "OD", "OF", "OL", "OV", "OW", "UN", "NONE"})
_WITHOUT_VALUES = {0x0000: "a command", 0x0002: "the file meta information", 0x0004: "a DICOMDIR"}


class Kind(StrEnum):
    """How the values of an element compare."""

    TEXT = "text"
    NAME = "person name"
    UID = "UID"
    INTEGER = "whole number"
    DECIMAL = "number"
    DATE = "date"
    TIME = "time"
    DATE_TIME = "date and time"
    AGE = "age"
    ANY = "any"
    """Nothing is known of the element: texts are equal as texts or as numbers."""

    @property
    def is_number(self) -> bool:
        """Values are numbers."""
        return self in (Kind.INTEGER, Kind.DECIMAL)

    @property
    def is_moment(self) -> bool:
        """Values are dates, times, or both."""
        return self in (Kind.DATE, Kind.TIME, Kind.DATE_TIME)

    @property
    def has_order(self) -> bool:
        """Values may be asked for a range."""
        return self.is_number or self.is_moment or self in (Kind.AGE, Kind.ANY)


_KINDS = {
    **dict.fromkeys(("IS", "US", "SS", "UL", "SL", "UV", "SV", "US or SS"), Kind.INTEGER),
    **dict.fromkeys(("DS", "FD", "FL"), Kind.DECIMAL),
    "DA": Kind.DATE,
    "TM": Kind.TIME,
    "DT": Kind.DATE_TIME,
    "AS": Kind.AGE,
    "PN": Kind.NAME,
    "UI": Kind.UID,
}


@dataclass(frozen=True, slots=True)
class Element:
    """One element of the dictionary, or an AE title of the association.

    Attributes:
        tag: 0 for the AE titles of the association.
        is_list: More than one value is allowed.
        unseen: Why no rule can see its value; empty if one can.
    Source: PS3.6 table 6-1.
    """

    keyword: str
    tag: int
    vr: str
    kind: Kind
    is_list: bool
    unseen: str = ""


@lru_cache(maxsize=4096)
def element_of(keyword: str) -> Element | None:
    """Look a keyword up; None if neither the dictionary nor the association has it."""
    if keyword in ASSOCIATION_KEYWORDS:
        return Element(keyword, 0, "AE", Kind.TEXT, is_list=True)
    tag = tag_for_keyword(keyword) if keyword else None
    if tag is None:
        return None
    vr = dictionary_VR(tag)
    return Element(keyword, tag, vr, _KINDS.get(vr, Kind.TEXT), dictionary_VM(tag) != "1", _unseen(tag, vr))


def kind_of(keyword: str) -> Kind:
    """Say how the values of an element compare."""
    element = element_of(keyword)
    return element.kind if element else Kind.ANY


def _unseen(tag: int, vr: str) -> str:
    if tag >> 16 in _WITHOUT_VALUES:
        return f"it belongs to {_WITHOUT_VALUES[tag >> 16]}, not to an instance's header"
    if vr in _BINARY or " or O" in vr:
        return "it is a sequence" if vr == "SQ" else f"it is binary (VR {vr})"
    return "it is retired" if dictionary_is_retired(tag) else ""
