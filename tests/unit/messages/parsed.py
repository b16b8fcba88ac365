"""Messages as libraries of others read them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import hl7
from fhir.resources.bundle import Bundle as BundleR5
from fhir.resources.R4B.bundle import Bundle as BundleR4B
from hl7apy.parser import parse_message
from hl7apy.validation import Validator

from dicom_node.domain.destinations import FhirVersion

SCHEMES = {"http://snomed.info/sct": "SCT", "http://dicom.nema.org/resources/ontology/DCM": "DCM", "http://loinc.org": "LN"}


@dataclass(frozen=True)
class Obx:
    type: str
    code: tuple[str, str, str]
    sub_id: str
    value: str
    unit: str
    status: str

    @property
    def group(self) -> str:
        return self.sub_id.partition(".")[0]


@cache
def oru(content: bytes) -> hl7.Message:
    """Validate the structure by hl7apy against 2.5.1, then read it by python-hl7."""
    text = content.decode("utf-8")
    Validator.validate(parse_message(text, find_groups=True))
    return hl7.parse(text)


def observations(message: hl7.Message) -> list[Obx]:
    found = []
    for row in message.segments("OBX"):
        code = [message.unescape(part) for part in str(row[3]).split("^")] + ["", "", ""]
        unit = str(row[6]).split("^")[0]
        value = "^".join(message.unescape(part) for part in str(row[5]).split("^"))
        found.append(Obx(str(row[2]), (code[0], code[1], code[2]), message.unescape(str(row[4])), value, unit, str(row[11])))
    return found


def bundle(content: bytes, version: FhirVersion) -> dict[str, Any]:
    """Validate by fhir.resources, which forbids unknown elements, and return the JSON; nothing may be lost on the way."""
    read = json.loads(content)
    model = BundleR4B if version is FhirVersion.R4 else BundleR5
    checked = model.model_validate_json(content)
    assert len(checked.entry or ()) == len(read["entry"])
    return read  # type: ignore[no-any-return]


def resources(read: dict[str, Any], kind: str) -> Iterator[dict[str, Any]]:
    return (e["resource"] for e in read["entry"] if e["resource"]["resourceType"] == kind)


def faults_of_references(read: dict[str, Any]) -> list[str]:
    """References within the bundle that lead nowhere or to another type; entries that are not created once."""
    kinds = {e["fullUrl"]: e["resource"]["resourceType"] for e in read["entry"]}
    faults = [] if len(kinds) == len(read["entry"]) else ["two entries have one fullUrl"]
    for entry in read["entry"]:
        if not entry["request"].get("ifNoneExist", "").startswith("identifier="):
            faults.append(f"{entry['fullUrl']} is not conditional")
        faults += [
            f"{reference} of {entry['resource']['resourceType']}"
            for reference, kind in _references(entry["resource"])
            if kinds.get(reference) != kind
        ]
    return faults


def _references(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        if "reference" in value:
            yield value["reference"], value["type"]
        for one in value.values():
            yield from _references(one)
    elif isinstance(value, list):
        for one in value:
            yield from _references(one)
