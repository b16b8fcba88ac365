"""STOW-RS to one server: requests from files, an outcome for each instance. Source: PS3.18 10.5."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import requests

from dicom_node.delivery.outcomes import Outcome, Verdict
from dicom_node.delivery.plain_syntax import in_explicit_little_endian
from dicom_node.delivery.stow_answer import (
    NO_SUCH_SYNTAX,
    NOTHING_NAMED,
    AnswerError,
    StoreAnswer,
    Unnamed,
    outcome_of_unnamed,
    outcomes,
    read_answer,
    unnamed,
)
from dicom_node.delivery.stow_request import MultipartBody, Part, batches, read_part
from dicom_node.delivery.web_client import answer_body, delivering, session_with
from dicom_node.domain.destinations import StowServer
from dicom_node.errors import DeliveryError

_ACCEPT = "application/dicom+json, application/dicom+xml;q=0.5"
_NOBODYS_STUDY = "2.25.0"
_STILL_ANSWERS = (400, 404, 405, 406, 415, 501)
"""HTTP statuses by which a server that only stores refuses a search."""
_FAULTS = {
    401: ("wants to know who this node is, or does not know it", "look at token_file, or username and password_file, of the destination"),
    403: ("does not let this node store", "ask its administrator for the right to store"),
    404: ("has no STOW-RS there", "check url of the destination: /studies is put behind it"),
    405: ("has no STOW-RS there", "check url of the destination: /studies is put behind it"),
    407: ("stands behind a proxy that wants a password", "this node uses no proxy: check url of the destination"),
    429: ("wants fewer requests", ""),
    507: ("is full", "make room there"),
}
_REDIRECTED = ("answers from elsewhere", "put the final address into url of the destination")


class _BrokeWhileSendingError(Exception):
    """The connection ended when part of a request was sent: the server may not want it so large."""


class StowChannel:
    """STOW-RS requests. See `dicom_node.delivery.channel.Channel`."""

    def __init__(self, destination: StowServer) -> None:
        """Connect nothing yet."""
        self._destination = destination
        self._url = f"{destination.origin.url.rstrip('/')}/studies"

    def probe(self) -> str:
        """Ask by QIDO-RS for a study that nobody has; a server that only stores answers by refusing. See `Channel`."""
        asked = {"StudyInstanceUID": _NOBODYS_STUDY, "limit": "1"}
        with self._session() as session, self._delivering():
            headers = {"Accept": "application/dicom+json"}
            with session.get(self._url, params=asked, headers=headers, allow_redirects=False, stream=True) as response:
                status = response.status_code
        if status >= 300 and status not in _STILL_ANSWERS:
            raise self._fault(status)
        words = "answers QIDO-RS" if status < 300 else f"answers, but not to QIDO-RS (HTTP {status})"
        return f"{self._destination.name} {words}"

    def send(self, paths: Sequence[Path], answered: Callable[[int, Outcome], None]) -> None:
        """Send files in as few requests as is sane. See `Channel`."""
        parts = []
        for index, path in enumerate(paths):
            try:
                parts.append(read_part(index, path))
            except DeliveryError as error:
                answered(index, Outcome(Verdict.REFUSED, None, str(error)))
        if not parts:
            return
        with self._session() as session:
            for batch in batches(parts):
                self._send_alone(session, self._send_batch(session, batch, answered), answered)

    def _send_batch(self, session: requests.Session, batch: Sequence[Part], answered: Callable[[int, Outcome], None]) -> list[Part]:
        """Send several instances in one request; returns those that have to go one by one."""
        if len(batch) == 1:
            return list(batch)
        try:
            status, answer, empty = self._store(session, batch)
        except _BrokeWhileSendingError:
            return list(batch)
        named = outcomes(answer, [part.sop_instance_uid for part in batch])
        left = []
        for part in batch:
            outcome = named.get(part.sop_instance_uid)
            if outcome is None or outcome.status == NO_SUCH_SYNTAX:
                left.append(part)
            else:
                answered(part.index, outcome)
        what = unnamed(status, empty=empty)
        if left and what is Unnamed.LATER:
            raise self._fault(status)
        if what is not Unnamed.STORED:
            return left
        for part in left:
            answered(part.index, outcome_of_unnamed(status, what))
        return []

    def _send_alone(self, session: requests.Session, parts: Sequence[Part], answered: Callable[[int, Outcome], None]) -> None:
        failures = 0
        for part in parts:
            status, outcome = self._send_one(session, part)
            if status == 415 or (outcome is not None and outcome.status == NO_SUCH_SYNTAX):
                with in_explicit_little_endian(part.path) as plain:
                    if plain is not None:
                        status, outcome = self._send_one(session, read_part(part.index, plain))
                        outcome = _as_explicit_little_endian(outcome)
            failures = failures + 1 if status == 500 else 0
            if outcome is None or failures > 1:
                raise self._fault(status)
            answered(part.index, outcome)

    def _send_one(self, session: requests.Session, part: Part) -> tuple[int, Outcome | None]:
        """Send one instance alone; returns the HTTP status, and what became of it: None if the destination is at fault."""
        try:
            status, answer, empty = self._store(session, [part])
        except _BrokeWhileSendingError as error:
            raise DeliveryError(f"{self._destination.name}: the connection broke while an object was sent") from error
        named = outcomes(answer, [part.sop_instance_uid]).get(part.sop_instance_uid)
        what = unnamed(status, empty=empty)
        return status, named or (None if what is Unnamed.LATER else outcome_of_unnamed(status, what))

    def _store(self, session: requests.Session, parts: Sequence[Part]) -> tuple[int, StoreAnswer, bool]:
        """Send one request; returns the HTTP status, what the answer names, and whether it has no body.

        Raises:
            DeliveryError: no answer.
            _BrokeWhileSendingError: the connection ended in the middle.
        """
        body = MultipartBody(parts)
        headers = {"Content-Type": body.content_type, "Accept": _ACCEPT}
        with self._delivering():
            try:
                with session.post(self._url, data=body, headers=headers, allow_redirects=False, stream=True) as response:
                    return self._read(response)
            except requests.exceptions.ConnectionError as error:
                if body.sent_bytes and not isinstance(error, requests.exceptions.Timeout | requests.exceptions.SSLError):
                    raise _BrokeWhileSendingError from error
                raise

    def _read(self, response: requests.Response) -> tuple[int, StoreAnswer, bool]:
        content = answer_body(response, self._destination.name, self._destination.origin)
        try:
            answer = read_answer(content, response.headers.get("Content-Type", ""))
        except AnswerError:
            answer = NOTHING_NAMED
        return response.status_code, answer, not content

    def _fault(self, status: int) -> DeliveryError:
        words, hint = _REDIRECTED if 300 <= status < 400 else _FAULTS.get(status, ("cannot store now", ""))
        return DeliveryError(f"{self._destination.name}: {words} (HTTP {status})", hint=hint)

    def _session(self) -> AbstractContextManager[requests.Session]:
        """Open a session, which reads its secrets anew."""
        return session_with(self._destination.name, self._destination.origin)

    def _delivering(self) -> AbstractContextManager[None]:
        return delivering(self._destination.name, self._destination.origin.timeout_s)


def _as_explicit_little_endian(outcome: Outcome | None) -> Outcome | None:
    if outcome is None:
        return None
    return replace(outcome, reason="; ".join(text for text in (outcome.reason, "sent as Explicit VR Little Endian") if text))
