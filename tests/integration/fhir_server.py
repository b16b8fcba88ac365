"""A FHIR server that carries out transactions: it validates, creates conditionally and resolves references, or refuses the whole."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from fhir.resources.bundle import Bundle as BundleR5
from fhir.resources.R4B.bundle import Bundle as BundleR4B

from dicom_node.domain.destinations import FhirVersion

Reply = tuple[int, dict[str, str], bytes]


class RefusalError(Exception):
    def __init__(self, status: int, code: str, words: str) -> None:
        super().__init__(words)
        self.status, self.code = status, code


class FhirServer:
    """Keeps resources by `Kind/id` in memory.

    Attributes:
        replies: Instead of carrying out the next requests.
        posts: Bodies that came.
        seen: Headers of requests that came.
    """

    def __init__(self, version: FhirVersion = FhirVersion.R4, token: str = "") -> None:
        self.version, self.token = version, token
        self.resources: dict[str, dict[str, Any]] = {}
        self.replies: deque[Reply] = deque()
        self.posts: list[bytes] = []
        self.seen: list[dict[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/fhir"

    @contextmanager
    def serving(self) -> Iterator[FhirServer]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join(10)
            self._server.server_close()

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [resource for name, resource in self.resources.items() if name.startswith(f"{kind}/")]

    def transact(self, body: bytes) -> dict[str, Any]:
        model = BundleR4B if self.version is FhirVersion.R4 else BundleR5
        try:
            model.model_validate_json(body)
        except ValueError as error:
            raise RefusalError(422, "invalid", str(error)[:200]) from error
        bundle = json.loads(body)
        if bundle["type"] != "transaction":
            raise RefusalError(400, "not-supported", "only transactions")
        names: dict[str, str] = {}
        new: dict[str, dict[str, Any]] = {}
        answers = []
        for entry in bundle["entry"]:
            kind = entry["resource"]["resourceType"]
            if (entry["request"]["method"], entry["request"]["url"]) != ("POST", kind):
                raise RefusalError(400, "not-supported", "only creates")
            matches = self._matches(kind, entry["request"]["ifNoneExist"])
            if len(matches) > 1:
                raise RefusalError(412, "multiple-matches", f"{entry['resource']['name'][0]['text']} matches {len(matches)}")
            name = matches[0] if matches else f"{kind}/{len(self.resources) + len(new) + 1}"
            names[entry["fullUrl"]] = name
            if not matches:
                new[name] = entry["resource"]
            answers.append({"response": {"status": "200 OK" if matches else "201 Created", "location": name}})
        self.resources |= {name: self._resolved(resource, names) for name, resource in new.items()}
        return {"resourceType": "Bundle", "type": "transaction-response", "entry": answers}

    def _matches(self, kind: str, criteria: str) -> list[str]:
        [token] = parse_qs(criteria, strict_parsing=True)["identifier"]
        system, _, value = token.partition("|")
        wanted = {"system": system, "value": value.replace("\\", "")}
        return [
            name
            for name, resource in self.resources.items()
            if name.startswith(f"{kind}/") and any(wanted.items() <= i.items() for i in resource.get("identifier", ()))
        ]

    def _resolved(self, value: Any, names: dict[str, str]) -> Any:
        if isinstance(value, dict):
            if str(value.get("reference", "")).startswith("urn:uuid:"):
                if value["reference"] not in names:
                    raise RefusalError(400, "not-found", "a reference leads nowhere")
                return {**value, "reference": names[value["reference"]]}
            return {key: self._resolved(one, names) for key, one in value.items()}
        return [self._resolved(one, names) for one in value] if isinstance(value, list) else value

    def _answer(self, method: str, path: str, body: bytes) -> Reply:
        if self.replies:
            return self.replies.popleft()
        kind = {"Content-Type": "application/fhir+json"}
        if self.token and self.seen[-1].get("Authorization") != f"Bearer {self.token}":
            return 401, kind, b""
        if method == "POST" and path == "/fhir":
            return self._transacted(body) if self.seen[-1].get("Content-Type") == "application/fhir+json" else (415, kind, b"")
        if path.split("?", maxsplit=1)[0] == "/fhir/metadata":
            release = "4.0.1" if self.version is FhirVersion.R4 else "5.0.0"
            return 200, kind, json.dumps({"resourceType": "CapabilityStatement", "fhirVersion": release}).encode()
        return 404, kind, b""

    def _transacted(self, body: bytes) -> Reply:
        kind = {"Content-Type": "application/fhir+json"}
        try:
            return 200, kind, json.dumps(self.transact(body)).encode()
        except RefusalError as refusal:
            issue = {"severity": "error", "code": refusal.code, "diagnostics": str(refusal)}
            return refusal.status, kind, json.dumps({"resourceType": "OperationOutcome", "issue": [issue]}).encode()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._serve("GET")

            def do_POST(self) -> None:
                self._serve("POST")

            def _serve(self, method: str) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if method == "POST":
                    outer.posts.append(body)
                outer.seen.append(dict(self.headers))
                status, headers, content = outer._answer(method, self.path, body)
                if status == 0:  # cut
                    self.connection.close()
                    return
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
