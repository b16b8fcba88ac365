"""Webhooks to a real HTTP server: signed as Standard Webhooks says, and what each answer means."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import pytest

from dicom_node.config.webhook_secrets import read_secrets
from dicom_node.delivery.notices.message import Message, Surroundings
from dicom_node.delivery.notices.samples import all_samples, sample
from dicom_node.delivery.notices.webhook import body_of, post, signature, told_by_status
from dicom_node.delivery.outcomes import Verdict
from dicom_node.domain.destinations import Origin
from dicom_node.domain.notice_facts import facts_from_json
from dicom_node.domain.notices import NoticeEvent, Webhook
from dicom_node.errors import ConfigError, DeliveryError
from tests.certificates import Authority
from tests.conftest import ROOT
from tests.mail_server import Posted, WebServer

NOW = datetime(2026, 3, 2, 6, 0, 30, tzinfo=UTC)
SECRETS = [b"a" * 24, b"b" * 64]
MESSAGE = sample(NoticeEvent.FAILURE, "en", Surroundings("AINODE", "https://ai.example.org"))
SCHEMA = json.loads((ROOT / "docs" / "notices.schema.json").read_text("utf-8"))


def secret_file(folder: Path, *secrets: bytes) -> Path:
    path = folder / "secret"
    path.write_text("".join(f"whsec_{base64.b64encode(s).decode()}\n" for s in secrets))
    return path


def is_signed_by(posted: Posted, secret: bytes) -> bool:
    """Verify as a receiver does, by the specification alone."""
    content = f"{posted.headers['webhook-id']}.{posted.headers['webhook-timestamp']}.".encode() + posted.body
    wanted = base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()
    return f"v1,{wanted}" in posted.headers["webhook-signature"].split(" ")


@pytest.fixture
def server() -> Iterator[WebServer]:
    running = WebServer()
    yield running
    running.close()


def hook(server: WebServer, folder: Path, timeout_s: float = 10.0, ca: Path | None = None) -> Webhook:
    return Webhook(Origin(server.url + "/hook", timeout_s, ca=ca), secret_file(folder, *SECRETS))


def test_example_of_the_specification_is_signed_as_it_says() -> None:
    """The vector that the libraries of Standard Webhooks are tested with."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    assert signature([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_body_is_signed_with_every_secret(server: WebServer, tmp_path: Path) -> None:
    assert post("ris", hook(server, tmp_path), MESSAGE, NOW).verdict is Verdict.STORED
    [posted] = server.posted
    assert all(is_signed_by(posted, secret) for secret in SECRETS)
    assert not is_signed_by(posted, b"c" * 24)
    assert not is_signed_by(Posted(posted.path, posted.headers, posted.body + b" "), SECRETS[0])
    assert (posted.headers["webhook-id"], posted.headers["webhook-timestamp"]) == (MESSAGE.uuid, str(int(NOW.timestamp())))
    assert posted.headers["content-type"] == "application/json"
    assert json.loads(posted.body) == body_of(MESSAGE)


@pytest.mark.parametrize("message", [*all_samples(Surroundings("AINODE", "https://ai.example.org"), ("en",))], ids=lambda m: m.event)
def test_body_is_as_the_schema_says(message: Message) -> None:
    body = json.loads(json.dumps(body_of(message)))
    jsonschema.Draft202012Validator(SCHEMA).validate(body)
    for wrong in ({**body, "type": "job.other"}, {**body, "data": {**body["data"], "patient_name": "x"}}):
        assert not jsonschema.Draft202012Validator(SCHEMA).is_valid(wrong)


@pytest.mark.parametrize("message", [*all_samples(Surroundings("AINODE"), ("en",))], ids=lambda m: m.event)
def test_facts_are_read_back_from_the_database_as_they_were(message: Message) -> None:
    facts = message.facts
    assert facts_from_json(json.loads(json.dumps(facts.as_json()))) == facts


def test_redirects_are_not_followed(server: WebServer, tmp_path: Path) -> None:
    server.answers = [(307, {"Location": server.url + "/elsewhere"})]
    told = post("ris", hook(server, tmp_path), MESSAGE, NOW)
    assert told.verdict is Verdict.RETRY
    assert "redirects are not followed" in told.reason
    assert [p.path for p in server.posted] == ["/hook"]


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(200, "stored"), (202, "stored"), (204, "stored"), (299, "stored")]
    + [(s, "refused") for s in (400, 401, 403, 404, 405, 410, 413, 422)]
    + [(s, "retry") for s in (301, 308, 408, 425, 429, 500, 502, 503, 504)],
)
def test_what_an_answer_means(status: int, verdict: str) -> None:
    assert told_by_status(status, "", NOW).verdict == verdict


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("120", timedelta(minutes=2)),
        ("Mon, 02 Mar 2026 06:01:30 GMT", timedelta(minutes=1)),
        ("Mon, 02 Mar 2020 06:01:30 GMT", timedelta(0)),
        ("99999999999999999999", None),
        ("9999999", timedelta(days=1)),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_heeded_up_to_a_day(header: str, wait: timedelta | None) -> None:
    assert told_by_status(503, header, NOW).retry_after == wait


def test_https_needs_a_certificate_of_the_right_authority(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path, "hook-ca"), Authority(tmp_path, "other-ca", number=3)
    server = WebServer(authority.issue("hook"))
    try:
        assert post("ris", hook(server, tmp_path, ca=authority.ca), MESSAGE, NOW).verdict is Verdict.STORED
        with pytest.raises(DeliveryError, match="receiver ris: TLS failed"):
            post("ris", hook(server, tmp_path, ca=other.ca), MESSAGE, NOW)
    finally:
        server.close()
    assert len(server.posted) == 1


def test_silent_receiver_costs_its_time_out(server: WebServer, tmp_path: Path) -> None:
    waits = threading.Event()
    server.before_answer = lambda: waits.wait(5)
    with pytest.raises(DeliveryError, match=r"nothing came for 0\.3 s"):
        post("ris", hook(server, tmp_path, timeout_s=0.3), MESSAGE, NOW)
    waits.set()


def test_errors_do_not_quote_the_url(server: WebServer, tmp_path: Path) -> None:
    server.close()
    with pytest.raises(DeliveryError) as caught:
        post("ris", hook(server, tmp_path), MESSAGE, NOW)
    assert "/hook" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "holds no secret"),
        ("c2VjcmV0", "begins with whsec_"),
        ("whsec_c2VjcmV0", "6 bytes, 24 to 64"),
        ("whsec_***", "no base64"),
        ("whsec_ä", "no ASCII"),
    ],
)
def test_secret_must_be_one(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "secret"
    path.write_text(content, "utf-8")
    with pytest.raises(ConfigError, match=words):
        read_secrets(path)
