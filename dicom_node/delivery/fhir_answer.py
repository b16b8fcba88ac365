"""What the answer to a FHIR transaction says, and what that means for its delivery. Pure.

Source: FHIR http.html (status codes, transaction), operationoutcome.html.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from dicom_node.delivery.outcomes import Outcome, Verdict
from dicom_node.delivery.retry_after import retry_after_s

_LONGEST_WAIT_S = 86_400.0
_MOST_ISSUES = 5


class Meaning(StrEnum):
    """What a status means when the transaction was not carried out."""

    REFUSED = "refused"
    RETRY = "retry"
    LATER = "later"
    """It is the destination's fault: the sender waits, and its circuit breaker counts."""


STATUSES: Mapping[int, tuple[Meaning, str, str]] = {
    400: (Meaning.REFUSED, "it cannot read the bundle", ""),
    401: (Meaning.LATER, "it wants to know who this node is", "look at token_file, or username and password_file, of the destination"),
    403: (Meaning.LATER, "it does not let this node write", "ask its administrator for the right to post transactions"),
    404: (Meaning.LATER, "no FHIR service base there", "check url of the destination"),
    405: (Meaning.LATER, "no transactions there", "check url of the destination: it is the service base"),
    406: (Meaning.REFUSED, "it does not answer in JSON", ""),
    408: (Meaning.RETRY, "it waited too long for the request", ""),
    409: (Meaning.REFUSED, "conflict with what it has", ""),
    410: (Meaning.REFUSED, "a resource is gone", ""),
    412: (Meaning.REFUSED, "several resources have an identifier that must be unique", ""),
    413: (Meaning.REFUSED, "the bundle is too large for it", ""),
    415: (Meaning.REFUSED, "it does not take FHIR JSON", ""),
    422: (Meaning.REFUSED, "the bundle breaks its rules", ""),
    429: (Meaning.RETRY, "it wants fewer requests", ""),
    500: (Meaning.RETRY, "error of the server", ""),
    502: (Meaning.LATER, "nobody behind the gateway", ""),
    503: (Meaning.LATER, "not available now", ""),
    504: (Meaning.LATER, "no answer behind the gateway", ""),
    507: (Meaning.LATER, "it is full", ""),
}
_ISSUES = frozenset(
    re.findall(
        r"\S+",
        """invalid structure required value invariant security login unknown expired forbidden suppressed
processing not-supported duplicate multiple-matches not-found deleted too-long code-invalid
extension too-costly business-rule conflict limited-filter transient lock-error no-store exception
timeout incomplete throttled informational success""",
    )
)
"""Issue types of OperationOutcome; a server's own words stay out of reasons, since they may quote the patient."""


def meaning_of(status: int) -> tuple[Meaning, str, str]:
    """Return what a status means, in words, and what to do about it."""
    if status in STATUSES:
        return STATUSES[status]
    if 300 <= status < 400:
        return Meaning.LATER, "it answers from elsewhere", "put the final address into url of the destination"
    return (Meaning.REFUSED, "not taken", "") if 400 <= status < 500 else (Meaning.LATER, "error of the server", "")


def outcome_of_success(body: bytes, entries: int) -> Outcome:
    """Read the answer to a transaction that was carried out.

    Args:
        body: Of the response; only a transaction-response that names a success for each entry counts.
        entries: How many the transaction had.
    """
    answer = read_json(body)
    found = answer.get("entry")
    if answer.get("resourceType") != "Bundle" or answer.get("type") != "transaction-response" or not isinstance(found, list):
        return Outcome(Verdict.RETRY, None, "answered with success, but not with a transaction-response: is url the service base?")
    statuses = [_status(one) for one in found]
    failed = [status for status in statuses if not status.startswith("2")]
    if failed or len(statuses) != entries:
        words = f"{len(failed)} of {entries} entries failed ({', '.join(dict.fromkeys(failed)) or 'entries are missing'})"
        return Outcome(Verdict.REFUSED, None, f"answered with success, but {words}")
    return Outcome(Verdict.STORED, 0, "")


def issues_of(body: bytes) -> tuple[str, str]:
    """Return the issue types of an OperationOutcome, and what the server says, which may be about the patient."""
    found = read_json(body).get("issue")
    issues = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    types = [code for one in issues[:_MOST_ISSUES] if isinstance(code := one.get("code"), str) and code in _ISSUES]
    said = (str(text) for one in issues for text in (one.get("diagnostics"), _concept_text(one.get("details"))) if text)
    return ", ".join(dict.fromkeys(types)), next(said, "")


def reason_of_failure(status: int, body: bytes) -> tuple[str, str]:
    """Word a failure by status and issue types, and return the server's own words beside it."""
    types, said = issues_of(body)
    return f"HTTP {status}: {meaning_of(status)[1]}{f' ({types})' if types else ''}", said


def wait_of(header: str, now: datetime) -> float:
    """Read Retry-After, in seconds; 0 if it says nothing."""
    return min(max(retry_after_s(header, now) or 0.0, 0.0), _LONGEST_WAIT_S)


def read_json(body: bytes) -> dict[str, Any]:
    """Read an object; empty if the body is none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _status(entry: object) -> str:
    response = entry.get("response") if isinstance(entry, dict) else None
    status = str(response.get("status", "")) if isinstance(response, dict) else ""
    return status[:3] if status[:3].isdecimal() else "none"


def _concept_text(details: object) -> object:
    return details.get("text") if isinstance(details, dict) else None
