"""What may stand in for an object that a destination does not take. Pure.

Source: SOP class UIDs of PS3.6 table A-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from dicom_node.domain.jobs import StoredResult


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


def next_stand_in(refused: StoredResult, available: Sequence[StoredResult]) -> StoredResult | None:
    """Choose the best object that may go instead of a refused one.

    Args:
        refused: What the destination does not take.
        available: The job's other objects, those that the destination was owed already left out.
    """
    for form in stand_ins(form_of(refused.sop_class_uid)):
        same = [r for r in available if form_of(r.sop_class_uid) is form]
        chosen = next((r for r in same if r.number == refused.number), same[0] if same else None)
        if chosen is not None:
            return chosen
    return None
