"""E-mails to a real mail server: with STARTTLS, implicit TLS and login, and to ones that refuse, put off, or say nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.delivery.notices import email
from dicom_node.delivery.notices.message import Surroundings
from dicom_node.delivery.notices.samples import sample
from dicom_node.delivery.notices.told import Told
from dicom_node.delivery.notices.wording import Mail, Templates
from dicom_node.delivery.outcomes import Verdict
from dicom_node.domain.notices import NoticeEvent, SmtpSecurity, SmtpServer
from dicom_node.errors import DeliveryError
from tests.certificates import Authority
from tests.mail_server import PASSWORD, USER, MailServer, SilentServer

OPS, WARD = "ops@hospital.example", "ward@hospital.example"
MESSAGE = sample(NoticeEvent.CRITICAL, "ko", Surroundings("AINODE"))
Start = Callable[..., MailServer]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"), "mail-ca")


@pytest.fixture
def start() -> Iterator[Start]:
    """Start mail servers that end with the test."""
    running: list[MailServer] = []

    def begin(*arguments: object, **options: object) -> MailServer:
        running.append(MailServer(*arguments, **options))  # type: ignore[arg-type]
        return running[-1]

    yield begin
    for server in running:
        server.close()


def plain(port: int, timeout_s: float = 10.0) -> SmtpServer:
    return SmtpServer("127.0.0.1", port, SmtpSecurity.NONE, "node@hospital.example", timeout_s)


def told(server: SmtpServer, *recipients: str) -> Told:
    composed = email.compose(MESSAGE, Templates().write(MESSAGE), server.sender, recipients)
    return email.send(server, composed, recipients)


def test_message_arrives_as_it_was_written(start: Start) -> None:
    server = start()
    assert told(plain(server.port), OPS, WARD) == Told(Verdict.STORED, "", (OPS, WARD))
    [taken] = server.taken
    assert (taken.sender, taken.recipients) == ("node@hospital.example", [OPS, WARD])
    assert taken.message["Subject"] == "[AINODE] chest-ct-densitometry 긴급 소견, 작업 4711"
    assert taken.message["Message-ID"] == f"<{MESSAGE.uuid}@hospital.example>"
    assert taken.message["Auto-Submitted"] == "auto-generated"
    assert taken.message["To"] == f"{OPS}, {WARD}"
    written = Templates().write(MESSAGE)
    assert taken.part("plain").replace("\r\n", "\n").strip() == written.text.strip()
    assert taken.part("html").replace("\r\n", "\n").strip() == written.html.strip()
    assert taken.content.isascii()  # nothing that a server without 8BITMIME could not take


@pytest.mark.parametrize("security", [SmtpSecurity.STARTTLS, SmtpSecurity.TLS])
def test_over_tls_with_login(start: Start, authority: Authority, tmp_path: Path, security: SmtpSecurity) -> None:
    server = start(authority.issue("mail"), implicit=security is SmtpSecurity.TLS, login=True)
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    settings = replace(plain(server.port), security=security, ca=authority.ca, username=USER, password_file=password)
    assert told(settings, OPS).verdict is Verdict.STORED
    assert len(server.taken) == 1
    assert "login accepted" in email.check(settings)
    password.write_text("another")
    with pytest.raises(DeliveryError, match=r"login refused \(535\)"):
        told(settings, OPS)
    password.unlink()
    with pytest.raises(DeliveryError, match="password_file of smtp cannot be read"):
        told(settings, OPS)
    assert len(server.taken) == 1


@pytest.mark.parametrize("security", [SmtpSecurity.STARTTLS, SmtpSecurity.TLS])
def test_certificate_of_a_stranger_is_not_accepted(start: Start, authority: Authority, tmp_path: Path, security: SmtpSecurity) -> None:
    server = start(authority.issue("mail"), implicit=security is SmtpSecurity.TLS)
    other = Authority(tmp_path, "other-ca", number=3)
    with pytest.raises(DeliveryError, match="certificate is not accepted"):
        told(replace(plain(server.port), security=security, ca=other.ca), OPS)
    with pytest.raises(DeliveryError, match="certificate is not accepted"):  # the machine's own authorities
        told(replace(plain(server.port), security=security), OPS)
    assert not server.taken


def test_certificate_must_name_the_host(start: Start, authority: Authority) -> None:
    server = start(authority.issue("mail"))
    with pytest.raises(DeliveryError, match="certificate is not accepted"):
        told(replace(plain(server.port), host="localhost", security=SmtpSecurity.STARTTLS, ca=authority.ca), OPS)
    assert not server.taken


def test_nothing_goes_in_the_clear_where_starttls_is_not_offered(start: Start) -> None:
    server = start()
    with pytest.raises(DeliveryError, match="does not offer STARTTLS"):
        told(replace(plain(server.port), security=SmtpSecurity.STARTTLS), OPS)
    assert not server.taken


@pytest.mark.parametrize(
    ("answers", "verdict", "taken", "refused"),
    [
        ({WARD: "550 5.1.1 no such user"}, Verdict.STORED, (OPS,), {WARD: "550 5.1.1 no such user"}),
        ({WARD: "451 4.7.1 greylisted"}, Verdict.RETRY, (OPS,), {}),
        ({OPS: "451 4.7.1 greylisted", WARD: "550 no"}, Verdict.RETRY, (), {WARD: "550 no"}),
        ({OPS: "550 no", WARD: "553 no"}, Verdict.REFUSED, (), {OPS: "550 no", WARD: "553 no"}),
    ],
)
def test_each_recipient_has_an_answer_of_its_own(
    start: Start, answers: dict[str, str], verdict: Verdict, taken: tuple[str, ...], refused: dict[str, str]
) -> None:
    server = start()
    server.handler.by_recipient = answers
    found = told(plain(server.port), OPS, WARD)
    assert (found.verdict, found.taken, found.refused) == (verdict, taken, refused)
    assert [t.recipients for t in server.taken] == ([list(taken)] if taken else [])
    assert "@" not in found.reason  # it may be logged


@pytest.mark.parametrize(
    ("to_mail", "to_data", "verdict"),
    [
        ("250 OK", "452 4.3.1 disk full", Verdict.RETRY),
        ("250 OK", "554 5.7.1 looks like spam to ops@hospital.example", Verdict.REFUSED),
        ("450 4.1.8 later", "250 OK", Verdict.RETRY),
        ("550 5.1.8 who are you", "250 OK", Verdict.REFUSED),
    ],
)
def test_4xx_is_tried_again_and_5xx_is_final(start: Start, to_mail: str, to_data: str, verdict: Verdict) -> None:
    server = start()
    server.handler.to_mail, server.handler.to_data = to_mail, [to_data]
    found = told(plain(server.port), OPS)
    assert found.verdict is verdict
    assert not found.taken
    assert (to_mail if to_mail[0] != "2" else to_data)[:9].rstrip(" w") in found.reason
    assert "@" not in found.reason


def test_server_that_says_nothing_costs_its_time_out() -> None:
    server = SilentServer()
    with pytest.raises(DeliveryError, match=r"no answer within 0.3 s|did not answer within 0.3 s"):
        told(plain(server.port, 0.3), OPS)
    server.close()


def test_nobody_there_is_said() -> None:
    server = SilentServer()
    server.close()
    with pytest.raises(DeliveryError, match="Connection refused"):
        told(plain(server.port), OPS)


@pytest.mark.parametrize("subject", ["a\r\nBcc: x@y.example", "a\nb", "a\rb"])
def test_header_injection_is_impossible(subject: str) -> None:
    with pytest.raises(ValueError, match=r"linefeed|newline|carriage|header"):
        email.compose(MESSAGE, Mail(subject, "", ""), "node@hospital.example", [OPS])
