"""A study as routing and inference see it: a frozen revision with its series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from dicom_node.domain.instances import Attributes


class StudyState(StrEnum):
    """Where a study stands."""

    RECEIVING = "RECEIVING"
    CLOSED = "CLOSED"
    HELD = "HELD"
    QUARANTINED = "QUARANTINED"
    """It mixes patients: no model runs, nothing is sent."""
    PRIOR = "PRIOR"
    """Fetched to accompany a later study of the patient; starts nothing by itself."""


class ClosedBecause(StrEnum):
    """What ended a revision."""

    QUIET = "quiet"
    RELEASE = "release"
    SLOTS = "slots"
    EXPECTED_COUNT = "expected_count"
    AVAILABILITY = "availability"
    MAX_WAIT = "max_wait"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class StudyInstance:
    """One instance of a revision.

    Attributes:
        attributes: Elements of this instance merged over those of its series.
    """

    sop_instance_uid: str
    sop_class_uid: str
    path: Path
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Series:
    """The instances of one series that belong to a revision, ordered by arrival."""

    series_instance_uid: str
    instances: tuple[StudyInstance, ...]


@dataclass(frozen=True, slots=True)
class Study:
    """One revision of a study; later instances open the next revision and never change this one.

    Attributes:
        revision: 1 for the first.
        calling_ae_titles: Every AE that sent part of it.
        called_ae_titles: Every title of the node that received part of it.
    """

    study_instance_uid: str
    revision: int
    closed_at: datetime
    closed_because: ClosedBecause
    calling_ae_titles: tuple[str, ...]
    series: tuple[Series, ...]
    called_ae_titles: tuple[str, ...] = ()


HeaderColumn: TypeAlias = tuple[tuple[tuple[str, ...] | None, ...], tuple[int, ...] | None]
"""What the instances of a series hold for one keyword: the distinct values (None: absent), and which of them each instance has.

Without the second all instances have the only value, or each has its own.
"""


@dataclass(frozen=True, slots=True)
class SeriesColumns:
    """The headers of a series by keyword."""

    series_instance_uid: str
    instances: int
    columns: Mapping[str, HeaderColumn]


@dataclass(frozen=True, slots=True)
class StudyColumns:
    """A revision of a study as `Study`, its headers by keyword; instances are told by their position in their series."""

    study_instance_uid: str
    revision: int
    closed_at: datetime
    closed_because: ClosedBecause
    calling_ae_titles: tuple[str, ...]
    series: tuple[SeriesColumns, ...]
    called_ae_titles: tuple[str, ...]
