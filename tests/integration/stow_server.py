"""A STOW-RS server that answers what a test tells it."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import pydicom

Answer = Callable[["Request"], None]


@dataclass
class Request:
    """One POST; `files` are the parts of its body as they came."""

    handler: BaseHTTPRequestHandler
    files: list[bytes] = field(default_factory=list)

    @property
    def uids(self) -> list[str]:
        return [str(pydicom.dcmread(BytesIO(file), stop_before_pixels=True).SOPInstanceUID) for file in self.files]

    def read(self) -> None:
        content_type = self.handler.headers["Content-Type"]
        body = self.handler.rfile.read(int(self.handler.headers["Content-Length"]))
        message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
        assert message.get_content_type() == "multipart/related"
        assert message.get_param("type") == "application/dicom"
        boundary = str(message.get_param("boundary"))
        self.files = [part.split(b"\r\n\r\n", 1)[1][:-2] for part in body.split(b"--" + boundary.encode())[1:-1]]

    def answer(self, status: int, body: bytes = b"", media_type: str = "application/dicom+json", **headers: str) -> None:
        self.handler.send_response(status)
        for name, value in {"Content-Type": media_type, "Content-Length": str(len(body)), **headers}.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.end_headers()
        self.handler.wfile.write(body)


def named(request: Request, failed: dict[str, int] | None = None, leave_out: tuple[str, ...] = ()) -> bytes:
    """Name every instance of a request: stored, or failed with a reason."""
    failed = failed or {}
    of = [uid for uid in request.uids if uid not in leave_out]
    stored = [{"00081155": {"vr": "UI", "Value": [uid]}} for uid in of if uid not in failed]
    not_stored = [{"00081155": {"vr": "UI", "Value": [u]}, "00081197": {"vr": "US", "Value": [failed[u]]}} for u in of if u in failed]
    return json.dumps({"00081199": {"vr": "SQ", "Value": stored}, "00081198": {"vr": "SQ", "Value": not_stored}}).encode()


def store_all(request: Request) -> None:
    request.read()
    request.answer(200, named(request))


class StowServerPeer:
    """Answers are given in order, the last one for ever; searches are answered with `search`."""

    def __init__(self, *answers: Answer, context: ssl.SSLContext | None = None) -> None:
        self.answers = list(answers) or [store_all]
        self.search = 204
        self.requests: list[Request] = []
        self.authorizations: list[str] = []
        self.searches: list[str] = []
        self.let_go = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                assert self.path == "/web/studies"
                outer.authorizations.append(self.headers.get("Authorization", ""))
                request = Request(self)
                outer.requests.append(request)
                answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                answer(request)

            def do_GET(self) -> None:
                outer.searches.append(self.path)
                Request(self).answer(outer.search)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                pass  # the client went away, or its handshake failed: what tests are about

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}/web"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def sizes(self) -> list[int]:
        """How many instances each request brought."""
        return [len(request.files) for request in self.requests]

    def close(self) -> None:
        self.let_go.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
