"""A circuit breaker for each destination: one that cannot be reached is asked by one C-ECHO, not by everything that waits. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from dicom_node.delivery.outcomes import Backoff


@dataclass(frozen=True, slots=True)
class Breaker:
    """Failures in a row of one destination.

    Attributes:
        failures: Associations that failed one after another.
        open_until: Nothing is sent before; then one C-ECHO decides. None while closed.
        reason: Of the last failure; no patient data.
    """

    failures: int = 0
    open_until: datetime | None = None
    reason: str = ""

    def is_open(self, now: datetime) -> bool:
        """Say whether nothing is to be sent, not even a C-ECHO."""
        return self.open_until is not None and now < self.open_until

    def wants_probe(self, now: datetime) -> bool:
        """Say whether it is half open: a C-ECHO has to come first."""
        return self.open_until is not None and now >= self.open_until

    def failed(self, reason: str, now: datetime, *, opens_after: int, backoff: Backoff) -> Breaker:
        """Return the breaker after one more failure."""
        failures = self.failures + 1
        if failures < opens_after:
            return replace(self, failures=failures, reason=reason)
        return Breaker(failures, now + backoff.delay(failures), reason)


CLOSED = Breaker()
