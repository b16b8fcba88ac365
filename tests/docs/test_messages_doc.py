"""docs/messages.md and the tables of docs/delivery.md about messages say what the program does."""

from __future__ import annotations

import re

import hl7
import pytest
from pydicom.dataset import Dataset

from dicom_node.delivery.acknowledgment import CODES
from dicom_node.delivery.fhir_answer import STATUSES
from dicom_node.domain.destinations import FhirVersion
from dicom_node.sr_writer import build_results
from dicom_node.sr_writer.messages import FhirForm, Hl7Form, build_messages
from tests.conftest import ROOT
from tests.result_findings import request
from tests.result_sources import MadeSource, stack
from tests.unit.messages.parsed import bundle
from tests.unit.messages.test_hl7 import FORM, with_header

TEXT = (ROOT / "docs" / "messages.md").read_text("utf-8")
DELIVERY = (ROOT / "docs" / "delivery.md").read_text("utf-8")


@pytest.fixture(scope="module")
def source() -> MadeSource:
    return stack()


def section(text: str, name: str) -> str:
    return text.split(f"<!-- {name}", 1)[1].split("\n## ", 1)[0]


def complete(source: MadeSource) -> MadeSource:
    """With everything that a header can say of an order."""
    asked = Dataset()
    asked.RequestedProcedureID, asked.ScheduledProcedureStepID = "RP7", "SPS9"
    return with_header(
        source, RequestAttributesSequence=[asked], PlacerOrderNumberImagingServiceRequest="PL1", ReferringPhysicianName="House^G"
    )


def test_every_field_that_is_filled_is_documented_and_no_other(source: MadeSource) -> None:
    documented = set(re.findall(r"^\| ([A-Z0-9]{3}-\d+) \|", section(TEXT, "fields"), re.MULTILINE))
    found = set()
    [one] = build_messages(request(complete(source)), build_results(request(source)), [Hl7Form("en", "RIS", "HOSPITAL")])
    for segment in hl7.parse(one.content.decode()):
        name = str(segment[0])
        first = 3 if name == "MSH" else 1
        found |= {f"{name}-{n}" for n in range(first, len(segment)) if str(segment[n])}
    assert documented - {"OBX-17"} == found  # the phantom has no value that sums up many


def test_resources_are_those_of_the_bundles(source: MadeSource) -> None:
    rows = re.findall(r"^\| (\w+) \| (R[45](?:, R5)?) \|", section(TEXT, "resources"), re.MULTILINE)
    objects = build_results(request(source))
    for version, release in ((FhirVersion.R4, "R4"), (FhirVersion.R5, "R5")):
        [one] = build_messages(request(source), objects, [FhirForm("en", version, "urn:oid:1.2.3", "urn:oid:1.2.4")])
        kinds = {e["resource"]["resourceType"] for e in bundle(one.content, version)["entry"]}
        assert kinds == {kind for kind, releases in rows if release in releases}


def test_example_is_made_by_the_program(source: MadeSource) -> None:
    lines = section(TEXT, "example").split("```")[1].strip("\n").split("\n")
    [one] = build_messages(request(source), build_results(request(source)), [FORM])
    made = [re.sub(r"(20240102)\d{6}[+-]\d{4}", r"\1...", line) for line in one.content.decode().split("\r") if line]
    assert [line for line in lines if line != "..."] == [line for line in made if line in lines]
    assert len(lines) > 15


def test_acknowledgments_and_statuses_are_those_of_the_program() -> None:
    codes = re.findall(r"^\| (\d{3}) \| (.+) \| (\w+) \|$", section(DELIVERY, "acknowledgments"), re.MULTILINE)
    assert codes == [(code, words, verdict.value) for code, (verdict, words) in CODES.items()]
    statuses = re.findall(r"^\| HTTP (\d{3}) \| (.+) \| (\w+) \|$", section(DELIVERY, "fhir statuses"), re.MULTILINE)
    assert statuses == [(str(status), words, meaning.value) for status, (meaning, words, _) in STATUSES.items()]
