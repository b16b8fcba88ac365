"""Study in, messages out: ORU^R01 and bundles through the daemon, compared with the report that they were built beside."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import hl7
import pydicom
import pytest

from dicom_node.domain.destinations import FhirVersion
from tests.acceptance.daemon import MODEL, Daemon
from tests.acceptance.orthanc import Orthanc
from tests.integration.fhir_server import FhirServer
from tests.integration.mllp_receiver import MllpReceiver, ack
from tests.phantoms import chest_series, write
from tests.result_checks import items
from tests.unit.messages.parsed import observations, oru

pytestmark = pytest.mark.acceptance
PATIENTS = {
    "DE-1": ("ISO_IR 100", "M\xfcller^J\xf6rg"),
    "JP-1": (["", "ISO 2022 IR 87"], "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce=\u3084\u307e\u3060^\u305f\u308d\u3046"),
    "KR-1": (["", "ISO 2022 IR 149"], "Hong^Gildong=\u6d2a^\u5409\u6d1e=\ud64d^\uae38\ub3d9"),
    "CN-1": ("GB18030", "Wang^XiaoDong=\u738b^\u5c0f\u4e1c"),
}


class House:
    """A daemon with two interfaces of one form, one in Korean, and a FHIR server of each release."""

    def __init__(self, folder: Path, receivers: dict[str, MllpReceiver], servers: dict[str, FhirServer]) -> None:
        self.receivers, self.servers = receivers, servers
        self.daemon = Daemon(folder / "node")
        common = {"timeout": "10s"}
        systems = {"patient_system": "urn:oid:1.2.3", "accession_system": "urn:oid:1.2.4"}
        self.daemon.node["destinations"] = [
            *(
                {"name": name, "type": "hl7", "host": "127.0.0.1", "port": r.port, "language": _language(name), **common}
                for name, r in receivers.items()
            ),
            *(
                {"name": name, "type": "fhir", "url": s.url, "fhir_version": s.version.value, **systems, **common}
                for name, s in servers.items()
            ),
        ]
        self.daemon.rules["rules"][0]["send_to"] = [*receivers, *servers]
        self.daemon.write()
        self.studies = {
            number: chest_series(SpecificCharacterSet=charset, PatientName=name, PatientID=number, AccessionNumber=f"A-{number}")
            for number, (charset, name) in PATIENTS.items()
        }

    def send(self, folder: Path) -> None:
        for number, series in self.studies.items():
            files = [str(path) for path in write(series, folder / number)]
            command = ["/usr/bin/storescu", "-aet", "CT", "-aec", "AINODE", "127.0.0.1", str(self.daemon.port), *files]
            subprocess.run(command, check=True, capture_output=True)

    def done(self) -> bool:
        states = Counter(job["state"] for job in self.daemon.jobs())
        assert not states["FAILED"], self.daemon.run("deliveries", "list").stdout
        return states["DONE"] == len(PATIENTS)

    def reports(self) -> dict[str, pydicom.Dataset]:
        found = [pydicom.dcmread(path) for path in (self.daemon.folder / "data" / "results").glob("job-*/SR-1*.dcm")]
        return {str(report.PatientID): report for report in found}

    def messages(self, name: str) -> dict[str, hl7.Message]:
        read = [oru(content) for content in set(self.receivers[name].got)]
        return {str(one["PID.F3.R1.C1"]): one for one in read}


def _language(name: str) -> str:
    return "ko" if name == "seoul" else "en"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("messages")
    ris, ward, seoul = (MllpReceiver() for _ in range(3))
    r4, r5 = FhirServer(FhirVersion.R4), FhirServer(FhirVersion.R5)
    ward.answers.append(ack("AE", "ERR|||207^Application internal error^HL70357|E"))
    r5.replies.append((503, {"Retry-After": "1"}, b""))
    with ris.serving(), ward.serving(), seoul.serving(), r4.serving(), r5.serving():
        made = House(folder, {"ris": ris, "ward": ward, "seoul": seoul}, {"r4": r4, "r5": r5})
        try:
            made.daemon.start()
            made.send(folder / "studies")
            Orthanc.wait_until(made.done, 120)
            yield made
        finally:
            made.daemon.close()


def figures_of_report(report: pydicom.Dataset) -> Counter[tuple[str, str, Decimal]]:
    """Of the measurements: the image library has figures of its own."""
    [measurements] = [item for item in items(report) if item.ConceptNameCodeSequence[0].CodeValue == "126010"]
    found = []
    for item in items(measurements):
        if item.ValueType == "NUM":
            value = item.MeasuredValueSequence[0]
            unit = value.MeasurementUnitsCodeSequence[0].CodeValue
            found.append((str(item.ConceptNameCodeSequence[0].CodeValue), str(unit), Decimal(str(value["NumericValue"].value))))
    return Counter(found)


def figures_of_message(message: hl7.Message) -> Counter[tuple[str, str, Decimal]]:
    return Counter((one.code[0], one.unit, Decimal(one.value)) for one in observations(message) if one.type == "NM" and one.unit)


def figures_of_bundle(body: bytes) -> Counter[tuple[str, str, Decimal]]:
    read: dict[str, Any] = json.loads(body, parse_float=Decimal, parse_int=Decimal)
    found = [e["resource"] for e in read["entry"] if "valueQuantity" in e["resource"]]
    return Counter((r["code"]["coding"][0]["code"], r["valueQuantity"]["code"], r["valueQuantity"]["value"]) for r in found)


def test_figures_of_every_message_are_the_reports_to_the_last_digit(house: House) -> None:
    reports = house.reports()
    assert reports.keys() == PATIENTS.keys()
    bundles = {name: {_patient(body): body for body in server.posts} for name, server in house.servers.items()}
    for number, report in reports.items():
        figures = figures_of_report(report)
        assert figures.total() >= 5
        for name in house.receivers:
            assert figures_of_message(house.messages(name)[number]) == figures
        for found in bundles.values():
            assert figures_of_bundle(found[number]) == figures
        named = {one.value for one in observations(house.messages("ris")[number]) if one.code[1] == "SR Instance UID"}
        assert named == {report.SOPInstanceUID}


def _patient(body: bytes) -> str:
    return str(
        next(e["resource"]["identifier"][0]["value"] for e in json.loads(body)["entry"] if e["resource"]["resourceType"] == "Patient")
    )


def test_names_arrive_as_they_were_written(house: House) -> None:
    for number, (_, name) in PATIENTS.items():
        fields = [str(one).split("^") for one in house.messages("ris")[number].segment("PID")[5]]
        assert "=".join("^".join(one[:2]) for one in fields) == name
    for server in house.servers.values():
        families = {p["identifier"][0]["value"]: "=".join(n["text"] for n in p["name"]) for p in server.of("Patient")}
        assert families == {number: name for number, (_, name) in PATIENTS.items()}


def test_languages_and_shared_files(house: House) -> None:
    assert {str(m.segment("MSH")[19]) for m in house.messages("seoul").values()} == {"ko"}
    texts = [one.value for one in observations(house.messages("seoul")["DE-1"])]
    assert any("\uc9c4\ub2e8\uc6a9\uc774 \uc544\ub2d9\ub2c8\ub2e4" in text for text in texts)
    assert set(house.receivers["ris"].got) == set(house.receivers["ward"].got)
    for folder in (house.daemon.folder / "data" / "results").iterdir():
        kinds = Counter(path.name.partition("-")[0] for path in folder.iterdir())
        assert (kinds["HL7"], kinds["FHIR"]) == (2, 2)


def test_what_was_refused_for_now_came_again_as_it_was(house: House) -> None:
    assert len(house.receivers["ward"].got) == len(PATIENTS) + 1
    assert len(set(house.receivers["ward"].got)) == len(PATIENTS)
    assert len(set(house.servers["r5"].posts)) == len(PATIENTS)
    assert len(house.servers["r5"].of("DiagnosticReport")) == len(PATIENTS)


def test_deliveries_are_shown_and_send_by_hand_knows_what_was_built(house: House) -> None:
    listed = json.loads(house.daemon.run("deliveries", "list", "--json").stdout)
    assert Counter(d["result"]["kind"] for d in listed) == {"HL7": 3 * len(PATIENTS), "FHIR": 2 * len(PATIENTS)}
    assert {d["state"] for d in listed} == {"SENT"}
    again = house.daemon.run("jobs", "send", str(listed[0]["job_id"]), "ris")
    assert again.returncode != 0
    assert "was not sent or owed already" in again.stderr
    checks = {c["check"]: c["ok"] for c in json.loads(house.daemon.run("doctor", "--json").stdout) if c["check"].startswith("destination")}
    assert checks == {f"destination {name}": True for name in (*house.receivers, *house.servers)}


def test_logs_name_nobody(house: House) -> None:
    log = house.daemon.log()
    assert f"rule={MODEL}" in log or MODEL in log
    words = [part for _, name in PATIENTS.values() for group in name.split("=") for part in group.split("^")]
    for word in (*words, *PATIENTS, *(f"A-{number}" for number in PATIENTS), "19600229"):
        assert word not in log
