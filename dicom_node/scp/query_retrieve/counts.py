"""How many instances a source has of a study, by whatever the source is able to say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pynetdicom.association import Association

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


def count_instances(calling_ae_title: str, source: QuerySource, study_instance_uid: str) -> InstanceCount:
    """Count a study's instances at a source.

    Number of Study Related Instances (0020,1208) is optional for an SCP, and DCMTK's archive leaves it out. The count is then
    the sum of Number of Series Related Instances (0020,1209) or, where that is missing too, of what the IMAGE level lists.

    Returns:
        0 instances if the source does not know the study.

    Raises:
        SourceError: as `find` does.
    Source: PS3.4 tables C.6-5, C.6-6.
    """
    with associated(calling_ae_title, source, Proposal(QueryModel.STUDY_ROOT)) as association:
        query = FindQuery(QueryLevel.STUDY, {"StudyInstanceUID": study_instance_uid}, (_OF_STUDY,))
        found = list_on(association, source, query)
        numbers = [_number(match, _OF_STUDY) for match in found]
        known = [number for number in numbers if number is not None]
        if len(known) == len(numbers):
            return InstanceCount(sum(known), CountedBy.STUDY_ATTRIBUTE)
        return _by_series(association, source, study_instance_uid)


def count_series(calling_ae_title: str, source: QuerySource, study_instance_uid: str) -> InstanceCount:
    """Count as `count_instances` does, but always series by series, so that a caller can leave some out."""
    with associated(calling_ae_title, source, Proposal(QueryModel.STUDY_ROOT)) as association:
        return _by_series(association, source, study_instance_uid)


def _by_series(association: Association, source: QuerySource, study_instance_uid: str) -> InstanceCount:
    study = {"StudyInstanceUID": study_instance_uid}
    query = FindQuery(QueryLevel.SERIES, study, ("SeriesInstanceUID", "Modality", _OF_SERIES))
    counted_by, counts = CountedBy.SERIES_ATTRIBUTE, []
    for match in list_on(association, source, query):
        series_uid, number = _first(match, "SeriesInstanceUID"), _number(match, _OF_SERIES)
        if number is None:
            counted_by = CountedBy.LISTED
            images = FindQuery(QueryLevel.IMAGE, {**study, "SeriesInstanceUID": series_uid}, ("SOPInstanceUID",))
            number = len(list_on(association, source, images))
        counts.append(SeriesCount(series_uid, _first(match, "Modality"), number))
    return InstanceCount(sum(c.instances for c in counts), counted_by, tuple(counts))


def _first(match: Attributes, keyword: str) -> str:
    return next(iter(match.get(keyword, ())), "")


def _number(match: Attributes, keyword: str) -> int | None:
    text = _first(match, keyword)
    return int(text) if text.isascii() and text.isdigit() else None
