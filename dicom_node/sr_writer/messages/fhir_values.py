"""Values of FHIR resources from codes, identifiers and names.

Source: FHIR R4 and R5, datatypes; terminologies as THO names them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from dicom_node.domain.results import Code
from dicom_node.sr_writer.messages.subject import Identifier, Issuer, Name

Json: TypeAlias = dict[str, Any]

DCM = "http://dicom.nema.org/resources/ontology/DCM"
UCUM = "http://unitsofmeasure.org"
DICOM_UID = "urn:dicom:uid"
_IDENTIFIER_TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"
_DICOM_IDENTIFIER_TYPES = "http://hl7.org/fhir/uv/dicom-sr/CodeSystem/dicom-identifier-type"
_SYSTEMS = {
    "DCM": DCM,
    "SCT": "http://snomed.info/sct",
    "LN": "http://loinc.org",
    "UCUM": UCUM,
    "RADLEX": "http://radlex.org",
    "FMA": "http://purl.org/sig/ont/fma/fma.owl",
    "UMLS": "http://terminology.hl7.org/CodeSystem/umls",
    "NCIt": "http://ncicb.nci.nih.gov/xml/owl/EVS/Thesaurus.owl",
    "SRT": "http://snomed.info/srt",
    "I10": "http://hl7.org/fhir/sid/icd-10",
}
_GENDERS = {"M": "male", "F": "female", "O": "other"}
_REPRESENTATIONS = {"A": "ABC", "I": "IDE", "P": "SYL"}
_REPRESENTATION_URL = "http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation"
_OID = re.compile(r"[0-2](\.(0|[1-9]\d*))+")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """Return a text without the characters that FHIR's strings and XHTML cannot hold; each becomes U+FFFD."""
    return _NOT_XML.sub("\ufffd", text)


def pruned(value: Any) -> Any:
    """Leave out what is empty, at every depth: FHIR knows no empty strings, lists or objects."""
    if isinstance(value, Mapping):
        kept = {key: pruned(one) for key, one in value.items()}
        return {key: one for key, one in kept.items() if one not in ("", None, [], {})}
    if isinstance(value, list | tuple):
        return [one for one in map(pruned, value) if one not in ("", None, [], {})]
    return clean(value) if isinstance(value, str) else value


def coding(code: Code) -> Json:
    """Write a code; a coding scheme that FHIR has no URI for gives none."""
    return {"system": _SYSTEMS.get(code.scheme, ""), "code": code.value, "display": code.meaning}


def concept(code: Code, text: str = "") -> Json:
    """Write a concept with its code, and how people call it."""
    return {"coding": [coding(code)], "text": text or code.meaning}


def quantity(value: float, unit: Code) -> Json:
    """Write a value with its UCUM unit."""
    return {"value": value, "unit": unit.meaning or unit.value, "system": _SYSTEMS.get(unit.scheme, ""), "code": unit.value}


def uid_identifier(uid: str, type_code: str = "") -> Json:
    """Write a DICOM UID. Source: FHIR ImagingStudy notes; HL7 dicom-sr, identifier types."""
    found: Json = {"system": DICOM_UID, "value": f"urn:oid:{uid}"}
    if type_code:
        found["type"] = {"coding": [{"system": _DICOM_IDENTIFIER_TYPES, "code": type_code}]}
    return found


def tracking_identifiers(tracking_id: str, tracking_uid: str) -> list[Json]:
    """Write Tracking Identifier and Tracking UID."""
    kinds = (Code("112039", "DCM", "Tracking Identifier"), Code("112040", "DCM", "Tracking Unique Identifier"))
    return [
        {"type": {"coding": [coding(kinds[0])]}, "value": tracking_id},
        {"type": {"coding": [coding(kinds[1])]}, **uid_identifier(tracking_uid)},
    ]


def system_of(issuer: Issuer, fallback: str) -> str:
    """Return the system of what an issuer assigned: its universal ID, else its name if that is a URI or OID, else the fallback."""
    if issuer.universal_type == "ISO" and _OID.fullmatch(issuer.universal_id):
        return f"urn:oid:{issuer.universal_id}"
    for candidate in (issuer.universal_id if issuer.universal_type == "URI" else "", issuer.namespace):
        if _URI.fullmatch(candidate):
            return candidate
        if _OID.fullmatch(candidate):
            return f"urn:oid:{candidate}"
    return fallback


def identifier(found: Identifier, system: str) -> Json:
    """Write an identifier."""
    kind = {"coding": [{"system": _IDENTIFIER_TYPES, "code": found.type_code}]} if found.type_code else {}
    return {"type": kind, "system": system, "value": found.value, "assigner": {"display": found.issuer.namespace}}


def gender(sex: str) -> str:
    """Convert Patient's Sex; empty if it says none."""
    return _GENDERS.get(sex, "")


def human_names(names: Iterable[Name]) -> list[Json]:
    """Write each representation of a name."""
    written = []
    for name in names:
        family, given, middle, prefix, suffix = name.components
        extension = [{"url": _REPRESENTATION_URL, "valueCode": _REPRESENTATIONS[name.representation]}]
        parts = {"family": family, "given": [given, middle], "prefix": [prefix], "suffix": [suffix]}
        written.append({"extension": extension, "text": name.text, **parts})
    return written
