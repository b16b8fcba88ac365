"""What the answer to a STOW-RS request says of each instance, and what its HTTP status says of those that it does not name. Pure.

Source: PS3.18 10.5.3 and I.2; PS3.19 A.1 for the XML form.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from xml.etree import ElementTree

from dicom_node.delivery.outcomes import Outcome, Verdict, outcome_from_status

_STORED, _FAILED, _OTHER = "00081199", "00081198", "0008119A"
_UID, _FAILURE, _WARNING, _COMMENT = "00081155", "00081197", "00081196", "00000902"
_DUPLICATE, _PROCESSING_FAILURE = 0x0111, 0x0110
NO_SUCH_SYNTAX = 0xC122
"""FailureReason of an instance whose transfer syntax is not taken; PS3.18 I.2."""
_ALREADY_THERE = 0xB00E
"""FailureReason of Microsoft's server for an instance that it has already."""


class AnswerError(ValueError):
    """The answer is no response data set: the page of a proxy, or broken."""


class Unnamed(StrEnum):
    """What becomes of an instance that the answer does not name and that was alone in its request."""

    STORED = "stored"
    RETRY = "retry"
    REFUSED = "refused"
    LATER = "later"
    """It is the destination's fault: the sender waits, and its circuit breaker counts."""


@dataclass(frozen=True, slots=True)
class Named:
    """What an answer says of one instance.

    Attributes:
        code: WarningReason or FailureReason; None without.
        comment: Error Comment, which may be about the patient.
    """

    code: int | None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class StoreAnswer:
    """A response data set.

    Attributes:
        stored: Referenced SOP Sequence, by SOP Instance UID.
        failed: Failed SOP Sequence, by SOP Instance UID.
        others: Other Failures Sequence: instances whose UIDs the server could not read.
    """

    stored: Mapping[str, Named]
    failed: Mapping[str, Named]
    others: tuple[Named, ...] = ()


NOTHING_NAMED = StoreAnswer({}, {})


def read_answer(body: bytes, media_type: str) -> StoreAnswer:
    """Read a response data set in JSON or XML; one without content names nothing.

    Raises:
        AnswerError: it is neither.
    """
    if not body.strip():
        return NOTHING_NAMED
    try:
        data_set = _from_xml(body) if "xml" in media_type.lower() else json.loads(body)
        if isinstance(data_set, list):
            data_set = data_set[0] if data_set else {}
        items = {tag: list(_items(data_set, tag)) for tag in (_STORED, _FAILED, _OTHER)}
        failed = {uid: _named(item, _FAILURE) for item in items[_FAILED] if (uid := _text(item, _UID))}
        stored = {uid: _named(item, _WARNING) for item in items[_STORED] if (uid := _text(item, _UID)) and uid not in failed}
        nameless = [item for item in items[_FAILED] if not _text(item, _UID)]
        return StoreAnswer(stored, failed, tuple(_named(item, _FAILURE) for item in (*items[_OTHER], *nameless)))
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError, ElementTree.ParseError) as error:
        raise AnswerError(f"the answer is no DICOM data set in JSON or XML ({type(error).__name__})") from error


def outcomes(answer: StoreAnswer, uids: Sequence[str]) -> dict[str, Outcome]:
    """Return what became of the instances that an answer names.

    An only instance that is not named counts as the one of Other Failures Sequence, if that has one.
    """
    found = {uid: _of_stored(answer.stored[uid]) for uid in uids if uid in answer.stored}
    found |= {uid: _of_failed(answer.failed[uid]) for uid in uids if uid in answer.failed}
    if len(uids) == 1 and not found and answer.others:
        found[uids[0]] = _of_failed(answer.others[0])
    return found


def unnamed(status: int, *, empty: bool) -> Unnamed:
    """Say what an HTTP status means for an instance that the answer does not name.

    Args:
        status: Of the answer.
        empty: The answer has no body at all.
    """
    if status == 200 and empty:
        return Unnamed.STORED  # PS3.18 table 10.5.3-1: all instances were stored
    if 200 <= status < 300 or status == 500:
        return Unnamed.RETRY
    if status in (400, 406, 409, 413, 415, 422):
        return Unnamed.REFUSED
    return Unnamed.LATER


def outcome_of_unnamed(status: int, what: Unnamed) -> Outcome:
    """Word `unnamed` for an instance that was alone in its request; not for LATER."""
    if what is Unnamed.STORED:
        return Outcome(Verdict.STORED, 0, "by the HTTP status alone: the answer is empty")
    words = {
        413: "the destination takes no request of this size",
        415: "the destination does not take this transfer syntax, or no application/dicom",
    }.get(status, "the answer does not name the object")
    return Outcome(Verdict.RETRY if what is Unnamed.RETRY else Verdict.REFUSED, None, f"HTTP {status}: {words}")


def _of_stored(named: Named) -> Outcome:
    if named.code and 0xB000 <= named.code <= 0xBFFF:
        return outcome_from_status(named.code, named.comment)
    return Outcome(Verdict.STORED, 0, f"stored with warning {named.code:04X}" if named.code else "", named.comment)


def _of_failed(named: Named) -> Outcome:
    if named.code in (_DUPLICATE, _ALREADY_THERE):
        return outcome_from_status(_DUPLICATE, named.comment)
    if not named.code:
        return Outcome(Verdict.RETRY, None, "named as failed without a reason", named.comment)
    if 0xB000 <= named.code <= 0xBFFF:
        return Outcome(Verdict.REFUSED, named.code, f"named as failed with status {named.code:04X}", named.comment)
    if named.code == NO_SUCH_SYNTAX:
        return Outcome(Verdict.REFUSED, named.code, f"status {named.code:04X} (transfer syntax not supported)", named.comment)
    return outcome_from_status(named.code, named.comment)


def _named(item: Mapping[str, Any], tag: str) -> Named:
    code = _text(item, tag)
    return Named(int(code) if code else None, _text(item, _COMMENT))


def _items(data_set: Mapping[str, Any], tag: str) -> Iterator[Mapping[str, Any]]:
    for item in data_set.get(tag, {}).get("Value") or ():
        yield item or {}


def _text(item: Mapping[str, Any], tag: str) -> str:
    values = item.get(tag, {}).get("Value") or ()
    return "" if not values or values[0] is None else str(values[0]).strip(" \0")


def _from_xml(body: bytes) -> dict[str, Any]:
    """Turn the Native DICOM Model into what JSON would say."""
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise AnswerError("XML with a document type is not read: it could unfold to any size")
    return _data_set(ElementTree.fromstring(body))  # noqa: S314 - no entity gets here


def _data_set(element: ElementTree.Element) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in element:
        if _local(one) == "DicomAttribute":
            values: list[Any] = [_data_set(child) for child in one if _local(child) == "Item"]
            values += [child.text for child in one if _local(child) == "Value"]
            found[one.get("tag", "").upper()] = {"Value": values}
    return found


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
