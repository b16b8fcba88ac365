"""What the completion of a study may have to ask an archive."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class CountQuestion:
    """How many instances has the study?

    Attributes:
        source: Name of the query source that is asked.
        fetch_from: Query source that the missing ones shall be fetched from if the answer is more than `arrived`; empty: nothing is.
        arrived: Instances of the study that the node has, its own results left out.
        asked_at: UTC.
    """

    study_instance_uid: str
    rule: str
    source: str
    fetch_from: str
    arrived: int
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class CountAnswer:
    """What the archive said.

    Attributes:
        instances: Of the study, the node's own results left out; None: the archive does not know, or did not answer.
    """

    question: CountQuestion
    instances: int | None
    answered_at: datetime
