"""Notices as signed HTTP requests. Source: Standard Webhooks 1.0.0, https://www.standardwebhooks.com; RFC 9110."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from dicom_node import __version__
from dicom_node.config.webhook_secrets import read_secrets
from dicom_node.delivery.notices.message import Message
from dicom_node.delivery.notices.told import Told
from dicom_node.delivery.outcomes import Verdict
from dicom_node.delivery.retry_after import retry_after_s
from dicom_node.delivery.web_client import delivering, session_with
from dicom_node.domain.notices import NoticeEvent, Webhook
from dicom_node.errors import ConfigError, DeliveryError

_TYPES = {
    NoticeEvent.RESULT: "job.result",
    NoticeEvent.CRITICAL: "job.critical",
    NoticeEvent.FAILURE: "job.failure",
    NoticeEvent.SILENCE: "node.silence",
    NoticeEvent.OVERDUE: "node.overdue",
    NoticeEvent.DIGEST: "node.digest",
    NoticeEvent.TEST: "node.test",
}
_GONE = 410
_LATER = frozenset({408, 425, 429})
_LONGEST_RETRY_AFTER = timedelta(days=1)


def body_of(message: Message) -> dict[str, Any]:
    """Write a notice as JSON has it, by docs/notices.schema.json."""
    surroundings = message.surroundings
    data: dict[str, Any] = {"id": message.uuid, "node": surroundings.node, **message.facts.as_json()}
    for job in data.get("jobs", ()):
        if link := surroundings.link(job["job"]):
            job["link"] = link
        if patient := message.identifiers.get(job["job"]):
            job["identifiers"] = asdict(patient)
    return {"type": _TYPES[message.event], "timestamp": message.at.astimezone(UTC).isoformat(), "data": data}


def signature(secrets: Sequence[bytes], uuid: str, timestamp: int, body: bytes) -> str:
    """Sign a body: HMAC-SHA256 over `ID.TIMESTAMP.BODY` with each secret, separated by spaces."""
    content = f"{uuid}.{timestamp}.".encode() + body
    signed = (base64.b64encode(hmac.digest(secret, content, hashlib.sha256)).decode("ascii") for secret in secrets)
    return " ".join(f"v1,{text}" for text in signed)


def post(name: str, webhook: Webhook, message: Message, now: datetime) -> Told:
    """Post a notice; redirects are not followed, and nothing of the answer but its status is read.

    Args:
        name: Of the receiver, for messages.
        webhook: Where to.
        message: The notice.
        now: Of the attempt, which is signed.

    Raises:
        DeliveryError: no connection, no TLS, or no answer in time; or a file of the receiver cannot be read.
    """
    try:
        secrets = read_secrets(webhook.secret_file)
    except ConfigError as error:
        raise DeliveryError(f"receiver {name}: secret_file cannot be used", hint=str(error)) from error
    body = json.dumps(body_of(message), ensure_ascii=False, separators=(",", ":")).encode()
    timestamp = int(now.timestamp())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"dicom-node/{__version__}",
        "webhook-id": message.uuid,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secrets, message.uuid, timestamp, body),
    }
    origin = webhook.origin
    with (
        session_with(f"receiver {name}", origin) as session,
        delivering(f"receiver {name}", origin.timeout_s),
        closing(session.post(origin.url, data=body, headers=headers, allow_redirects=False, stream=True)) as response,
    ):
        return told_by_status(response.status_code, response.headers.get("Retry-After", ""), now)


def told_by_status(status: int, retry_after: str, now: datetime) -> Told:
    """Read an answer: 2xx is taken, 410 and most of 4xx are final, the rest is tried again."""
    if 200 <= status < 300:
        return Told(Verdict.STORED, "")
    if status == _GONE:
        return Told(Verdict.REFUSED, "answered 410: the receiver wants no more of this")
    if 400 <= status < 500 and status not in _LATER:
        return Told(Verdict.REFUSED, f"answered {status}")
    words = f"answered {status}" + (", redirects are not followed: correct the url" if 300 <= status < 400 else "")
    return Told(Verdict.RETRY, words, retry_after=_wait(retry_after, now))


def _wait(retry_after: str, now: datetime) -> timedelta | None:
    seconds = retry_after_s(retry_after, now)
    try:
        wait = None if seconds is None else timedelta(seconds=seconds)
    except OverflowError:
        return None
    return None if wait is None else min(max(wait, timedelta(0)), _LONGEST_RETRY_AFTER)
