"""Whom and what a message is about: patient, study and order as the source's header has them, decoded and otherwise verbatim."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pydicom

from dicom_node.domain.results import Code
from dicom_node.errors import PatientMismatchError

_ZONE = re.compile(r"[+-]\d{4}")
_DATE = re.compile(r"\d{8}")
_TIME = re.compile(r"(\d{2}|\d{4}|\d{6})(\.\d{1,6})?")


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who assigned an identifier.

    Attributes:
        namespace: Local name.
        universal_id: Globally unique; empty if there is none.
        universal_type: ISO, URI, DNS, EUI64, UUID, X400 or X500. Source: PS3.3 table 10-17.
    """

    namespace: str = ""
    universal_id: str = ""
    universal_type: str = ""


@dataclass(frozen=True, slots=True)
class Identifier:
    """A value and who assigned it.

    Attributes:
        type_code: Identifier Type Code, from HL7 table 0203; empty if the header has none.
    """

    value: str
    issuer: Issuer
    type_code: str = ""


@dataclass(frozen=True, slots=True)
class Name:
    """One representation of a person's name.

    Attributes:
        representation: HL7 name representation code: A alphabetic, I ideographic, P phonetic.
        components: Family, given, middle, prefix, suffix; a sixth and further ones belong to the suffix.
    """

    representation: str
    components: tuple[str, str, str, str, str]

    @property
    def text(self) -> str:
        """As DICOM writes it."""
        return "^".join(self.components).rstrip("^")


@dataclass(frozen=True, slots=True)
class Subject:
    """What identifies patient, study and order.

    Attributes:
        birth_date, study_date: As received, YYYYMMDD if valid.
        zone: Timezone Offset From UTC; empty if the header has none.
        procedure: Requested, else performed procedure; None if neither is coded.
    """

    patient: Identifier
    names: tuple[Name, ...]
    birth_date: str
    sex: str
    study_instance_uid: str
    study_date: str
    study_time: str
    zone: str
    description: str
    modality: str
    accession: Identifier
    placer_order: str
    filler_order: str
    requested_procedure_id: str
    scheduled_step_id: str
    procedure: Code | None
    referring: tuple[Name, ...]


def subject_of(header: pydicom.Dataset) -> Subject:
    """Read a normalised header."""
    request = _first(header, "RequestAttributesSequence")
    zone = _text(header, "TimezoneOffsetFromUTC")
    return Subject(
        patient=Identifier(_text(header, "PatientID"), _patient_issuer(header), _type_code(header)),
        names=_names(header, "PatientName"),
        birth_date=_text(header, "PatientBirthDate"),
        sex=_text(header, "PatientSex"),
        study_instance_uid=_text(header, "StudyInstanceUID"),
        study_date=_text(header, "StudyDate"),
        study_time=_text(header, "StudyTime"),
        zone=zone if _ZONE.fullmatch(zone) else "",
        description=_text(header, "StudyDescription"),
        modality=_text(header, "Modality"),
        accession=Identifier(_text(header, "AccessionNumber"), _issuer(_first(header, "IssuerOfAccessionNumberSequence")), "ACSN"),
        placer_order=_text(header, "PlacerOrderNumberImagingServiceRequest"),
        filler_order=_text(header, "FillerOrderNumberImagingServiceRequest"),
        requested_procedure_id=_text(request, "RequestedProcedureID") or _text(header, "RequestedProcedureID"),
        scheduled_step_id=_text(request, "ScheduledProcedureStepID"),
        procedure=_procedure(header, request),
        referring=_names(header, "ReferringPhysicianName"),
    )


def check_subject(source: Sequence[pydicom.Dataset], subject: Subject) -> None:
    """Refuse a message that would not name the patient and study of its source; the same gate as for objects.

    Raises:
        PatientMismatchError: naming the element, not its value.
    """
    named = {
        "PatientID": subject.patient.value,
        "StudyInstanceUID": subject.study_instance_uid,
        "AccessionNumber": subject.accession.value,
    }
    for keyword, value in named.items():
        if any(_text(one, keyword) != value for one in source):
            raise PatientMismatchError(f"message differs from its source in {keyword}")
    if any(_text(one, "IssuerOfPatientID") not in ("", subject.patient.issuer.namespace) for one in source):
        raise PatientMismatchError("message differs from its source in IssuerOfPatientID")


def moment(date: str, time: str = "", zone: str = "") -> str:
    """Write a date and time as HL7 does, YYYYMMDD[HHMM[SS[.SSSS]]][+ZZZZ]; empty if the date is none. Source: HL7 2.5.1 2.A.77."""
    if not _DATE.fullmatch(date):
        return ""
    if not _TIME.fullmatch(time) or len(time.partition(".")[0]) < 4:
        return date
    whole, _, fraction = time.partition(".")
    return f"{date}{whole}{f'.{fraction[:4]}' if fraction and len(whole) == 6 else ''}{zone}"


def iso_date(date: str) -> str:
    """Write a date as FHIR does; empty if it is none."""
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if _DATE.fullmatch(date) else ""


def _names(header: pydicom.Dataset, keyword: str) -> tuple[Name, ...]:
    groups = [g.strip() for g in _text(header, keyword).split("=")]
    return tuple(Name(code, _components(group)) for code, group in zip("AIP", groups, strict=False) if group.strip("^ "))


def _components(group: str) -> tuple[str, str, str, str, str]:
    parts = [part.strip() for part in group.split("^", 4)]
    family, given, middle, prefix, suffix = parts + [""] * (5 - len(parts))
    return family, given, middle, prefix, suffix


def _patient_issuer(header: pydicom.Dataset) -> Issuer:
    qualifiers = _first(header, "IssuerOfPatientIDQualifiersSequence")
    return Issuer(_text(header, "IssuerOfPatientID"), _text(qualifiers, "UniversalEntityID"), _text(qualifiers, "UniversalEntityIDType"))


def _type_code(header: pydicom.Dataset) -> str:
    return _text(_first(header, "IssuerOfPatientIDQualifiersSequence"), "IdentifierTypeCode")


def _issuer(item: pydicom.Dataset) -> Issuer:
    return Issuer(_text(item, "LocalNamespaceEntityID"), _text(item, "UniversalEntityID"), _text(item, "UniversalEntityIDType"))


def _procedure(header: pydicom.Dataset, request: pydicom.Dataset) -> Code | None:
    for holder, keyword in (
        (request, "RequestedProcedureCodeSequence"),
        (header, "RequestedProcedureCodeSequence"),
        (header, "ProcedureCodeSequence"),
    ):
        item = _first(holder, keyword)
        value = next((v for k in ("CodeValue", "LongCodeValue", "URNCodeValue") if (v := _text(item, k))), "")
        if value:
            return Code(value, _text(item, "CodingSchemeDesignator"), _text(item, "CodeMeaning"))
    return None


def _first(data_set: pydicom.Dataset, keyword: str) -> pydicom.Dataset:
    found = data_set.get(keyword)
    return found[0] if isinstance(found, pydicom.Sequence) and len(found) else pydicom.Dataset()


def _text(data_set: pydicom.Dataset, keyword: str) -> str:
    return str(data_set.get(keyword) or "").strip(" \0")
