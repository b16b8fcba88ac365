"""What a C-STORE status means for a delivery, and when to try again. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

_DUPLICATE = 0x0111
_TRY_AGAIN = frozenset({0x0110, 0x0210, 0x0211, 0x0212, 0x0213})


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
    """

    verdict: Verdict
    status: int | None
    reason: str


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


def outcome_from_status(status: int, comment: str = "") -> Outcome:
    """Read a C-STORE response.

    0000 and Bxxx mean stored; 0111 means that the object is there already. Out of resources (A7xx) and processing failures
    pass, so they are tried again. Everything else will be answered the same tomorrow and needs a person.

    Source: PS3.4 B.2.3, PS3.7 Annex C.
    """
    words = f"status {status:04X}" + (f" {comment}" if comment else "")
    if status == 0 or 0xB000 <= status <= 0xBFFF or status == _DUPLICATE:
        return Outcome(Verdict.STORED, status, "" if status == 0 else words)
    if 0xA700 <= status <= 0xA7FF or status in _TRY_AGAIN:
        return Outcome(Verdict.RETRY, status, words)
    return Outcome(Verdict.REFUSED, status, words)
