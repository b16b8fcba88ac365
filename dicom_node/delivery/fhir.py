"""FHIR transactions to one server, an answer for each bundle. Source: FHIR http.html#transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

import requests

from dicom_node.delivery.fhir_answer import Meaning, meaning_of, outcome_of_success, read_json, reason_of_failure, wait_of
from dicom_node.delivery.outcomes import Outcome, Verdict
from dicom_node.delivery.web_client import answer_body, delivering, session_with
from dicom_node.domain.destinations import FhirServer
from dicom_node.errors import DeliveryError

_JSON = "application/fhir+json"


class FhirChannel:
    """One POST a bundle. See `dicom_node.delivery.channel.Channel`."""

    def __init__(self, destination: FhirServer) -> None:
        """Connect nothing yet."""
        self._destination = destination

    def probe(self) -> str:
        """Ask for the capability statement. See `Channel`."""
        name = self._destination.name
        with self._session() as session, self._delivering():
            params = {"_summary": "true"}
            answer = session.get(f"{self._url}/metadata", params=params, headers={"Accept": _JSON}, allow_redirects=False, stream=True)
            with answer:
                status, body = answer.status_code, self._body(answer)
        if status != 200:
            raise self._fault(status, b"")
        found = read_json(body)
        if found.get("resourceType") != "CapabilityStatement":
            raise DeliveryError(f"{name}: no capability statement at /metadata", hint="check url of the destination: the service base")
        release = found.get("fhirVersion")
        return f"{name} answers with FHIR {release if isinstance(release, str) else 'of no named version'}"

    def send(self, paths: Sequence[Path], answered: Callable[[int, Outcome], None]) -> None:
        """Post bundles in order; when the server asks to wait, those not posted yet wait as well. See `Channel`."""
        wait: Outcome | None = None
        with self._session() as session:
            for index, path in enumerate(paths):
                outcome = wait or self._post(session, path)
                if outcome.wait_s:
                    wait = outcome
                answered(index, outcome)

    def _post(self, session: requests.Session, path: Path) -> Outcome:
        try:
            content = path.read_bytes()
        except OSError:
            content = b""
        bundle = read_json(content)
        entries = bundle.get("entry")
        if bundle.get("resourceType") != "Bundle" or not isinstance(entries, list):
            return Outcome(Verdict.REFUSED, None, f"{path.name} is missing or no FHIR bundle")
        headers = {"Content-Type": _JSON, "Accept": _JSON}
        with self._delivering():
            answer = session.post(self._url, data=content, headers=headers, allow_redirects=False, stream=True)
            with answer:
                status, body = answer.status_code, self._body(answer)
                wait_s = wait_of(answer.headers.get("Retry-After", ""), datetime.now(UTC))
        if status in (200, 201):
            return outcome_of_success(body, len(entries))
        meaning = meaning_of(status)[0] if status >= 300 else Meaning.RETRY
        reason, said = reason_of_failure(status, body)
        if meaning is Meaning.REFUSED:
            return Outcome(Verdict.REFUSED, None, reason, said)
        if meaning is Meaning.RETRY or (wait_s and status in (429, 503)):
            return Outcome(Verdict.RETRY, None, reason, said, wait_s)
        raise self._fault(status, body)

    @property
    def _url(self) -> str:
        return self._destination.origin.url

    def _fault(self, status: int, body: bytes) -> DeliveryError:
        return DeliveryError(f"{self._destination.name}: {reason_of_failure(status, body)[0]}", hint=meaning_of(status)[2])

    def _body(self, answer: requests.Response) -> bytes:
        return answer_body(answer, self._destination.name, self._destination.origin)

    def _session(self) -> AbstractContextManager[requests.Session]:
        return session_with(self._destination.name, self._destination.origin)

    def _delivering(self) -> AbstractContextManager[None]:
        return delivering(self._destination.name, self._destination.origin.timeout_s)
