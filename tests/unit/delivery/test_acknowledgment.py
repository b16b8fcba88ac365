"""Acknowledgments as receivers write them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.delivery.acknowledgment import CODES, NoAcknowledgmentError, control_id_of, outcome_of, read_acknowledgment
from dicom_node.delivery.outcomes import Verdict

STORED, RETRY, REFUSED = Verdict.STORED, Verdict.RETRY, Verdict.REFUSED


def ack(code: str, *more: str, text: str = "", version: str = "2.5.1") -> bytes:
    return "\r".join([f"MSH|^~\\&|RIS|H|AINODE||20240102||ACK^R01^ACK|9|P|{version}", f"MSA|{code}|42|{text}", *more, ""]).encode()


@pytest.mark.parametrize(
    ("content", "verdict"),
    [
        (ack("AA"), STORED),
        (ack("CA"), STORED),
        (ack("AE"), REFUSED),
        (ack("CE"), REFUSED),
        (ack("AR"), RETRY),
        (ack("CR"), RETRY),
        (ack("AE", "ERR||PID^1^3|101^Required field missing^HL70357|E"), REFUSED),
        (ack("AE", "ERR|||207^Application internal error^HL70357|E"), RETRY),
        (ack("AE", "ERR|||206|F"), RETRY),
        (ack("AR", "ERR|||203^Unsupported version id^HL70357|E"), REFUSED),
        (ack("AR", "ERR|||207|E", "ERR|||100|E"), REFUSED),
        (ack("AE", "ERR|||207|W", "ERR|||101|I"), REFUSED),
        (ack("AA", "ERR|||0|I"), STORED),
        (ack("AE", "ERR|PID^1^3^207&Application internal error&HL70357", version="2.3.1"), RETRY),
        (b"MSH|^~\\&|RIS||||20240102||ACK|9|P|2.3\rMSA|AR|42||||207^Internal^HL70357\r", RETRY),
        (b"MSH#*~\\&#RIS####20240102##ACK#9#P#2.5.1\nMSA#AE#42\nERR###204*Unknown key*HL70357#E\n", REFUSED),
    ],
)
def test_answer_decides(content: bytes, verdict: Verdict) -> None:
    read = read_acknowledgment(content)
    assert read.control_id == "42"
    outcome = outcome_of(read)
    assert outcome.verdict is verdict
    assert (outcome.status == 0) is (verdict is STORED)


@pytest.mark.parametrize("code", CODES)
def test_each_code_has_its_verdict_and_words(code: str) -> None:
    outcome = outcome_of(read_acknowledgment(ack("AE", f"ERR|||{code}^x^HL70357|E")))
    assert outcome.verdict is CODES[code][0]
    assert outcome.reason == f"answered AE, {code} ({CODES[code][1]})"


def test_what_the_receiver_says_stays_a_comment() -> None:
    outcome = outcome_of(read_acknowledgment(ack("AE", "ERR|||101|E||||PID-5 DOE^JANE is missing", text="")))
    assert "DOE" not in outcome.reason
    assert "DOE" in outcome.comment
    assert len(outcome_of(read_acknowledgment(ack("AE", text="x" * 500))).comment) == 64


@pytest.mark.parametrize(
    "content", [b"", b"\r\r", b"MSA|AA|42\r", b"MSH|^~\\&|A\r", b"MSH|^~\\&|A\rMSA|OK|42\r", b"HTTP/1.1 400 Bad Request\r\n"]
)
def test_what_is_no_acknowledgment_is_not_taken_for_one(content: bytes) -> None:
    with pytest.raises(NoAcknowledgmentError):
        read_acknowledgment(content)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_garbage_never_counts_as_stored(content: bytes) -> None:
    for begin in (b"", b"MSH|^~\\&|\r", b"MSH|^~\\&|A\rMSA|"):
        try:
            read = read_acknowledgment(begin + content)
        except NoAcknowledgmentError:
            continue
        assert read.code in ("AA", "CA", "AE", "CE", "AR", "CR")


def test_control_id_of_a_message() -> None:
    assert control_id_of(b"MSH|^~\\&|A||B||2024||ORU^R01|77|P|2.5.1\rPID|1\r") == "77"
    assert control_id_of(b"DICM") == control_id_of(b"") == control_id_of(b"MSH|^~") == ""
