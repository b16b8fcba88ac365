"""Whether a back end can run on this host."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Availability:
    """The answer for one back end.

    Attributes:
        usable: Whether a session of it can be opened here.
        reason: With which library and devices, or what is missing.
    """

    usable: bool
    reason: str
