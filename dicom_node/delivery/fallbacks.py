"""What may stand in for an object that a destination does not take. Pure.

Source: SOP class UIDs of PS3.6 table A-1.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum

from dicom_node.domain.jobs import StoredResult
from dicom_node.domain.profiles import Fallback


class Form(StrEnum):
    """How a result is encoded; the words stand in `went_as`."""

    SEG_LABEL_MAP = "SEG label map"
    SEG_BINARY = "SEG binary or fractional"
    SR_COMPREHENSIVE_3D = "Comprehensive 3D SR"
    SR_COMPREHENSIVE = "Comprehensive SR"
    SR_ENHANCED = "Enhanced SR"
    SR_TEXT = "Basic Text SR"
    PDF = "Encapsulated PDF"
    CAPTURE = "Secondary Capture"


_FORM_OF_CLASS = {
    "1.2.840.10008.5.1.4.1.1.66.7": Form.SEG_LABEL_MAP,
    "1.2.840.10008.5.1.4.1.1.66.4": Form.SEG_BINARY,
    "1.2.840.10008.5.1.4.1.1.88.34": Form.SR_COMPREHENSIVE_3D,
    "1.2.840.10008.5.1.4.1.1.88.33": Form.SR_COMPREHENSIVE,
    "1.2.840.10008.5.1.4.1.1.88.22": Form.SR_ENHANCED,
    "1.2.840.10008.5.1.4.1.1.88.11": Form.SR_TEXT,
    "1.2.840.10008.5.1.4.1.1.104.1": Form.PDF,
    "1.2.840.10008.5.1.4.1.1.7": Form.CAPTURE,
    "1.2.840.10008.5.1.4.1.1.7.4": Form.CAPTURE,
}
_FALLBACKS = {
    Form.SEG_BINARY: Fallback.SEG_BINARY,
    Form.SR_COMPREHENSIVE: Fallback.COMPREHENSIVE,
    Form.SR_ENHANCED: Fallback.ENHANCED,
    Form.SR_TEXT: Fallback.BASIC_TEXT,
    Form.PDF: Fallback.PDF,
    Form.CAPTURE: Fallback.CAPTURE,
}
CHAINS = (
    (Form.SEG_LABEL_MAP, Form.SEG_BINARY, Form.CAPTURE),
    (Form.SR_COMPREHENSIVE_3D, Form.SR_COMPREHENSIVE, Form.SR_ENHANCED, Form.SR_TEXT, Form.PDF, Form.CAPTURE),
)


def form_of(sop_class_uid: str) -> Form | None:
    """Name the form of a SOP class; None for one that nothing stands in for and that stands in for nothing."""
    return _FORM_OF_CLASS.get(sop_class_uid)


def stand_ins(form: Form | None) -> tuple[Form, ...]:
    """List what may go instead, the best first."""
    return next((chain[chain.index(form) + 1 :] for chain in CHAINS if form in chain), ())


def allowed_stand_ins(sop_class_uid: str, allowed: Collection[Fallback]) -> tuple[Form, ...]:
    """List what may go instead of an object by a destination's profile, the best first."""
    return tuple(form for form in stand_ins(form_of(sop_class_uid)) if _FALLBACKS[form] in allowed)


def classes_of(form: Form) -> tuple[str, ...]:
    """List the SOP classes that an object in a form has."""
    return tuple(uid for uid, named in _FORM_OF_CLASS.items() if named is form)


def best_in_form(refused: StoredResult, same: Sequence[StoredResult], own_variant: str) -> tuple[StoredResult, ...]:
    """Choose the objects that go instead of a refused one: one of its number, or all pages.

    Args:
        refused: What the destination does not take.
        same: The job's objects of one form.
        own_variant: How the destination's profile has objects of that form; others go only if there are none.
    """
    variants = [r.variant for r in same]
    chosen = [r for r in same if r.variant == (own_variant if own_variant in variants else variants[0])]
    if chosen and form_of(chosen[0].sop_class_uid) is Form.CAPTURE:
        return tuple(chosen)
    return tuple(r for r in chosen if r.number == refused.number) or tuple(chosen[:1])
