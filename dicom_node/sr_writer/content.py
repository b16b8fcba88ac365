"""What a report says, before any form: every object that carries text or figures is made from this tree."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from dicom_node.domain.results import Code, RegionKind
from dicom_node.sr_writer.source import ImageReference

Point3 = tuple[float, float, float]
_DECIMALS = 4
_DECIMALS_OF_PERCENT = 2


class Outcome(StrEnum):
    """How the run ended."""

    FOUND = "found"
    NO_FINDING = "no finding"
    NOT_ANALYSED = "not analysed"


class SentenceKind(StrEnum):
    """What a sentence is about."""

    OUTCOME = "outcome"
    STAGE = "stage"
    REPLACES = "replaces"
    WARNING = "warning"
    INTENDED_USE = "intended use"
    RANGE = "range"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence in the language of the report."""

    kind: SentenceKind
    text: str


@dataclass(frozen=True, slots=True)
class Number:
    """One measured value.

    Attributes:
        value: NaN or infinite says that it could not be measured.
        unit: UCUM.
    """

    label: str
    concept: Code
    value: float
    unit: Code
    derivation: Code | None = None
    reference_range: str = ""

    @property
    def written(self) -> float | None:
        """The value as coded forms write it, to four decimals; None if it could not be measured."""
        return round(self.value, _DECIMALS) if math.isfinite(self.value) else None


@dataclass(frozen=True, slots=True)
class Answer:
    """A qualitative answer."""

    label: str
    concept: Code
    value: Code


@dataclass(frozen=True, slots=True)
class Outline:
    """A point or line on one frame.

    Attributes:
        index: Of the frame in the source, from 0.
        points_px: (column, row) pairs; (0, 0) is the top left corner of the top left pixel.
    """

    image: ImageReference
    index: int
    kind: RegionKind
    points_px: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is; one of the ways is filled, or both that mean the same.

    Attributes:
        segment_number: In the segmentation of the same result set; 0 if it is no segment.
        outlines: Points and lines on frames.
        polygons_lps_mm: The same lines in the patient, closed, one per slice; empty if they have no place there.
        frame_of_reference_uid: Of the polygons.
        text: The place in words, in the language of the report.
    """

    segment_number: int = 0
    outlines: tuple[Outline, ...] = ()
    polygons_lps_mm: tuple[tuple[Point3, ...], ...] = ()
    frame_of_reference_uid: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """What belongs to one thing: the whole result, a segment, a finding, or an answer with its score.

    Attributes:
        tracking_id: Tracking Identifier, the same in every object of the result set.
        label: How people call it.
        certainty: 0 to 1; None if there is none.
        images: Frames that it is about, if it has no place.
        is_finding: A detection or class, as against what the whole result or a segment measures.
    """

    tracking_id: str
    tracking_uid: str
    label: str
    finding: Code
    site: Code | None
    numbers: tuple[Number, ...] = ()
    answers: tuple[Answer, ...] = ()
    certainty: float | None = None
    place: Place | None = None
    images: tuple[ImageReference, ...] = ()
    is_finding: bool = False

    @property
    def certainty_percent(self) -> float | None:
        """The certainty as coded forms write it, 0 to 100.

        What a network gives is a certainty of its own and no probability in the population.
        """
        return None if self.certainty is None else round(100 * self.certainty, _DECIMALS_OF_PERCENT)


CERTAINTY = Code("111012", "DCM", "Certainty of Finding")
PERCENT = Code("%", "UCUM", "Percent")


@dataclass(frozen=True, slots=True)
class Content:
    """The report.

    Attributes:
        title: In the language of the report.
        language: RFC 5646 tag.
        procedure: Procedure reported, from CID 100.
        library: Indices into the source's headers: instances that the image library describes.
        groups: The whole result first.
        sentences: To be read beside the figures, the most important first.
        key_images: Frames that show a finding.
    """

    title: str
    language: str
    outcome: Outcome
    procedure: Code
    library: tuple[int, ...]
    groups: tuple[Group, ...]
    sentences: tuple[Sentence, ...]
    key_images: tuple[ImageReference, ...]

    @property
    def findings(self) -> tuple[Group, ...]:
        """The groups that are findings."""
        return tuple(group for group in self.groups if group.is_finding)
