"""Who brings instances at one go: an association, a STOW-RS request, an import."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Visit:
    """What is known of one of them.

    Attributes:
        name: Unique on the node.
        study_instance_uids: Studies that it brought part of.
        ended_at: None while it is open.
        released: It ended as its peer meant it to; an abort, a broken connection or a killed receiver is no release.
    """

    name: str
    study_instance_uids: frozenset[str]
    ended_at: datetime | None = None
    released: bool = False
