"""The texts of a `match`: what is wanted of one value."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from datetime import date
from importlib import import_module

from pydicom._uid_dict import UID_dictionary

from dicom_node.domain.elements import Element, Kind
from dicom_node.domain.rules import Equals, Matches, Presence, Test, Within
from dicom_node.domain.values import number, span

_LOOKS_LIKE_A_RANGE = re.compile(r"[-+0-9.:DWMY]+\s*\.\.\s*[-+0-9.:DWMY]+")
_UID = re.compile(r"[0-9.]+")
_COMPARISONS = (">=", "<=", ">", "<")
_EXAMPLES = {
    Kind.INTEGER: "a whole number such as 3",
    Kind.DECIMAL: "a number such as 1.5",
    Kind.DATE: "a date such as 20240131 or 2024-01-31",
    Kind.TIME: "a time such as 1830 or 18:30",
    Kind.DATE_TIME: "a date and time such as 20240131183000 or 2024-01-31T18:30",
    Kind.AGE: "an age such as 18Y, 6M, 2W or 3D",
    Kind.UID: "a UID such as 1.2.840.10008.5.1.4.1.1.2",
}
_QUOTES = "write it in quotes"


@dataclass(frozen=True, slots=True)
class Excluded:
    """What no value may pass; `!` in the file."""

    test: Test


def text_of(element: Element, value: object) -> str:
    """Take a value from YAML back to the text that was meant.

    Raises:
        ValueError: YAML may have made something else of it than what stands in the file.
    """
    if isinstance(value, str):
        return value
    if value is None:
        raise ValueError("no value (`~` and nothing are null in YAML): write absent for an element without a value, a text in quotes")
    if isinstance(value, bool):
        raise ValueError(f"YAML reads yes, no, on, off, true and false as a truth value ({str(value).lower()}): {_QUOTES}")
    if isinstance(value, date):
        if element.kind.is_moment:
            return value.isoformat()
        raise ValueError(f"YAML reads it as a date, {element.keyword} holds {_of_vr(element)}: {_QUOTES}")
    if not isinstance(value, int | float):
        raise ValueError("what is wanted is a text, a number, or a list of them")
    if element.kind is Kind.AGE:
        raise ValueError(f"an age has a unit, D, W, M or Y: write {value}Y if years are meant")
    if not math.isfinite(value) or not (element.kind.is_number or element.kind in (Kind.DATE, Kind.DATE_TIME)):
        raise ValueError(
            f"YAML reads it as the number {value}, {element.keyword} holds {_of_vr(element)}, where zeros and points count: {_QUOTES}"
        )
    return str(value)


def parse_text(element: Element, text: str, *, thorough: bool) -> Test | Excluded | Presence:
    """Read one text of a `match`.

    Args:
        element: What is asked; not one that rules cannot see.
        text: As it stands in the file.
        thorough: Ask RE2 whether it takes a pattern.

    Raises:
        ValueError: it means nothing for this element; the message says what is allowed.
    """
    text = unicodedata.normalize("NFC", text.strip(" \t\r\n\0"))
    if text in ("present", "absent"):
        return Presence(text)
    if not text:
        raise ValueError(
            "an empty text: write absent for an element without a value; YAML takes a value that begins with > for a block, quote it"
        )
    if not text.startswith("!"):
        return _test(element, text, thorough=thorough)
    rest = text[1:].strip()
    if rest in ("present", "absent"):
        raise ValueError(f"write {'absent' if rest == 'present' else 'present'} in place of {text}, or '!={rest}' if you mean that text")
    if not rest or rest.startswith("!"):
        raise ValueError(f"{text!r}: one `!` and then what is excluded; write '={text}' if you mean that text")
    return Excluded(_test(element, rest, thorough=thorough))


def _test(element: Element, text: str, *, thorough: bool) -> Test:
    if text.startswith("="):
        return _equals(element, text[1:].strip())
    if text.startswith("~"):
        return _pattern(element, text[1:].strip(), thorough=thorough)
    comparison = next((c for c in _COMPARISONS if text.startswith(c)), "")
    if comparison:
        return _one_sided(element, comparison, text.removeprefix(comparison).strip())
    if ".." in text and (element.kind.has_order or _LOOKS_LIKE_A_RANGE.fullmatch(text)):
        return _two_sided(element, text)
    return _equals(element, text)


def _equals(element: Element, text: str) -> Equals:
    if not text:
        raise ValueError("nothing after `=`: write absent for an element without a value")
    kind = element.kind
    if kind.is_number:
        _check_number(element, text, whole=kind is Kind.INTEGER)
    elif kind.has_order:
        _check_bound(element, text)
    elif kind is Kind.UID and _UID.fullmatch(text) is None:
        known = next((uid for uid, entry in UID_dictionary.items() if text in (entry[0], entry[4])), "")
        raise ValueError(f"{element.keyword} holds a UID, {text!r} is none" + (f": write {known}" if known else _allowed(element)))
    return Equals(text)


def _pattern(element: Element, pattern: str, *, thorough: bool) -> Matches:
    if element.kind.is_number:
        raise ValueError(
            f"a regular expression asks for letters, {element.keyword} holds {_of_vr(element)}, which may be written in many ways: "
            "use a number, a list, or a range such as >=1.5 or 1..3"
        )
    if not pattern:
        raise ValueError("no regular expression after `~`: write present to ask for any value")
    if thorough and (problem := import_module("dicom_node.config.regular_expressions").pattern_problem(pattern)):
        raise ValueError(problem)
    return Matches(pattern)


def _one_sided(element: Element, comparison: str, bound: str) -> Within:
    _check_order(element, comparison + bound)
    _check_bound(element, bound)
    included = comparison.endswith("=")
    if comparison.startswith(">"):
        return Within(bound, None, low_included=included)
    return Within(None, bound, high_included=included)


def _two_sided(element: Element, text: str) -> Within:
    _check_order(element, text)
    low, _, high = (part.strip() for part in text.partition(".."))
    if not low or not high:
        raise ValueError(f"the range {text!r} lacks an end: write >={low or 'LOW'} or <={high or 'HIGH'} for an open one")
    for bound in (low, high):
        _check_bound(element, bound)
    first, last = span(element.kind, low), span(element.kind, high)
    if first and last and first[0] > last[1]:
        hint = f"; over midnight write ['>={low}', '<={high}']" if element.kind is Kind.TIME else ""
        raise ValueError(f"the range {text!r} is empty, {low} is more than {high}{hint}")
    return Within(low, high)


def _check_order(element: Element, text: str) -> None:
    if not element.kind.has_order:
        raise ValueError(
            f"a range makes no sense for {element.keyword}, which holds {_of_vr(element)}: use a value, a list, `!VALUE` or ~REGEX; "
            f"write '={text}' if you mean that text"
        )


def _check_bound(element: Element, text: str) -> None:
    if element.kind.is_number:
        _check_number(element, text, whole=False)
    elif span(element.kind, text) is None:
        raise ValueError(f"{text!r} is no {element.kind.value}, {element.keyword} holds {_of_vr(element)}{_allowed(element)}")


def _check_number(element: Element, text: str, *, whole: bool) -> None:
    value = number(text)
    if value is None or (whole and value != value.to_integral_value()):
        raise ValueError(f"{text!r} is no {element.kind.value}, {element.keyword} holds {_of_vr(element)}{_allowed(element)}")


def _of_vr(element: Element) -> str:
    names = {Kind.TEXT: "text", Kind.NAME: "a person's name", Kind.UID: "a UID", Kind.INTEGER: "whole numbers", Kind.DECIMAL: "numbers"}
    name = names.get(element.kind, f"{element.kind.value}s" if element.kind is not Kind.DATE_TIME else "dates and times")
    return f"{name} (VR {element.vr})"


def _allowed(element: Element) -> str:
    return f": write {_EXAMPLES[element.kind]}" if element.kind in _EXAMPLES else ""
