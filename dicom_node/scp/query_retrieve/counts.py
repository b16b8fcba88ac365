"""How many instances a source has of a study, by whatever the source is able to say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from dicom_node.domain.instances import Attributes
from dicom_node.domain.sources import QuerySource
from dicom_node.scp.query_retrieve.query import FindQuery, QueryLevel, QueryModel, list_on
from dicom_node.scp.query_retrieve.sources import Proposal, associated

_OF_STUDY, _OF_SERIES = "NumberOfStudyRelatedInstances", "NumberOfSeriesRelatedInstances"


class CountedBy(StrEnum):
    """Where a number comes from: the study's attribute, those of its series, or listing every instance of a series without."""

    STUDY_ATTRIBUTE = "NumberOfStudyRelatedInstances"
    SERIES_ATTRIBUTE = "NumberOfSeriesRelatedInstances"
    LISTED = "IMAGE level"


@dataclass(frozen=True, slots=True)
class SeriesCount:
    """Instances of one series at a source."""

    series_instance_uid: str
    modality: str
    instances: int


@dataclass(frozen=True, slots=True)
class InstanceCount:
    """Instances of one study at a source, our own results among them.

    Attributes:
        series: Per series, or empty if the source gave the number of the study at once.
    """

    instances: int
    counted_by: CountedBy
    series: tuple[SeriesCount, ...] = ()


Ask: TypeAlias = Callable[[FindQuery], Sequence[Attributes]]
"""Asks a source, by whatever it speaks, for every match."""


@dataclass(frozen=True, slots=True)
class ListedInstance:
    """An instance at a source; `sop_class_uid` is empty if the source does not say it."""

    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str


def count_instances(calling_ae_title: str, source: QuerySource, study_instance_uid: str) -> InstanceCount:
    """Count a study's instances at a Query/Retrieve SCP; see `counted`.

    Raises:
        SourceError: as `find` does.
    """
    with associated(calling_ae_title, source, Proposal(QueryModel.STUDY_ROOT)) as association:
        return counted(lambda query: list_on(association, source, query), study_instance_uid)


def count_series(calling_ae_title: str, source: QuerySource, study_instance_uid: str) -> InstanceCount:
    """Count as `count_instances` does, but always series by series, so that a caller can leave some out."""
    with associated(calling_ae_title, source, Proposal(QueryModel.STUDY_ROOT)) as association:
        return counted_by_series(lambda query: list_on(association, source, query), study_instance_uid)


def counted(ask: Ask, study_instance_uid: str) -> InstanceCount:
    """Count a study's instances at a source.

    Number of Study Related Instances (0020,1208) is optional for an SCP, and DCMTK's archive leaves it out. The count is then
    the sum of Number of Series Related Instances (0020,1209) or, where that is missing too, of what the IMAGE level lists.

    Returns:
        0 instances if the source does not know the study.

    Raises:
        SourceError: as `ask` does.
    Source: PS3.4 tables C.6-5, C.6-6.
    """
    found = ask(FindQuery(QueryLevel.STUDY, {"StudyInstanceUID": study_instance_uid}, (_OF_STUDY,)))
    numbers = [_number(match, _OF_STUDY) for match in found]
    known = [number for number in numbers if number is not None]
    if len(known) == len(numbers):
        return InstanceCount(sum(known), CountedBy.STUDY_ATTRIBUTE)
    return counted_by_series(ask, study_instance_uid)


def counted_by_series(ask: Ask, study_instance_uid: str) -> InstanceCount:
    """Count series by series, by their own number or by listing."""
    study = {"StudyInstanceUID": study_instance_uid}
    counted_by, counts = CountedBy.SERIES_ATTRIBUTE, []
    for match in ask(FindQuery(QueryLevel.SERIES, study, ("SeriesInstanceUID", "Modality", _OF_SERIES))):
        series_uid = _first(match, "SeriesInstanceUID")
        if _number(match, _OF_SERIES) is None:
            counted_by = CountedBy.LISTED
        counts.append(SeriesCount(series_uid, _first(match, "Modality"), instances_of_series(ask, study_instance_uid, match)))
    return InstanceCount(sum(c.instances for c in counts), counted_by, tuple(counts))


def instances_of_series(ask: Ask, study_instance_uid: str, match: Attributes) -> int:
    """Count the instances of one series.

    Args:
        ask: Asks the source.
        study_instance_uid: Its study.
        match: What the source answered at SERIES level.
    """
    number = _number(match, _OF_SERIES)
    return len(_listed(ask, study_instance_uid, _first(match, "SeriesInstanceUID"))) if number is None else number


def listed_instances(ask: Ask, study_instance_uid: str) -> tuple[ListedInstance, ...]:
    """List a study's instances series by series, since hierarchical queries need the Series Instance UID. Source: PS3.4 C.4.1.2.1."""
    study = {"StudyInstanceUID": study_instance_uid}
    series = ask(FindQuery(QueryLevel.SERIES, study, ("SeriesInstanceUID",)))
    return tuple(i for match in series for i in _listed(ask, study_instance_uid, _first(match, "SeriesInstanceUID")))


def _listed(ask: Ask, study_instance_uid: str, series_instance_uid: str) -> list[ListedInstance]:
    keys = {"StudyInstanceUID": study_instance_uid, "SeriesInstanceUID": series_instance_uid}
    images = ask(FindQuery(QueryLevel.IMAGE, keys, ("SOPInstanceUID", "SOPClassUID")))
    return [ListedInstance(series_instance_uid, _first(i, "SOPInstanceUID"), _first(i, "SOPClassUID")) for i in images]


def _first(match: Attributes, keyword: str) -> str:
    return next(iter(match.get(keyword, ())), "")


def _number(match: Attributes, keyword: str) -> int | None:
    text = _first(match, keyword)
    return int(text) if text.isascii() and text.isdigit() else None
