"""Which profile builds an object in the form that goes instead of another."""

from __future__ import annotations

from dataclasses import replace

from dicom_node.delivery.fallbacks import Form
from dicom_node.domain.profiles import ProfileObject, ReportClass, ResultProfile, SegType

_REPORTS = {
    Form.SR_COMPREHENSIVE_3D: ReportClass.COMPREHENSIVE_3D,
    Form.SR_COMPREHENSIVE: ReportClass.COMPREHENSIVE,
    Form.SR_ENHANCED: ReportClass.ENHANCED,
    Form.SR_TEXT: ReportClass.BASIC_TEXT,
}
_BESIDE = (ProfileObject.SEG, ProfileObject.PM)
"""Kinds that others depend on: a report refers to both, and pages say how segments were written."""


def profile_for(form: Form, profile: ResultProfile) -> ResultProfile:
    """Derive the profile that makes an object in a form, beside what a destination's profile has."""
    beside = tuple(kind for kind in profile.objects if kind in _BESIDE)
    match form:
        case Form.SEG_LABEL_MAP | Form.SEG_BINARY:
            kind = SegType.LABELMAP if form is Form.SEG_LABEL_MAP else SegType.BINARY
            return replace(profile, objects=(ProfileObject.SEG,), seg_type=kind)
        case Form.PDF:
            return replace(profile, objects=(ProfileObject.PDF, *beside))
        case Form.CAPTURE:
            return replace(profile, objects=(ProfileObject.SC, *beside))
        case _:
            return replace(profile, objects=(ProfileObject.SR, *beside), sr_class=_REPORTS[form])
