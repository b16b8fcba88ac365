"""What came of one attempt at a notice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from dicom_node.delivery.outcomes import Verdict


@dataclass(frozen=True, slots=True)
class Told:
    """One attempt.

    Attributes:
        verdict: STORED: everybody that can be reached this way has it.
        reason: In words; no addresses and no patient data, so it may be logged.
        taken: Addresses whose mail server took it.
        refused: Addresses that were refused for good, with what the server said: not for logs.
        retry_after: The receiver asked to be left alone for so long.
    """

    verdict: Verdict
    reason: str
    taken: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    retry_after: timedelta | None = None
