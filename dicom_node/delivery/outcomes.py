"""What a C-STORE status means for a delivery, and when to try again. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

NOT_SUPPORTED = 0x0122
"""SOP class not supported: also noted when no presentation context was accepted."""
_DUPLICATE = 0x0111
_TRY_AGAIN = frozenset({0x0110, 0x0210, 0x0211, 0x0212, 0x0213})
_LONGEST_COMMENT = 64
_MEANINGS = {
    0x0110: "processing failure",
    _DUPLICATE: "the destination has this instance already",
    0x0117: "invalid SOP instance",
    NOT_SUPPORTED: "SOP class not supported",
    0x0124: "not authorized: this node may not store there",
    0x0210: "duplicate invocation",
    0x0211: "unrecognized operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0xB000: "stored, elements were coerced",
    0xB006: "stored, elements were discarded",
    0xB007: "stored, data set does not match SOP class",
}
_RANGES = (
    (0xA700, 0xA7FF, "out of resources"),
    (0xA900, 0xA9FF, "data set does not match SOP class"),
    (0xB000, 0xBFFF, "stored with a warning"),
    (0xC000, 0xCFFF, "cannot understand"),
)


class Verdict(StrEnum):
    """What becomes of the delivery."""

    STORED = "stored"
    RETRY = "retry"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one attempt.

    Attributes:
        status: C-STORE status, or None when no response came.
        reason: In words; no patient data.
        comment: What the destination said with it, cut to 64 characters; it may be about the patient: never logged.
        wait_s: For how long the destination wants to be left alone, seconds; read with RETRY.
    """

    verdict: Verdict
    status: int | None
    reason: str
    comment: str = ""
    wait_s: float = 0.0

    def __post_init__(self) -> None:
        """Cut the comment, whoever made it."""
        object.__setattr__(self, "comment", self.comment[:_LONGEST_COMMENT])


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off with jitter, so that many deliveries do not return at the same moment."""

    first: timedelta
    factor: float
    longest: timedelta

    def delay(self, attempt: int) -> timedelta:
        """Return the wait after failed attempt number `attempt` (from 1), between 75 and 100 % of the nominal."""
        nominal = min(self.first.total_seconds() * self.factor ** min(attempt - 1, 60), self.longest.total_seconds())
        return timedelta(seconds=nominal * (0.75 + 0.25 * random.random()))  # noqa: S311 - jitter, no secret


@dataclass(frozen=True, slots=True)
class Patience:
    """When a delivery is given up.

    Attributes:
        max_attempts: 0 is no limit.
    """

    max_attempts: int
    max_age: timedelta

    def given_up(self, attempts: int, age: timedelta) -> str:
        """Say why a delivery that failed so often and is owed for so long is given up; nothing while it is not."""
        if self.max_attempts and attempts >= self.max_attempts:
            return f"given up after {attempts} attempts"
        if age >= self.max_age:
            return f"given up after {age.total_seconds() / 3600:.1f} h and {attempts} attempts"
        return ""


def outcome_from_status(status: int, comment: str = "") -> Outcome:
    """Read a C-STORE response.

    0000 and Bxxx mean stored; 0111 means that the object is there already. Out of resources (A7xx) and processing failures
    pass, so they are tried again. Everything else will be answered the same tomorrow and needs a person.

    Source: PS3.4 B.2.3, PS3.7 Annex C.
    """
    words = words_for(status)
    if status == 0 or 0xB000 <= status <= 0xBFFF or status == _DUPLICATE:
        return Outcome(Verdict.STORED, status, "" if status == 0 else words, comment)
    if 0xA700 <= status <= 0xA7FF or status in _TRY_AGAIN:
        return Outcome(Verdict.RETRY, status, words, comment)
    return Outcome(Verdict.REFUSED, status, words, comment)


def words_for(status: int) -> str:
    """Name a status by its code and its meaning."""
    meaning = _MEANINGS.get(status) or next((words for low, high, words in _RANGES if low <= status <= high), "")
    return f"status {status:04X}" + (f" ({meaning})" if meaning else "")
