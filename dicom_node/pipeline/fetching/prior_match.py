"""Which earlier studies can be the prior of an input. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from dicom_node.domain.instances import Attributes
from dicom_node.domain.matching import meets
from dicom_node.domain.patients import PatientKey, first_value
from dicom_node.domain.rules import InputSlot, Prior
from dicom_node.domain.studies import Series, Study, StudyInstance

Moment = tuple[str, str]
"""Study Date and Study Time as DICOM writes them; they sort as text."""

_OF_STUDY = frozenset({"StudyDescription", "PatientSex", "PatientBirthDate", "ReferringPhysicianName", "InstitutionName"})
_OF_SERIES = frozenset(
    {
        *("Modality", "SeriesDescription", "BodyPartExamined", "ProtocolName", "Laterality", "PatientPosition"),
        *("Manufacturer", "ManufacturerModelName", "StationName", "InstitutionName"),
    }
)
_NUMBER = "NumberOfSeriesRelatedInstances"
_OF_SENDER = frozenset({"CallingAET", "CalledAET"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """The prior that is looked for.

    Attributes:
        moment: Of the current study; a prior is earlier.
        first_date: Earliest Study Date that is near enough, YYYYMMDD.
        same: Values of the current study by keyword; a prior shares one of each.
    """

    patient: PatientKey
    moment: Moment
    first_date: str
    same: Mapping[str, frozenset[str]]
    slot: InputSlot

    def is_earlier(self, moment: Moment) -> bool:
        """Say whether a study was before the current one and near enough; on the same day the times must be known."""
        date, time = moment
        if date == self.moment[0]:
            return bool(time) and time < self.moment[1]
        return self.first_date <= date < self.moment[0]

    def study_keys(self) -> tuple[str, ...]:
        """Return what is asked for at STUDY level."""
        keys = {*self.same, *(c.keyword for c in self.slot.match)} & _OF_STUDY
        return ("StudyInstanceUID", "StudyDate", "StudyTime", "PatientID", "IssuerOfPatientID", *sorted(keys))

    def series_keys(self) -> tuple[str, ...]:
        """Return what is asked for at SERIES level."""
        keys = {*self.same, *(c.keyword for c in self.slot.match)} & _OF_SERIES
        return ("SeriesInstanceUID", _NUMBER, *sorted(keys | {"Modality"}))

    def is_patients(self, found: Attributes) -> bool:
        """Say whether a match of a query is the patient's; wild cards in a Patient ID match others too."""
        other = PatientKey.of(found)
        return other.patient_id == self.patient.patient_id and other.issuer in ("", self.patient.issuer)

    def may_fit(self, found: Attributes) -> bool:
        """Say whether a series can fit as far as a query tells; what the source leaves empty excludes nothing."""
        known = {keyword: values for keyword, values in found.items() if any(v.strip() for v in values)}
        number = first_value(found, _NUMBER)
        if number.isdecimal() and not self._has_right_size(int(number)):
            return False
        if not all(meets(c, known) for c in self.slot.match if c.keyword in known):
            return False
        return all(_shared(known[keyword], values) for keyword, values in self.same.items() if keyword in known)

    def misfit(self, study: Study) -> str:
        """Say why a study in the node is not the prior; empty if it is one. No patient data."""
        for keyword, values in self.same.items():
            if not _shared(_values(study, keyword), values):
                return f"its {keyword} differs" if values else f"the current study has no {keyword} to compare"
        if not any(self._fits(series) for series in study.series):
            return "no series of it meets the input"
        return ""

    def _fits(self, series: Series) -> bool:
        conditions = [c for c in self.slot.match if c.keyword not in _OF_SENDER]  # who sent a prior says nothing about it
        return self._has_right_size(sum(all(meets(c, i.attributes) for c in conditions) for i in series.instances))

    def _has_right_size(self, instances: int) -> bool:
        most = self.slot.max_instances
        return instances >= self.slot.min_instances and (most is None or instances <= most)


def wanted_prior(study: Study, patient: PatientKey, slot: InputSlot, prior: Prior) -> Wanted | None:
    """Describe the prior of a study; None if the study has no date to be earlier than."""
    moment = moment_of(next((i.attributes for i in _instances(study)), {}))
    try:
        date = datetime.strptime(moment[0], "%Y%m%d")  # noqa: DTZ007 - a date has no zone
    except ValueError:
        return None
    first = max(date - prior.within, datetime(1900, 1, 1)).strftime("%Y%m%d")  # noqa: DTZ001 - as above
    return Wanted(patient, moment, first, {keyword: frozenset(_values(study, keyword)) for keyword in prior.same}, slot)


def moment_of(attributes: Attributes) -> Moment:
    """Read when a study was."""
    return first_value(attributes, "StudyDate"), first_value(attributes, "StudyTime")


def _instances(study: Study) -> Iterable[StudyInstance]:
    return chain.from_iterable(series.instances for series in study.series)


def _values(study: Study, keyword: str) -> set[str]:
    found = (value.strip(" \0") for i in _instances(study) for value in i.attributes.get(keyword, ()))
    return {value for value in found if value}


def _shared(values: Iterable[str], others: Iterable[str]) -> bool:
    return bool({value.strip(" \0") for value in values} & set(others))
