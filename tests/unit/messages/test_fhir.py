"""Bundles as fhir.resources validates them; nothing in them leads nowhere or is created twice."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicom_node.domain.destinations import FhirVersion
from dicom_node.domain.results import Measurement, Predecessor
from dicom_node.sr_writer import BuildRequest, ResultObject, build_results
from dicom_node.sr_writer.messages import FhirForm, build_messages
from tests.result_findings import ML, VOLUME, empty_result, full_result, request
from tests.result_sources import STUDY, MadeSource, projections, stack
from tests.unit.messages.parsed import bundle, faults_of_references, resources
from tests.unit.messages.test_hl7 import with_header

R4, R5 = FhirVersion.R4, FhirVersion.R5
SYSTEMS = ("urn:oid:1.2.3", "http://hospital.example/accession")


@pytest.fixture(scope="module")
def source() -> MadeSource:
    return stack()


@pytest.fixture(scope="module")
def objects(source: MadeSource) -> tuple[ResultObject, ...]:
    return build_results(request(source))


def made(
    asked: BuildRequest,
    version: FhirVersion,
    objects: Sequence[ResultObject] = (),
    systems: tuple[str, str] = ("", ""),
    language: str = "en",
) -> dict[str, Any]:
    [one] = build_messages(asked, objects, [FhirForm(language, version, *systems)])
    read = bundle(one.content, version)
    assert not faults_of_references(read)
    return read


def report(read: dict[str, Any]) -> dict[str, Any]:
    [found] = resources(read, "DiagnosticReport")
    return found


@pytest.mark.parametrize("version", [R4, R5])
@pytest.mark.parametrize("systems", [("", ""), SYSTEMS])
@pytest.mark.parametrize("images", [stack, lambda: projections("DX")], ids=["ct", "dx"])
def test_bundle_is_valid_and_names_what_it_is_about(version: FhirVersion, systems: tuple[str, str], images: Any) -> None:
    source = images()
    read = made(request(source), version, build_results(request(source)), systems)
    found = report(read)
    assert (found["status"], found["language"]) == ("preliminary", "en")
    assert found["meta"]["security"][0]["code"] == "AIAST"
    [study] = resources(read, "ImagingStudy")
    assert study["identifier"] == [{"system": "urn:dicom:uid", "value": f"urn:oid:{STUDY}"}]
    [device] = resources(read, "Device")
    assert device["identifier"][0]["value"] == "urn:oid:2.25.77"
    assert len(list(resources(read, "Patient"))) == len(list(resources(read, "ServiceRequest"))) == bool(systems[0])
    assert bool(list(resources(read, "ImagingSelection"))) is (version is R5)


def test_patient_without_a_known_system_is_referred_to_and_never_matched(source: MadeSource) -> None:
    read = made(request(source), R4)
    subject = report(read)["subject"]
    assert subject == {"type": "Patient", "identifier": {"value": "PH-4712", "assigner": {"display": "HOSPITAL"}}}
    assert report(read)["basedOn"][0]["identifier"]["value"] == "ACC-0816"


def test_patient_and_order_of_a_known_system_are_created_unless_they_are_there(source: MadeSource) -> None:
    read = made(request(with_header(source, PatientID="A,1|2 3")), R4, systems=SYSTEMS)
    criteria = {e["resource"]["resourceType"]: e["request"]["ifNoneExist"] for e in read["entry"]}
    assert criteria["Patient"] == "identifier=urn:oid:1.2.3|A%5C%2C1%5C%7C2%203"
    assert criteria["ServiceRequest"] == "identifier=http://hospital.example/accession|ACC-0816"
    [patient] = resources(read, "Patient")
    assert (patient["name"][0]["family"], patient["name"][0]["given"]) == ("Phantom", ["Markers"])
    assert (patient["gender"], patient["birthDate"]) == ("other", "1960-02-29")


def test_issuer_of_the_header_goes_before_the_configured_system(source: MadeSource) -> None:
    item = Dataset()
    item.UniversalEntityID, item.UniversalEntityIDType = "1.2.840.99", "ISO"
    read = made(request(with_header(source, IssuerOfPatientIDQualifiersSequence=[item])), R5, systems=SYSTEMS)
    [patient] = resources(read, "Patient")
    assert patient["identifier"][0]["system"] == "urn:oid:1.2.840.99"


def test_names_have_their_representations(source: MadeSource) -> None:
    name = "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce=\u3084\u307e\u3060^\u305f\u308d\u3046"
    read = made(request(with_header(source, SpecificCharacterSet="ISO_IR 192", PatientName=name)), R5, systems=SYSTEMS)
    [patient] = resources(read, "Patient")
    assert [(n["extension"][0]["valueCode"], n["family"], n["given"][0]) for n in patient["name"]] == [
        ("ABC", "Yamada", "Tarou"),
        ("IDE", "\u5c71\u7530", "\u592a\u90ce"),
        ("SYL", "\u3084\u307e\u3060", "\u305f\u308d\u3046"),
    ]


@pytest.mark.parametrize("version", [R4, R5])
def test_group_has_its_figures_as_members(source: MadeSource, objects: tuple[ResultObject, ...], version: FhirVersion) -> None:
    read = made(request(source), version, objects)
    by_url = {e["fullUrl"]: e["resource"] for e in read["entry"]}
    groups = [by_url[one["reference"]] for one in report(read)["result"]]
    assert len(groups) == 8
    nodule = next(g for g in groups if g["code"]["text"] == "Nodule 1")
    assert nodule["valueCodeableConcept"]["coding"][0] == {"system": "http://snomed.info/sct", "code": "27925004", "display": "Nodule"}
    members = [by_url[one["reference"]] for one in nodule["hasMember"]]
    assert [m.get("valueQuantity", m.get("valueCodeableConcept")) for m in members] == [
        {"value": 12.5, "unit": "millimeter", "system": "http://unitsofmeasure.org", "code": "mm"},
        {"value": 91.0, "unit": "Percent", "system": "http://unitsofmeasure.org", "code": "%"},
        {
            "coding": [{"system": "http://snomed.info/sct", "code": "129742005", "display": "Spiculated lesion"}],
            "text": "Spiculated lesion",
        },
    ]
    assert members[0]["referenceRange"] == [{"text": "below 6 mm"}]
    assert all(one["bodySite"]["text"] == "Lung" for one in (nodule, *members))


def test_regions_and_segments_are_selections_of_images(source: MadeSource, objects: tuple[ResultObject, ...]) -> None:
    read = made(request(source), R5, objects)
    kinds = [(s["code"]["coding"][0]["display"], s) for s in resources(read, "ImagingSelection")]
    [segmentation] = [o.data_set for o in objects if o.kind == "SEG"]
    segments = [s for kind, s in kinds if kind == "Referenced Segment"]
    assert [s["instance"][0]["subset"] for s in segments] == [["1"], ["2"], ["3"]]
    assert {s["instance"][0]["uid"] for s in segments} == {segmentation.SOPInstanceUID}
    boxes = [s for kind, s in kinds if kind == "Image Region"]
    assert {r["regionType"] for s in boxes for i in s["instance"] for r in i["imageRegion2D"]} == {"polyline", "point"}
    assert [20.5, 8.5] in [r["coordinate"] for s in boxes for i in s["instance"] for r in i["imageRegion2D"]]


def test_value_that_could_not_be_measured_says_so(source: MadeSource) -> None:
    lost = dataclasses.replace(full_result(source), measurements=(Measurement("m", "Marked volume", VOLUME, math.inf, ML, ""),))
    [one] = [o for o in resources(made(request(source, lost), R4), "Observation") if o["code"]["text"] == "Marked volume"]
    assert "valueQuantity" not in one
    assert one["dataAbsentReason"]["coding"][0]["code"] == "not-a-number"


def test_replaced_report_is_referred_to_by_the_identifier_that_it_has(source: MadeSource, objects: tuple[ResultObject, ...]) -> None:
    first = report(made(request(source), R4, objects))
    uid = next(o.data_set.SOPInstanceUID for o in objects if o.kind == "SR")
    assert {"urn:dicom:uid": f"urn:oid:{uid}"} == {i["system"]: i["value"] for i in first["identifier"][1:]}
    earlier = Predecessor(STUDY, "1.2.3", "1.2.840.10008.5.1.4.1.1.88.34", uid, 1)
    [extension] = report(made(dataclasses.replace(request(source), predecessors=(earlier,)), R5))["extension"]
    assert extension["url"].endswith("diagnosticReport-replaces")
    assert extension["valueReference"]["identifier"]["value"] == f"urn:oid:{uid}"


def test_nothing_found_and_not_analysed_are_results(source: MadeSource) -> None:
    none = report(made(request(source, empty_result()), R4))
    assert none["conclusionCode"][0]["coding"][0]["code"] == "111241"
    lost = BuildRequest(request(source).key, source.data_sets, None, empty_result(not_analysed=("Slices are missing.",)), "0.1.0", "AINODE")
    found = report(made(lost, R5))
    assert found["conclusionCode"][0]["coding"][0]["code"] == "111245"
    assert "Slices are missing." in found["conclusion"]


def test_every_attempt_makes_the_same_bundle_and_every_revision_another(source: MadeSource, objects: tuple[ResultObject, ...]) -> None:
    def criteria(asked: BuildRequest) -> set[str]:
        return {e["request"]["ifNoneExist"] for e in made(asked, R5, objects)["entry"]}

    asked = request(source)
    assert criteria(asked) == criteria(asked)
    later = criteria(dataclasses.replace(asked, key=dataclasses.replace(asked.key, revision=2)))
    assert len(criteria(asked) & later) == 2  # study and device


def test_korean_and_odd_characters(source: MadeSource) -> None:
    odd = dataclasses.replace(full_result(source), warnings=("a <b> & \x07 \ud800",))
    found = report(made(request(source, odd), R4, language="ko"))
    assert found["language"] == "ko"
    assert "\uc9c4\ub2e8\uc6a9\uc774 \uc544\ub2d9\ub2c8\ub2e4" in found["conclusion"]
    assert "a &lt;b&gt; &amp; \ufffd \ufffd" in found["text"]["div"]
    assert "\x07" not in json.dumps(found, ensure_ascii=False)
