from __future__ import annotations

import json

import pytest

from dicom_node.delivery.outcomes import Verdict, outcome_from_status
from dicom_node.delivery.stow_answer import AnswerError, Unnamed, outcome_of_unnamed, outcomes, read_answer, unnamed

JSON = "application/dicom+json"
XML = "application/dicom+xml; charset=utf-8"


def item(uid: str, **codes: int) -> dict[str, object]:
    tags = {"failure": "00081197", "warning": "00081196"}
    return {"00081155": {"vr": "UI", "Value": [uid]}, **{tags[name]: {"vr": "US", "Value": [code]} for name, code in codes.items()}}


def body(**sequences: list[dict[str, object]]) -> bytes:
    tags = {"stored": "00081199", "failed": "00081198", "other": "0008119A"}
    return json.dumps({tags[name]: {"vr": "SQ", "Value": items} for name, items in sequences.items()}).encode()


@pytest.mark.parametrize(
    ("code", "verdict", "status"),
    [
        *((code, outcome_from_status(code).verdict, code) for code in (0x0110, 0x0112, 0x0117, 0x0122, 0x0124, 0x0213)),
        *((code, outcome_from_status(code).verdict, code) for code in (0xA700, 0xA702, 0xA900, 0xA901, 0xC000, 0xC211)),
        (0x0111, Verdict.STORED, 0x0111),
        (0xB00E, Verdict.STORED, 0x0111),
        (0xC122, Verdict.REFUSED, 0xC122),
        (0xB007, Verdict.REFUSED, 0xB007),
        (0, Verdict.RETRY, None),
    ],
)
def test_failure_reasons_mean_what_c_store_statuses_mean(code: int, verdict: Verdict, status: int | None) -> None:
    found = outcomes(read_answer(body(stored=[item("1.1")], failed=[item("1.2", failure=code)]), JSON), ["1.1", "1.2"])
    assert (found["1.1"].verdict, found["1.1"].status) == (Verdict.STORED, 0)
    assert (found["1.2"].verdict, found["1.2"].status) == (verdict, status)


def test_a_warning_is_stored_and_shown() -> None:
    found = outcomes(read_answer(body(stored=[item("1.1", warning=0xB006), item("1.2", warning=0xA900)]), JSON), ["1.1", "1.2"])
    assert (found["1.1"].verdict, found["1.1"].status) == (Verdict.STORED, 0xB006)
    assert "discarded" in found["1.1"].reason
    assert (found["1.2"].verdict, found["1.2"].status, found["1.2"].reason) == (Verdict.STORED, 0, "stored with warning A900")


def test_what_stands_in_both_sequences_has_failed() -> None:
    found = outcomes(read_answer(body(stored=[item("1.1")], failed=[item("1.1", failure=0xA900)]), JSON), ["1.1"])
    assert found["1.1"].verdict is Verdict.REFUSED


def test_other_failures_are_those_of_an_only_instance() -> None:
    answer = read_answer(body(other=[{"00081197": {"vr": "US", "Value": [0xC000]}}]), JSON)
    assert outcomes(answer, ["1.1"])["1.1"].status == 0xC000
    assert outcomes(answer, ["1.1", "1.2"]) == {}


@pytest.mark.parametrize(
    "content",
    [
        b"[" + body(stored=[item("1.1")]) + b"]",
        body(stored=[item("1.1\0")]),
        b'{"00081199": {"Value": [{"00081155": {"Value": ["1.1"]}}]}, "00081198": {"vr": "SQ"}, "0008119A": {"Value": null}}',
        b'{"00081198": {"Value": [null, {"00081155": {"Value": []}}]}, "00081199": {"Value": [{"00081155": {"Value": ["1.1"]}}]}}',
    ],
)
def test_json_is_read_as_servers_write_it(content: bytes) -> None:
    assert outcomes(read_answer(content, JSON), ["1.1"])["1.1"].verdict is Verdict.STORED


def test_xml_is_read() -> None:
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">'
        '<DicomAttribute keyword="FailedSOPSequence" tag="00081198" vr="SQ"><Item number="1">'
        '<DicomAttribute tag="00081155" vr="UI"><Value number="1">1.2</Value></DicomAttribute>'
        '<DicomAttribute tag="00081197" vr="US"><Value number="1">290</Value></DicomAttribute></Item></DicomAttribute>'
        '<DicomAttribute tag="0008119a" vr="SQ"/>'
        '<DicomAttribute tag="00081199" vr="SQ"><Item number="1">'
        '<DicomAttribute tag="00081155" vr="UI"><Value number="1">1.1</Value></DicomAttribute></Item></DicomAttribute></NativeDicomModel>'
    )
    found = outcomes(read_answer(text.encode(), XML), ["1.1", "1.2"])
    assert (found["1.1"].verdict, found["1.2"].status) == (Verdict.STORED, 0x0122)


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"<html>please log in</html>", "text/html"),
        (b"{", JSON),
        (b'"text"', JSON),
        (b"[1]", JSON),
        (b'{"00081198": {"Value": [{"00081155": {"Value": ["1.1"]}, "00081197": {"Value": ["much"]}}]}}', JSON),
        (b"<a", XML),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', XML),
        (b"[" * 100_000, JSON),
    ],
)
def test_what_is_no_answer_is_an_error(content: bytes, media_type: str) -> None:
    with pytest.raises(AnswerError):
        read_answer(content, media_type)


def test_only_an_empty_200_says_that_an_unnamed_instance_is_stored() -> None:
    stored = [(status, empty) for status in range(200, 600) for empty in (True, False) if unnamed(status, empty=empty) is Unnamed.STORED]
    assert stored == [(200, True)]
    assert outcome_of_unnamed(200, Unnamed.STORED).verdict is Verdict.STORED
