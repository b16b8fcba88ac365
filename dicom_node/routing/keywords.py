"""Which elements rules read, so that nothing else need be fetched to decide."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dicom_node.domain.rules import Preference, Rule

_PATIENT = ("PatientID", "IssuerOfPatientID", "PatientBirthDate")
_ORDER = ("SeriesNumber", "StudyDate", "StudyTime")
_GEOMETRY = ("ImageOrientationPatient", "ImagePositionPatient", "NumberOfFrames", "SliceThickness", "SpacingBetweenSlices")
_AGE = ("AcquisitionDate", "AcquisitionDateTime", "AcquisitionTime", "SeriesDate", "SeriesTime")

READ_ALWAYS = frozenset({*_PATIENT, *_ORDER, *_GEOMETRY})
"""What the decision itself reads: the patient, the order of series, and the geometry of slices."""


def keywords_read(rules: Iterable[Rule]) -> frozenset[str]:
    """Return every keyword that a decision by these rules may read."""
    return READ_ALWAYS.union(*map(_of_rule, rules))


def _of_rule(rule: Rule) -> Iterator[str]:
    yield from (condition.keyword for condition in rule.match)
    for slot in rule.inputs:
        yield from (condition.keyword for condition in slot.match)
        if Preference.NEWEST in slot.prefer:
            yield from _AGE
        if slot.prior is not None:
            yield from slot.prior.same
    if rule.when:
        from dicom_node.config.expressions import compile_when  # noqa: PLC0415 - the engine takes 20 MB; most rules have no `when`

        yield from compile_when(rule.when).keywords
