"""What kind of text stands in a box: a harmless label, likely a name or number of a person, or any other text.

Decided by rules over what was read, which then is forgotten. When in doubt a text is the more delicate of two classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from enum import StrEnum
from typing import Final

from dicom_node.domain.instances import Attributes


class TextClass(StrEnum):
    """From the most delicate to the least."""

    IDENTIFYING = "identifying"
    TEXT = "text"
    LABEL = "label"


_IDENTIFIERS: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "OtherPatientIDs",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "AccessionNumber",
    "StudyDate",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "OperatorsName",
    "InstitutionName",
    "InstitutionAddress",
)
_LEAST_LETTERS = 3
_ALIKE_ABOVE = 0.8

_UNITS = "hz khz mhz cm mm m cm2 cm3 ml cc l db fps kv kvp ma mas s ms sec min bpm mmhg m/s cm/s w mw mj mgy mgycm gy hu % ° deg px"
_LABELS = (
    "l r a p h f i s la ra lao rao ap pa lat ll rl lpo rpo sup inf ant post med dist prox left right links rechts "
    "mi ti tis tib tic pwr gn gain gen pen res hres hpen hgen low med high p c m d b thi crd mb mbon mboff on off 2d 3d 4d cf cfm pw "
    "cw dr fr ao freq depth focus zoom frame page map persist wf prf sv te tr ti fov nex acq ser se im img slice thk thickness lut "
    "wl ww w l z x y portable erect supine prone upright stehend liegend axial sagittal coronal obl mean min max area dist diam vol "
    "ctdi ctdivol ctdlvol dlp series"
)
_HARMLESS: Final = frozenset((*_UNITS.split(), *_LABELS.split()))
_ANNOUNCED = re.compile(r"(?i)\b(name|patient|pat|dob|birth|born|geb|mrn|acc|id|nr|ssn|dr|mr|mrs|ms|prof)\b\s*[.:#]")
_DATE = re.compile(r"(?<!\d)(\d{1,4})(?:[./-](\d{1,2})[./-]|[ ./-]*([A-Za-z]{3,9})[ ./-]*)(\d{2,4})(?!\d)")
_MONTHS: Final = re.compile(r"(?i)jan|feb|m[aä]r|mrz|apr|ma[iy]|mei|jun|jul|aug|sep|o[ck]t|nov|de[cz]")
_DIGITS = re.compile(r"\d(?:[ .-]?\d){5,}")
_CODE = re.compile(r"(?=[A-Za-z0-9]*[A-Za-z])(?=(?:[A-Za-z]*\d){4})[A-Za-z0-9]{6,}")
_WORD = re.compile(r"[^\W\d_]{2,}")
_IDEOGRAPHS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_LONG_UNITS = "|".join(sorted((unit for unit in _UNITS.split() if len(unit) > 1), key=len, reverse=True))
_SHORT_UNITS = "|".join(unit for unit in _UNITS.split() if len(unit) == 1)
_QUANTITY = re.compile(rf"(?<![\d.])\d{{1,4}}(?:[.,]\d{{1,3}})?\s*(?:(?i:{_LONG_UNITS})(?![a-z])|(?i:{_SHORT_UNITS})(?![A-Za-z]))")
"""A number with its unit; readers lose the spaces between several."""
_TOKEN = re.compile(r"[^\W\d_]+|\d+(?:[.,:/]\d+)*|%|°")


def text_class(text: str, attributes: Attributes) -> TextClass:
    """Decide the class of a text.

    Args:
        text: As read; patient data, of which nothing but the class is given back.
        attributes: Header of the instance; a text like one of its identifying elements is identifying.
    """
    if _is_in_header(text, attributes) or _is_number_of_a_person(text):
        return TextClass.IDENTIFYING
    if _is_label(text):
        return TextClass.LABEL
    if len(_IDEOGRAPHS.findall(text)) >= 2:  # a name needs no more
        return TextClass.IDENTIFYING
    unknown = [word for word in _WORD.findall(_QUANTITY.sub(" ", text)) if word.casefold() not in _HARMLESS]
    named = len(unknown) >= 2 or bool(re.search(r"[^\W\d_]{2,}\s*[,^]\s*[^\W\d_]", text))
    return TextClass.IDENTIFYING if named else TextClass.TEXT


def _is_number_of_a_person(text: str) -> bool:
    if _ANNOUNCED.search(text) or any(_is_date(match) for match in _DATE.finditer(text)):
        return True
    rest = _QUANTITY.sub(" ", text)
    return bool(_DIGITS.search(rest) or _CODE.search(rest))


def _is_date(match: re.Match[str]) -> bool:
    """A date has a year of four digits or a month by name, or is written with two digits each; `3/3/4` is a setting."""
    first, _, month, last = match.groups()
    if month:
        return bool(_MONTHS.match(month))
    return len(first) == 4 or len(last) == 4 or (len(last) == 2 and len(first) == 2)


def _is_label(text: str) -> bool:
    """Every part is a known abbreviation, a unit or a short number."""
    tokens = _TOKEN.findall(_QUANTITY.sub(" ", text))
    if not tokens:
        return len(text) <= 2 or _QUANTITY.search(text) is not None
    return all(token.casefold() in _HARMLESS or (token.isascii() and (token[0].isdigit() or len(token) == 1)) for token in tokens)


def _is_in_header(text: str, attributes: Attributes) -> bool:
    seen = _folded(text)
    if len(seen) < _LEAST_LETTERS:
        return False
    return any(_alike(seen, known) for known in _identifying_parts(attributes))


def _identifying_parts(attributes: Attributes) -> Iterable[str]:
    for keyword in _IDENTIFIERS:
        for value in attributes.get(keyword, ()):
            for part in (value, *re.split(r"[\s^=,]+", value)):
                folded = _folded(part)
                if len(folded) >= _LEAST_LETTERS:
                    yield folded


def _alike(seen: str, known: str) -> bool:
    """Say whether a known text stands in what was seen, up to what a reader mistakes."""
    if known in seen:
        return True
    if len(known) <= _LEAST_LETTERS + 1 or len(seen) < len(known) - 1:
        return False
    windows = (seen[i : i + len(known)] for i in range(max(1, len(seen) - len(known) + 1)))
    return any(SequenceMatcher(None, window, known, autojunk=False).ratio() > _ALIKE_ABOVE for window in windows)


def _folded(text: str) -> str:
    """Letters and digits alone, small, with what readers mistake for each other made one."""
    kept = "".join(c for c in text.casefold() if c.isalnum())
    return kept.translate(str.maketrans("oilsbzg", "0115829"))
