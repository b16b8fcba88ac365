"""What the completion of a study may have to ask an archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


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


class CountSource(Protocol):
    """Asks archives in the background.

    Nothing of it needs to survive a restart: whoever waits for an answer asks again.
    """

    def ask(self, question: CountQuestion) -> None:
        """Begin to ask; returns at once. The same question may come again after a while and may then be asked again."""

    def answers(self) -> Sequence[CountAnswer]:
        """Return what was answered since this was called last."""


class NoCounts:
    """A node without query sources: every archive is silent."""

    def ask(self, question: CountQuestion) -> None:
        """See `CountSource`."""

    def answers(self) -> Sequence[CountAnswer]:
        """See `CountSource`."""
        return ()
