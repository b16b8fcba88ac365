"""Forms of result objects by profile, and what tells the variants of one kind apart."""

from __future__ import annotations

from dicom_node.domain.profiles import DEFAULT_SERIES_NUMBER_BASE, Charset, ProfileObject, ResultProfile, ScModality
from dicom_node.sr_writer.form import ObjectKind, ResultForm, SegKind, SrClass

_KINDS = {
    ProfileObject.SR: ObjectKind.SR,
    ProfileObject.SEG: ObjectKind.SEG,
    ProfileObject.SC: ObjectKind.SC,
    ProfileObject.GSPS: ObjectKind.PR,
    ProfileObject.KO: ObjectKind.KO,
    ProfileObject.PDF: ObjectKind.DOC,
    ProfileObject.PM: ObjectKind.PM,
    ProfileObject.RTSTRUCT: ObjectKind.RTSTRUCT,
}


def form_of_profile(profile: ResultProfile) -> ResultForm:
    """Return the form in which a profile wants its objects."""
    return ResultForm(
        frozenset(_KINDS[wanted] for wanted in profile.objects),
        SrClass(profile.sr_class.value),
        SegKind(profile.seg_type.value.upper()),
        profile.rle,
        profile.sc_modality,
        profile.charset,
        profile.series_number_base,
        profile.description_prefix,
    )


def variant_of(kind: ObjectKind, form: ResultForm, language: str) -> str:
    """Name what an object of a kind looks like in a form, as `sr:comp3d:en:seg-binary`; equal names are equal objects.

    Every object depends on the language, whose texts decide on the character set, and on the segmentation beside it, since one that
    cannot be made or not be written as asked is remarked on; only the report depends on parametric maps beside it, which it refers to.
    """
    seg = f"seg-{form.seg_kind.value.lower()}{'-rle' if form.rle else ''}"
    parts = [kind.value.lower(), *([form.sr_class.value] if kind is ObjectKind.SR else []), language]
    parts += [seg] if ObjectKind.SEG in form.objects else []
    parts += ["pm"] if ObjectKind.PM in form.objects and kind is ObjectKind.SR else []
    parts += ["source"] if kind is ObjectKind.SC and form.sc_modality is ScModality.SOURCE else []
    parts += ["utf8"] if form.charset is Charset.UTF8 else []
    parts += [str(form.series_number_base)] if form.series_number_base != DEFAULT_SERIES_NUMBER_BASE else []
    return ":".join([*parts, *([f"prefix {form.description_prefix}"] if form.description_prefix else [])])


def wanted_variants(profile: ResultProfile) -> dict[str, str]:
    """Return the variants of a profile by kind of object, as results on record name both."""
    form = form_of_profile(profile)
    return {kind.value: variant_of(kind, form, profile.language) for kind in form.objects}
