"""Where a header does not meet conditions, in words that name no patient."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date

from pydicom.datadict import dictionary_description
from pydicom.uid import UID

from dicom_node.domain.elements import Element, Kind, element_of
from dicom_node.domain.instances import Attributes
from dicom_node.domain.matching import meets
from dicom_node.domain.rules import Condition, Equals, Matches, Presence, Test, Within
from dicom_node.domain.values import cleaned
from dicom_node.inference.misfit import Misfit, alternatives

_UNITS = {
    "SliceThickness": "mm", "SpacingBetweenSlices": "mm", "PixelSpacing": "mm", "ImagerPixelSpacing": "mm", "EchoTime": "ms",
    "RepetitionTime": "ms", "InversionTime": "ms", "KVP": "kV", "MagneticFieldStrength": "T", "FlipAngle": "degrees",
    "PatientWeight": "kg", "PatientSize": "m", "GantryDetectorTilt": "degrees",
}  # fmt: skip
_OF_THE_PATIENT = ("PatientAge", "PatientSex", "PatientSize", "PatientWeight")
_SHOWN_TEXTS = ("Manufacturer", "ManufacturerModelName", "ConvolutionKernel", "SoftwareVersions")
_SHOWN_UIDS = ("ClassUID", "TransferSyntaxUID")
_SHOWN_VRS = ("CS", "AS", "DS", "IS", "US", "SS", "UL", "SL", "FL", "FD", "US or SS")
_AGE = re.compile(r"0*([0-9]+)([DWMY])")
_AGES = {"D": "day", "W": "week", "M": "month", "Y": "year"}
_DAY = re.compile(r"([0-9]{4})\.?([0-9]{2})\.?([0-9]{2})")
_LONGEST_SHOWN = 64


def header_misfits(attributes: Attributes, conditions: Sequence[Condition]) -> Iterator[Misfit]:
    """Find conditions that a header does not meet.

    Args:
        attributes: Of the first instance.
        conditions: As `config.conditions` reads them.
    """
    for condition in conditions:
        element = element_of(condition.keyword)
        if element is not None and not meets(condition, attributes):
            yield _misfit(element, condition, attributes)


def with_age(attributes: Attributes) -> Attributes:
    """Add Patient's Age where it is missing and birth date and study date tell it; the birth date itself is never shown."""
    if cleaned(attributes.get("PatientAge", ())):
        return attributes
    born, seen = _day(attributes, "PatientBirthDate"), _day(attributes, "StudyDate")
    if born is None or seen is None or seen < born:
        return attributes
    return {**attributes, "PatientAge": (_age(born, seen),)}


def _age(born: date, seen: date) -> str:
    """Write an age as AS does: days in the first month, months in the first two years."""
    months = (seen.year - born.year) * 12 + seen.month - born.month - (seen.day < born.day)
    if months >= 24:
        return f"{min(months // 12, 999):03d}Y"
    return f"{months:03d}M" if months else f"{(seen - born).days:03d}D"


def _day(attributes: Attributes, keyword: str) -> date | None:
    values = cleaned(attributes.get(keyword, ()))
    found = _DAY.fullmatch(values[0]) if values else None
    try:
        return date(int(found[1]), int(found[2]), int(found[3])) if found else None
    except ValueError:
        return None


def _misfit(element: Element, condition: Condition, attributes: Attributes) -> Misfit:
    keyword, name = element.keyword, element_name(element)
    values = cleaned(attributes.get(keyword, ()))
    if not values:
        return Misfit(keyword, f"{name} is not stated", wanted_words(element, condition))
    if condition.presence is Presence.ABSENT:
        return Misfit(keyword, f"{name} is {_seen(element, values) or 'stated'}", "images without it")
    if excluded := _excluded(condition, values):
        seen = _seen(element, excluded)
        return Misfit(keyword, f"{name} is {seen}", "") if seen else Misfit(keyword, f"{name} is one", "", " that")
    return Misfit(keyword, f"{name} is {_seen(element, values) or 'another one'}", wanted_words(element, condition))


def _excluded(condition: Condition, values: Sequence[str]) -> list[str]:
    """List the values that a condition excludes."""
    if not condition.none_of:
        return []
    only = Condition(condition.keyword, none_of=condition.none_of)
    return [value for value in values if not meets(only, {condition.keyword: (value,)})]


def _seen(element: Element, values: Sequence[str]) -> str:
    """Show values; empty where they may identify someone."""
    if not _is_shown(element):
        return ""
    text = " and ".join(_value(element, v) for v in values)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _is_shown(element: Element) -> bool:
    if element.tag >> 16 == 0x0010:
        return element.keyword in _OF_THE_PATIENT
    return element.vr in _SHOWN_VRS or element.keyword in _SHOWN_TEXTS or element.keyword.endswith(_SHOWN_UIDS)


def _value(element: Element, text: str) -> str:
    if element.kind is Kind.AGE:
        found = _AGE.fullmatch(text.strip().upper())
        return f"{found[1]} {_AGES[found[2]]}{'' if found[1] == '1' else 's'}" if found else "no readable age"
    if element.kind is Kind.UID:
        return UID(text).name
    unit = _UNITS.get(element.keyword, "")
    return f"{text} {unit}".rstrip()


def wanted_words(element: Element, condition: Condition) -> str:
    """Say what a condition wants, for example `CT or MR, not LOCALIZER`."""
    parts = []
    if condition.presence is Presence.PRESENT:
        parts.append("images that state it")
    if condition.any_of:
        parts.append(alternatives([_test(element, test) for test in condition.any_of]))
    if condition.none_of:
        parts.append("not " + alternatives([_test(element, test) for test in condition.none_of]))
    return ", ".join(parts)


def _test(element: Element, test: Test) -> str:
    if isinstance(test, Equals):
        return _value(element, test.text)
    if isinstance(test, Matches):
        return f"a text like `{test.pattern}`"
    return _range(element, test)


def _range(element: Element, test: Within) -> str:
    low = _value(element, test.low) if test.low is not None else ""
    high = _value(element, test.high) if test.high is not None else ""
    if low and high and test.low_included and test.high_included:
        return f"{low} to {high}"
    parts = []
    if low:
        parts.append(f"{low} or more" if test.low_included else f"more than {low}")
    if high:
        parts.append(f"{high} or less" if test.high_included else f"less than {high}")
    return " and ".join(parts)


def element_name(element: Element) -> str:
    """Name an element as the standard does, for example Patient's Age."""
    return dictionary_description(element.tag) if element.tag else element.keyword
