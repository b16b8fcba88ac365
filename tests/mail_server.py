"""A real mail server and a real HTTP server on loopback that answer what the test tells them, and keep what they were given."""

from __future__ import annotations

import email
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.certificates import Pair
from tests.conftest import free_port

USER, PASSWORD = "node", "geheim-Wörter"


@dataclass
class Taken:
    """One message that the server answered with 250."""

    sender: str
    recipients: list[str]
    content: bytes

    @property
    def message(self) -> EmailMessage:
        parsed = email.message_from_bytes(self.content, policy=default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    def part(self, subtype: str) -> str:
        found = self.message.get_body((subtype,))
        assert found is not None
        return str(found.get_content())


@dataclass
class MailHandler:
    """Answers by recipient and for the message; what was taken is in `taken`.

    Attributes:
        by_recipient: Answers to RCPT TO, by address.
        to_data: Answers to messages, the last one for ever.
        before_answer: Called when a message is there and not answered yet.
    """

    taken: list[Taken] = field(default_factory=list)
    by_recipient: dict[str, str] = field(default_factory=dict)
    needs_login: bool = False
    to_mail: str = "250 OK"
    to_data: list[str] = field(default_factory=lambda: ["250 OK"])
    before_answer: Callable[[], object] = lambda: None

    async def handle_MAIL(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802 - aiosmtpd's name
        if self.needs_login and not session.authenticated:
            return "530 5.7.0 authentication required"
        envelope.mail_from = address
        return self.to_mail

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:  # noqa: N802 - aiosmtpd's name
        answer = self.by_recipient.get(address, "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        answer = self.to_data.pop(0) if len(self.to_data) > 1 else self.to_data[0]
        if answer.startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.taken.append(Taken(str(envelope.mail_from), list(envelope.rcpt_tos), envelope.content))
        self.before_answer()
        return answer


class _Controller(Controller):
    """Aiosmtpd's own waits for its server by speaking SMTP with it, which one with implicit TLS of another authority does not allow."""

    def _trigger_server(self) -> None:
        with socket.create_connection((self.hostname, self.port), 5):
            pass


class MailServer:
    """Listens on a free port until closed."""

    def __init__(self, pair: Pair | None = None, *, implicit: bool = False, login: bool = False) -> None:
        """Start.

        Args:
            pair: Certificate; without one there is no TLS.
            implicit: TLS from the first byte, not STARTTLS.
            login: Take nothing without `USER` and `PASSWORD`.
        """
        self.handler = MailHandler()
        context = None
        if pair is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(pair.certificate, pair.key)
        self.handler.needs_login = login
        options: dict[str, Any] = {"server_hostname": "mail.example", "authenticator": _authenticate, "auth_require_tls": not implicit}
        if context is not None and not implicit:
            options |= {"tls_context": context, "require_starttls": True}
        tls = context if implicit else None
        self._controller = _Controller(self.handler, hostname="127.0.0.1", port=free_port(), ssl_context=tls, **options)
        self._controller.start()

    @property
    def port(self) -> int:
        return int(self._controller.port)

    @property
    def taken(self) -> list[Taken]:
        return self.handler.taken

    def close(self) -> None:
        self._controller.stop()


class SilentServer:
    """Takes connections and says nothing."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def close(self) -> None:
        self._listener.close()


@dataclass
class Posted:
    path: str
    headers: dict[str, str]
    body: bytes


class WebServer:
    """Takes POST requests; `answers` are statuses with headers, the last one for ever."""

    def __init__(self, pair: Pair | None = None) -> None:
        self.posted: list[Posted] = []
        self.answers: list[tuple[int, dict[str, str]]] = [(204, {})]
        self.before_answer: Callable[[], object] = lambda: None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.posted.append(Posted(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                outer.before_answer()
                status, headers = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature is the library's
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if pair is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(pair.certificate, pair.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if pair else 'http'}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=right, handled=False)


__all__ = ["PASSWORD", "USER", "MailServer", "Posted", "SilentServer", "Taken", "WebServer"]
