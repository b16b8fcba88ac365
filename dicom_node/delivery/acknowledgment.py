"""HL7 v2 acknowledgments: what an answer to a message says, and what that means for its delivery. Pure.

Source: HL7 2.5.1 2.9 (acknowledgments), 2.15.8 (MSA), 2.15.5 (ERR), tables 0008, 0357 and 0516.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dicom_node.delivery.outcomes import Outcome, Verdict

ACCEPTED = ("AA", "CA")
ERRORS = ("AE", "CE")
REJECTED = ("AR", "CR")
CODES: Mapping[str, tuple[Verdict, str]] = {
    "100": (Verdict.REFUSED, "segment sequence error"),
    "101": (Verdict.REFUSED, "required field missing"),
    "102": (Verdict.REFUSED, "data type error"),
    "103": (Verdict.REFUSED, "table value not found"),
    "200": (Verdict.REFUSED, "unsupported message type"),
    "201": (Verdict.REFUSED, "unsupported event code"),
    "202": (Verdict.REFUSED, "unsupported processing id"),
    "203": (Verdict.REFUSED, "unsupported version id"),
    "204": (Verdict.REFUSED, "unknown key identifier: it knows no such patient or order"),
    "205": (Verdict.REFUSED, "duplicate key identifier: it has this already"),
    "206": (Verdict.RETRY, "application record locked"),
    "207": (Verdict.RETRY, "application internal error"),
}
"""What an error code of table 0357 means; others are read by the acknowledgment code alone."""
_LESSER = ("W", "I")


class NoAcknowledgmentError(ValueError):
    """What came is no HL7 acknowledgment."""


@dataclass(frozen=True, slots=True)
class Acknowledgment:
    """An answer.

    Attributes:
        code: MSA-1: AA, AE, AR, or CA, CE, CR of an accept acknowledgment.
        control_id: MSA-2: of the message that it is about.
        errors: Error codes, those of warnings and information left out.
        text: What the receiver says, which may be about the patient: never logged.
    """

    code: str
    control_id: str
    errors: tuple[str, ...] = ()
    text: str = ""


def read_acknowledgment(content: bytes) -> Acknowledgment:
    """Read an answer, without transport framing.

    Raises:
        NoAcknowledgmentError: it has no MSH, no MSA, or an unknown code.
    """
    segments = [s for s in content.decode("utf-8", "replace").replace("\r\n", "\r").replace("\n", "\r").split("\r") if s.strip()]
    header = segments[0] if segments else ""
    if not header.startswith("MSH") or len(header) < 8:
        raise NoAcknowledgmentError("no MSH segment at its beginning")
    separator, component = header[3], header[4]
    rows = [segment.split(separator) for segment in segments]
    acknowledged = next((row for row in rows if row[0] == "MSA"), None)
    if acknowledged is None:
        raise NoAcknowledgmentError("no MSA segment")
    code, control_id, text = (_at(acknowledged, number).strip() for number in (1, 2, 3))
    if code not in (*ACCEPTED, *ERRORS, *REJECTED):
        raise NoAcknowledgmentError("no acknowledgment code in MSA-1")
    errors = [_at(acknowledged, 6).split(component)[0]]
    for row in rows:
        if row[0] == "ERR" and _at(row, 4) not in _LESSER:
            errors += [_at(row, 3).split(component)[0], _code_of_location(_at(row, 1), header[4], header[7])]
            text = text or _at(row, 8).strip() or _at(row, 7).strip()
    return Acknowledgment(code, control_id, tuple(dict.fromkeys(e.strip() for e in errors if e.strip())), text)


def outcome_of(acknowledgment: Acknowledgment) -> Outcome:
    """Say what an answer means.

    AA and CA: stored. An error code of `CODES` decides, the final one among several. Without one, AE and CE are final, since they are
    about the content of the message; AR and CR are tried again, since the receiver did not get to read it.
    """
    code, comment = acknowledgment.code, acknowledgment.text
    if code in ACCEPTED:
        return Outcome(Verdict.STORED, 0, "", comment)
    known = [(*CODES[error], error) for error in acknowledgment.errors if error in CODES]
    chosen = next((one for one in known if one[0] is Verdict.REFUSED), known[0] if known else None)
    if chosen is not None:
        verdict, words, error = chosen
        return Outcome(verdict, None, f"answered {code}, {error} ({words})", comment)
    verdict = Verdict.REFUSED if code in ERRORS else Verdict.RETRY
    return Outcome(verdict, None, f"answered {code} ({'error' if code in ERRORS else 'rejected'}) without a known error code", comment)


def control_id_of(content: bytes) -> str:
    """Return MSH-10 of a message; empty if it is none."""
    fields = content.split(b"\r", 1)[0].split(content[3:4] or b"|")
    return fields[9].decode("utf-8", "replace") if content.startswith(b"MSH") and len(fields) > 9 else ""


def _at(row: list[str], number: int) -> str:
    return row[number] if number < len(row) else ""


def _code_of_location(field: str, component: str, sub_component: str) -> str:
    """Read ERR-1 as versions before 2.5 have it: the code is the fourth component."""
    parts = field.split(component)
    return parts[3].split(sub_component)[0] if len(parts) > 3 else ""
