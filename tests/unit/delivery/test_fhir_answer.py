"""Answers of FHIR servers."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from dicom_node.delivery.fhir_answer import STATUSES, Meaning, issues_of, meaning_of, outcome_of_success, reason_of_failure, wait_of
from dicom_node.delivery.outcomes import Verdict

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def answer(*statuses: object, kind: str = "transaction-response") -> bytes:
    return json.dumps({"resourceType": "Bundle", "type": kind, "entry": [{"response": {"status": s}} for s in statuses]}).encode()


def outcome_issue(code: str, **more: object) -> bytes:
    return json.dumps({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code, **more}]}).encode()


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        (answer("201 Created", "200 OK"), Verdict.STORED),
        (answer("201", "412 Precondition Failed"), Verdict.REFUSED),
        (answer("201 Created"), Verdict.REFUSED),
        (answer("201", "200", kind="batch-response"), Verdict.RETRY),
        (b"", Verdict.RETRY),
        (b"<html>Please log in</html>", Verdict.RETRY),
        (b"[1, 2]", Verdict.RETRY),
        (b'{"resourceType": "Bundle", "type": "transaction-response", "entry": 2}', Verdict.RETRY),
        (b'{"resourceType": "Bundle", "type": "transaction-response", "entry": [1, {"response": 2}]}', Verdict.REFUSED),
        (b"[" * 100_000, Verdict.RETRY),
    ],
)
def test_only_a_success_of_every_entry_counts(body: bytes, verdict: Verdict) -> None:
    assert outcome_of_success(body, 2).verdict is verdict


@pytest.mark.parametrize(
    ("status", "meaning"), [(302, Meaning.LATER), (418, Meaning.REFUSED), (599, Meaning.LATER), (422, Meaning.REFUSED)]
)
def test_statuses_that_the_table_has_not(status: int, meaning: Meaning) -> None:
    assert meaning_of(status)[0] is meaning


def test_brief_statuses() -> None:
    assert all(STATUSES[s][0] is Meaning.REFUSED for s in (400, 409, 412, 422))
    assert all(STATUSES[s][0] is not Meaning.REFUSED for s in (401, 403, 429, 500, 503))


def test_reason_has_issue_types_and_never_the_servers_words() -> None:
    body = outcome_issue("multiple-matches", diagnostics="Patient DOE, JANE matches twice")
    reason, said = reason_of_failure(412, body)
    assert reason == "HTTP 412: several resources have an identifier that must be unique (multiple-matches)"
    assert said == "Patient DOE, JANE matches twice"
    assert issues_of(outcome_issue("DOE JANE"))[0] == ""
    assert issues_of(outcome_issue("invalid", details={"text": "at PID 7"})) == ("invalid", "at PID 7")
    assert issues_of(b'{"issue": [3, {"code": ["x"]}]}') == issues_of(b"nothing") == ("", "")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("", 0), ("30", 30), ("Thu, 01 Jan 2026 12:02:00 GMT", 120), ("Thu, 01 Jan 2026 11:00:00 GMT", 0), ("soon", 0), ("9" * 30, 86_400)],
)
def test_wait_that_the_server_asks_for(header: str, seconds: float) -> None:
    assert wait_of(header, NOW) == seconds
