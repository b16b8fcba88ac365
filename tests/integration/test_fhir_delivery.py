"""Bundles to a FHIR server that validates, creates conditionally and refuses."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.delivery.channel import channel_to
from dicom_node.delivery.outcomes import Outcome, Verdict
from dicom_node.domain import destinations
from dicom_node.domain.destinations import FhirVersion, Origin
from dicom_node.errors import DeliveryError
from dicom_node.sr_writer.messages import FhirForm, build_messages
from tests.conftest import free_port
from tests.integration.fhir_server import FhirServer, Reply
from tests.result_findings import request
from tests.result_sources import stack

STORED, RETRY, REFUSED = Verdict.STORED, Verdict.RETRY, Verdict.REFUSED
JSON = {"Content-Type": "application/fhir+json"}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[FhirVersion, Path]:
    folder, found = tmp_path_factory.mktemp("bundles"), {}
    for one in build_messages(request(stack()), (), [FhirForm("en", version, "urn:oid:1.2.3", "urn:oid:1.2.4") for version in FhirVersion]):
        assert isinstance(one.form, FhirForm)
        found[one.form.version] = folder / f"FHIR-{one.form.version}.json"
        found[one.form.version].write_bytes(one.content)
    return found


@pytest.fixture
def server() -> Iterator[FhirServer]:
    with FhirServer().serving() as found:
        yield found


def to(url: str, timeout_s: float = 5.0, **origin: object) -> destinations.FhirServer:
    made = dataclasses.replace(Origin(url, timeout_s), **origin)  # type: ignore[arg-type]
    return destinations.FhirServer("ehr", made, FhirVersion.R4, "en")


def send(destination: destinations.FhirServer, paths: list[Path]) -> list[Outcome]:
    outcomes: dict[int, Outcome] = {}
    channel_to("AINODE", destination).send(paths, outcomes.__setitem__)
    return [outcomes[n] for n in range(len(paths))]


@pytest.mark.parametrize("version", FhirVersion)
def test_bundle_is_stored_once_however_often_it_comes(paths: dict[FhirVersion, Path], version: FhirVersion) -> None:
    with FhirServer(version).serving() as server:
        first, again = send(to(server.url), [paths[version], paths[version]])
        assert (first.verdict, first.status, again.verdict) == (STORED, 0, STORED)
        assert len(server.resources) == len(json.loads(server.posts[0])["entry"])
        assert [len(server.of(kind)) for kind in ("Patient", "DiagnosticReport", "ImagingStudy", "Device")] == [1, 1, 1, 1]
        [report] = server.of("DiagnosticReport")
        assert report["subject"]["reference"] in server.resources
        assert all(one["reference"] in server.resources for one in report["result"])


def test_patient_that_the_server_has_is_kept(server: FhirServer, paths: dict[FhirVersion, Path]) -> None:
    known = {"resourceType": "Patient", "identifier": [{"system": "urn:oid:1.2.3", "value": "PH-4712"}], "name": [{"family": "Married"}]}
    server.resources["Patient/known"] = known
    assert send(to(server.url), [paths[FhirVersion.R4]])[0].verdict is STORED
    assert server.of("Patient") == [known]
    assert {o["subject"]["reference"] for o in server.of("Observation")} == {"Patient/known"}


def test_two_patients_of_one_identifier_refuse_the_whole(server: FhirServer, paths: dict[FhirVersion, Path]) -> None:
    for name in ("a", "b"):
        server.resources[f"Patient/{name}"] = {"identifier": [{"system": "urn:oid:1.2.3", "value": "PH-4712"}]}
    [outcome] = send(to(server.url), [paths[FhirVersion.R4]])
    assert (outcome.verdict, outcome.status) == (REFUSED, None)
    assert outcome.reason.startswith("HTTP 412")
    assert outcome.reason.endswith("(multiple-matches)")
    assert "Phantom" not in outcome.reason
    assert "Phantom" in outcome.comment
    assert len(server.resources) == 2


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ((400, JSON, b""), REFUSED),
        ((409, JSON, b""), REFUSED),
        ((422, JSON, b'{"resourceType": "OperationOutcome", "issue": [{"code": "invariant"}]}'), REFUSED),
        ((200, {"Content-Type": "text/html"}, b"<html>log in</html>"), RETRY),
        ((202, JSON, b""), RETRY),
        ((500, JSON, b""), RETRY),
        ((429, JSON, b""), RETRY),
    ],
)
def test_answers_about_one_bundle(server: FhirServer, paths: dict[FhirVersion, Path], reply: Reply, verdict: Verdict) -> None:
    server.replies.append(reply)
    first, second = send(to(server.url), [paths[FhirVersion.R4]] * 2)
    assert (first.verdict, second.verdict) == (verdict, STORED)


@pytest.mark.parametrize("status", [429, 503])
def test_server_that_wants_to_be_left_alone_gets_nothing_more(server: FhirServer, paths: dict[FhirVersion, Path], status: int) -> None:
    server.replies.append((status, {**JSON, "Retry-After": "90"}, b""))
    outcomes = send(to(server.url), [paths[FhirVersion.R4]] * 3)
    assert [(o.verdict, o.wait_s) for o in outcomes] == [(RETRY, 90.0)] * 3
    assert len(server.posts) == 1


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "token_file"), (403, "right to post"), (404, "check url"), (302, "final address"), (502, "")]
)
def test_fault_of_the_destination_keeps_everything_owed(server: FhirServer, paths: dict[FhirVersion, Path], status: int, hint: str) -> None:
    server.replies.append((status, {**JSON, "Location": "http://127.0.0.1:1/elsewhere"}, b""))
    with pytest.raises(DeliveryError, match=f"HTTP {status}") as caught:
        send(to(server.url), [paths[FhirVersion.R4]])
    assert hint in caught.value.hint


def test_cut_and_closed_port(server: FhirServer, paths: dict[FhirVersion, Path]) -> None:
    server.replies.append((0, {}, b""))
    for url in (server.url, f"http://127.0.0.1:{free_port()}/fhir"):
        with pytest.raises(DeliveryError, match="nobody listens there, or the connection broke"):
            send(to(url), [paths[FhirVersion.R4]])


def test_token_and_probe(paths: dict[FhirVersion, Path], tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("s3cret\n")
    with FhirServer(token="s3cret").serving() as server:
        assert send(to(server.url, token_file=secret), [paths[FhirVersion.R4]])[0].verdict is STORED
        assert channel_to("AINODE", to(server.url, token_file=secret)).probe() == "ehr answers with FHIR 4.0.1"
        with pytest.raises(DeliveryError, match="HTTP 401"):
            channel_to("AINODE", to(server.url)).probe()
        with pytest.raises(DeliveryError, match="HTTP 404"):
            channel_to("AINODE", to(f"{server.url}/r4", token_file=secret)).probe()
        server.replies.append((200, JSON, b"<html>"))
        with pytest.raises(DeliveryError, match="no capability statement"):
            channel_to("AINODE", to(server.url)).probe()


def test_other_content_is_refused_without_a_request(server: FhirServer, tmp_path: Path) -> None:
    other = tmp_path / "HL7-1.hl7"
    other.write_bytes(b"MSH|")
    assert [o.verdict for o in send(to(server.url), [other, tmp_path / "gone.json"])] == [REFUSED, REFUSED]
    assert server.posts == []
