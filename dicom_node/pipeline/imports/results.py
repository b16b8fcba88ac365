"""What became of each file of an import."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Outcome(StrEnum):
    """The three ends of a file."""

    STORED = "stored"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Result:
    """One file, one member of an archive, or one file that a DICOMDIR lists and nobody finds.

    Attributes:
        source: The file on disk that was read.
        outcome: Skipped is what is no image and was not meant to be one.
        reason: Why it was not stored; empty if it was.
        member: Name within an archive or a DICOMDIR, unprintable characters replaced; empty for a file of its own.
        retryable: It may work later without a person, for example with free space.
    """

    source: Path
    outcome: Outcome
    reason: str = ""
    member: str = ""
    retryable: bool = False

    @property
    def name(self) -> str:
        """Name for people."""
        shown = printable(str(self.source))
        return f"{shown}: {self.member}" if self.member else shown


def printable(text: str) -> str:
    """Replace what a terminal would obey instead of show."""
    return "".join(c if c.isprintable() else "?" for c in text)
