"""C-FIND: asking a source what it has."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic

from pydicom import config
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made by the module at run time
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelFind,
)

from dicom_node.domain.instances import Attributes
from dicom_node.domain.sources import QuerySource
from dicom_node.errors import SourceError, SourceSilentError
from dicom_node.scp.query_retrieve.sources import Proposal, associated, silence
from dicom_node.scp.query_retrieve.statuses import CANCELLED, PENDING, PENDING_KEYS_IGNORED, refusal

DEFAULT_LIMIT = 1000
MOST_MATCHES = 100_000
_UTF_8 = "ISO_IR 192"
_NOT_TEXT = frozenset({"SQ", "OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_DAMAGE = (ValueError, TypeError, AttributeError, NotImplementedError, LookupError, OSError)


class QueryLevel(StrEnum):
    """Query/Retrieve Level (0008,0052). Source: PS3.4 C.6."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


class QueryModel(StrEnum):
    """Information model, by its SOP class. Source: PS3.4 C.6.1, C.6.2."""

    STUDY_ROOT = str(StudyRootQueryRetrieveInformationModelFind)
    PATIENT_ROOT = str(PatientRootQueryRetrieveInformationModelFind)


RETURN_KEYS: Mapping[QueryLevel, tuple[str, ...]] = {
    QueryLevel.PATIENT: ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    QueryLevel.STUDY: (
        *("StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
        *("StudyID", "StudyDescription", "ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"),
    ),
    QueryLevel.SERIES: ("SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription", "NumberOfSeriesRelatedInstances"),
    QueryLevel.IMAGE: ("SOPInstanceUID", "SOPClassUID", "InstanceNumber"),
}
"""What is asked for at each level where the caller names nothing."""

_UNIQUE_KEYS = (
    (QueryLevel.PATIENT, "PatientID"),
    (QueryLevel.STUDY, "StudyInstanceUID"),
    (QueryLevel.SERIES, "SeriesInstanceUID"),
)
_LEVELS = tuple(QueryLevel)


@dataclass(frozen=True, slots=True)
class FindQuery:
    r"""A question.

    Attributes:
        match: Values by DICOM keyword, in the matching rules of PS3.4 C.2.2.2: `*` and `?`, date ranges, lists joined by `\`.
        returned: Further keywords to be answered; empty for the level's usual ones.
        limit: Most matches taken.
    """

    level: QueryLevel
    match: Mapping[str, str]
    returned: tuple[str, ...] = ()
    limit: int = DEFAULT_LIMIT
    model: QueryModel = QueryModel.STUDY_ROOT

    def identifier(self) -> Dataset:
        """Encode the question.

        Raises:
            SourceError: a keyword is unknown, or the unique key of a level above is missing. Source: PS3.4 C.4.1.2.1.
        """
        first = QueryLevel.PATIENT if self.model is QueryModel.PATIENT_ROOT else QueryLevel.STUDY
        if _LEVELS.index(self.level) < _LEVELS.index(first):
            raise SourceError("PATIENT level needs the Patient Root model")
        for level, keyword in _UNIQUE_KEYS:
            above = _LEVELS.index(first) <= _LEVELS.index(level) < _LEVELS.index(self.level)
            if above and not self.match.get(keyword):
                raise SourceError(f"a query at {self.level} level needs {keyword}")
        data_set = Dataset()
        data_set.QueryRetrieveLevel = str(self.level)
        if not all(value.isascii() for value in self.match.values()):
            data_set.SpecificCharacterSet = _UTF_8
        for keyword in self.returned or RETURN_KEYS[self.level]:
            data_set.add(_element(keyword, ""))
        for keyword, value in self.match.items():
            data_set.add(_element(keyword, value))
        return data_set


@dataclass(frozen=True, slots=True)
class FindResult:
    """The answer.

    Attributes:
        matches: In the order of arrival, text decoded by the Specific Character Set of each. Contains patient data.
        truncated: There were more than the limit; the query was cancelled.
        keys_ignored: The source says that it did not support one or more optional keys (FF01).
    """

    matches: tuple[Attributes, ...]
    truncated: bool
    keys_ignored: bool


def find(calling_ae_title: str, source: QuerySource, query: FindQuery) -> FindResult:
    """Ask a source.

    Raises:
        SourceError: there was no association, no answer in time, or a failure status.
    """
    with associated(calling_ae_title, source, Proposal(query.model)) as association:
        return find_on(association, source, query)


def list_on(association: Association, source: QuerySource, query: FindQuery) -> tuple[Attributes, ...]:
    """Ask over an open association for every match.

    Raises:
        SourceError: as `find` does, or there are more than `MOST_MATCHES`.
    """
    result = find_on(association, source, dataclasses.replace(query, limit=MOST_MATCHES))
    if result.truncated:
        raise SourceError(f"{source.name}: more than {MOST_MATCHES} matches at {query.level} level")
    return result.matches


@dataclass(slots=True)
class _Answers:
    matches: list[Attributes] = field(default_factory=list)
    truncated: bool = False
    keys_ignored: bool = False


def find_on(association: Association, source: QuerySource, query: FindQuery, *, message_id: int = 1) -> FindResult:
    """Ask over an open association; see `find`."""
    answers, deadline = _Answers(), float("inf")
    for status, identifier in association.send_c_find(query.identifier(), query.model, msg_id=message_id):
        if "Status" not in status:
            raise silence(association, source, "C-FIND")
        if status.Status not in PENDING:
            if status.Status != 0 and not (answers.truncated and status.Status == CANCELLED):
                raise refusal(source.name, "C-FIND", status)
            break
        answers.keys_ignored |= status.Status == PENDING_KEYS_IGNORED
        if answers.truncated:
            if monotonic() > deadline:
                association.abort()  # cancelling is a request; some sources send every match all the same
                break
        elif len(answers.matches) >= query.limit:
            answers.truncated, deadline = True, monotonic() + source.timeout_s
            association.send_c_cancel(message_id, query_model=query.model)
        else:
            answers.matches.append(_attributes(source, identifier, len(answers.matches) + 1))
    return FindResult(tuple(answers.matches), answers.truncated, answers.keys_ignored)


def _element(keyword: str, value: str) -> DataElement:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise SourceError(f"{keyword!r} is no DICOM keyword")
    try:
        return DataElement(tag, dictionary_VR(tag), value, validation_mode=config.IGNORE)
    except ValueError as error:
        raise SourceError(f"the value for {keyword} cannot be matched against {dictionary_VR(tag)}") from error


def _attributes(source: QuerySource, identifier: Dataset | None, number: int) -> Attributes:
    if identifier is None:
        raise SourceSilentError(f"{source.name}: match {number} of C-FIND cannot be decoded", hint="look into the source's log")
    try:
        return {e.keyword: _values(e) for e in identifier if e.keyword and e.VR not in _NOT_TEXT}
    except _DAMAGE as error:
        raise SourceError(f"{source.name}: match {number} of C-FIND holds a value that cannot be read ({type(error).__name__})") from error


def _values(element: DataElement) -> tuple[str, ...]:
    value = element.value
    if value is None or value == "":
        return ()
    return tuple(str(item) for item in (value if isinstance(value, MultiValue | list | tuple) else [value]))
