"""Notices as e-mails, by SMTP.

Source: RFC 5321 (replies), RFC 3207 (STARTTLS), RFC 8314 (implicit TLS), RFC 4954 (AUTH), RFC 3834 (Auto-Submitted).
"""

from __future__ import annotations

import base64
import contextlib
import re
import smtplib
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from dicom_node.delivery.notices.message import Message
from dicom_node.delivery.notices.told import Told
from dicom_node.delivery.notices.wording import Mail
from dicom_node.delivery.outcomes import Verdict
from dicom_node.domain.notices import SmtpSecurity, SmtpServer
from dicom_node.errors import DeliveryError
from dicom_node.ops.tls import reason_of

_POLICY = SMTP.clone(cte_type="7bit")  # a mail server need not offer 8BITMIME
_CONTROL = re.compile(r"[^\x20-\x7e]+")
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?!\S)")
_LONGEST_REPLY = 200


def compose(message: Message, mail: Mail, sender: str, recipients: Sequence[str]) -> EmailMessage:
    """Give a notice the form of an e-mail; the same notice has the same Message-ID in every attempt.

    Args:
        message: The notice.
        mail: Its words.
        sender: Address that it comes from.
        recipients: All addresses of the receiver.

    Raises:
        ValueError: a header would have a line break in it.
    """
    composed = EmailMessage(policy=_POLICY)
    composed["From"] = sender
    composed["To"] = ", ".join(recipients)
    composed["Subject"] = mail.subject
    composed["Date"] = format_datetime(message.at)
    composed["Message-ID"] = f"<{message.uuid}@{sender.rpartition('@')[2]}>"
    composed["Auto-Submitted"] = "auto-generated"
    composed["X-Auto-Response-Suppress"] = "All"
    composed["Content-Language"] = message.language
    composed.set_content(mail.text)
    composed.add_alternative(mail.html, subtype="html")
    return composed


def send(server: SmtpServer, composed: EmailMessage, recipients: Sequence[str]) -> Told:
    """Hand an e-mail to the mail server.

    Args:
        server: Where to.
        composed: As `compose` made it.
        recipients: Who has not taken it yet.

    Raises:
        DeliveryError: no connection, no TLS, no login, or it broke; nobody is known to have it.
    """
    with connected(server) as smtp, _worded(server):
        content = composed.as_bytes()
        code, reply = smtp.mail(server.sender, [f"size={len(content)}"] if smtp.has_extn("size") else [])
        if code != 250:
            return Told(_verdict(code), f"the mail server does not take the sender: {_code(code, reply)}")
        answers = {recipient: smtp.rcpt(recipient) for recipient in recipients}
        accepted = tuple(r for r, (code, _) in answers.items() if 200 <= code < 300)
        refused = {r: _words(*answer) for r, answer in answers.items() if answer[0] >= 500}
        later = [answer for answer in answers.values() if 300 <= answer[0] < 500]
        if accepted:
            code, reply = smtp.data(content)
            if code != 250:
                verdict = _verdict(code)
                everybody = {**refused, **(dict.fromkeys(accepted, _words(code, reply)) if verdict is Verdict.REFUSED else {})}
                words = f"the mail server does not take the message: {_code(code, reply)}"
                return Told(Verdict.RETRY if later else verdict, words, (), everybody)
        return _told(accepted, refused, later)


def check(server: SmtpServer) -> str:
    """Connect, log in, and ask nothing; returns what was found, in words.

    Raises:
        DeliveryError: it does not work, and why.
    """
    with connected(server) as smtp, _worded(server):
        code, reply = smtp.noop()
        if code != 250:
            raise DeliveryError(f"mail server answers NOOP with {_code(code, reply)}")
    protected = {SmtpSecurity.NONE: "without TLS", SmtpSecurity.STARTTLS: "with STARTTLS", SmtpSecurity.TLS: "with TLS"}[server.security]
    return f"{server.host}:{server.port} answers {protected}" + (", login accepted" if server.username else "")


@contextmanager
def connected(server: SmtpServer) -> Iterator[smtplib.SMTP]:
    """Connect, protect the connection, log in; hang up at the end.

    Raises:
        DeliveryError: one of these failed.
    """
    with _worded(server):
        context = _context(server)
        name = socket.gethostname()  # smtplib's own way asks the name server, which may be silent
        if server.security is SmtpSecurity.TLS:
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(server.host, server.port, name, timeout=server.timeout_s, context=context)
        else:
            smtp = smtplib.SMTP(server.host, server.port, name, timeout=server.timeout_s)
    try:
        with _worded(server):
            smtp.ehlo_or_helo_if_needed()
            if server.security is SmtpSecurity.STARTTLS:
                smtp.starttls(context=context)
                smtp.ehlo_or_helo_if_needed()
            if server.username:
                _log_in(smtp, server.username, _password(server))
        yield smtp
    finally:
        with contextlib.suppress(smtplib.SMTPException, OSError):
            smtp.quit()
        smtp.close()


@contextmanager
def _worded(server: SmtpServer) -> Iterator[None]:
    place = f"mail server {server.host}:{server.port}"
    try:
        yield
    except smtplib.SMTPAuthenticationError as error:
        raise DeliveryError(f"{place}: login refused ({error.smtp_code})", hint="check username and password_file of smtp") from error
    except smtplib.SMTPNotSupportedError as error:
        what = "STARTTLS" if server.security is SmtpSecurity.STARTTLS and "STARTTLS" in str(error) else "the login that is needed"
        raise DeliveryError(f"{place} does not offer {what}", hint="check port, security and username of smtp") from error
    except smtplib.SMTPServerDisconnected as error:
        raise DeliveryError(f"{place} closed the connection, or did not answer within {server.timeout_s:g} s") from error
    except smtplib.SMTPResponseException as error:
        raise DeliveryError(f"{place}: {_code(error.smtp_code, error.smtp_error)}") from error
    except smtplib.SMTPException as error:
        raise DeliveryError(f"{place}: {type(error).__name__}") from error
    except ssl.SSLError as error:
        raise DeliveryError(f"{place}: TLS failed: {reason_of(error)}", hint="check ca, host and security of smtp") from error
    except TimeoutError as error:
        raise DeliveryError(f"{place}: no answer within {server.timeout_s:g} s", hint="check host, port and security of smtp") from error
    except OSError as error:
        raise DeliveryError(f"{place}: {error.strerror or type(error).__name__}", hint="check host and port of smtp") from error


def _context(server: SmtpServer) -> ssl.SSLContext | None:
    if server.security is SmtpSecurity.NONE:
        return None
    try:
        return ssl.create_default_context(cafile=server.ca)
    except (OSError, ssl.SSLError) as error:
        raise DeliveryError("ca of smtp cannot be read", hint=f"look at {server.ca}") from error


def _log_in(smtp: smtplib.SMTP, username: str, password: str) -> None:
    """Log in; the library's own way knows ASCII only. Source: RFC 4616, AUTH PLAIN in UTF-8."""
    if username.isascii() and password.isascii():
        smtp.login(username, password)
        return
    if "PLAIN" not in str(smtp.esmtp_features.get("auth", "")).upper().split():
        raise smtplib.SMTPNotSupportedError("PLAIN")
    response = base64.b64encode(f"\0{username}\0{password}".encode()).decode("ascii")
    code, reply = smtp.docmd("AUTH", f"PLAIN {response}")
    if code != 235:
        raise smtplib.SMTPAuthenticationError(code, reply)


def _password(server: SmtpServer) -> str:
    """Read the password anew each time, so that a replaced file is taken over."""
    if server.password_file is None:
        return ""
    try:
        return server.password_file.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise DeliveryError(
            f"password_file of smtp cannot be read ({type(error).__name__})", hint=f"look at {server.password_file}"
        ) from error


def _told(accepted: Sequence[str], refused: dict[str, str], later: Sequence[tuple[int, bytes]]) -> Told:
    count = len(accepted) + len(refused) + len(later)
    if later:
        return Told(Verdict.RETRY, f"{len(later)} of {count} recipients not taken now: {_code(*later[0])}", tuple(accepted), refused)
    if not accepted:
        codes = ", ".join(sorted({words.partition(" ")[0] for words in refused.values()}))
        return Told(Verdict.REFUSED, f"no recipient is taken ({codes})", (), refused)
    return Told(Verdict.STORED, f"{len(accepted)} of {count} recipients taken" if refused else "", tuple(accepted), refused)


def _verdict(code: int) -> Verdict:
    return Verdict.REFUSED if code >= 500 else Verdict.RETRY


def _words(code: int, reply: bytes | str) -> str:
    """Write a reply. Its text may hold addresses: not for logs."""
    return f"{code} {_text(reply)[:_LONGEST_REPLY]}".strip()


def _code(code: int, reply: bytes | str) -> str:
    """Name a reply by its code and, where there is one, its enhanced code, which hold nobody's address. Source: RFC 3463."""
    enhanced = _ENHANCED.match(_text(reply))
    return f"{code} {enhanced[0]}" if enhanced else str(code)


def _text(reply: bytes | str) -> str:
    return _CONTROL.sub(" ", reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply)
