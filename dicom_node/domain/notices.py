"""Who is told what: events, receivers, and the state of what they are owed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from dicom_node.domain.destinations import Origin
from dicom_node.domain.queue_order import Hours


class NoticeEvent(StrEnum):
    """What a notice is about."""

    RESULT = "result"
    CRITICAL = "critical"
    FAILURE = "failure"
    SILENCE = "silence"
    OVERDUE = "overdue"
    DIGEST = "digest"
    TEST = "test"


class NoticeState(StrEnum):
    """States of a notice: OWED will be sent by itself, SENT was taken, DEAD was refused for good or given up."""

    OWED = "OWED"
    SENT = "SENT"
    DEAD = "DEAD"


class SmtpSecurity(StrEnum):
    """How the connection with the mail server is protected."""

    STARTTLS = "starttls"
    TLS = "tls"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """The mail server that e-mails are handed to.

    Attributes:
        ca: PEM file of the authorities that may have signed its certificate; None: the system's.
        username: Empty: no authentication.
        password_file: Given with `username`.
        sender: Address that e-mails come from.
        timeout_s: Longest silence while connecting or waiting for an answer, seconds.
    """

    host: str
    port: int
    security: SmtpSecurity
    sender: str
    timeout_s: float
    ca: Path | None = None
    username: str = ""
    password_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A receiver of e-mails.

    Attributes:
        addresses: All get the same message, each sees the others.
    """

    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Webhook:
    """A receiver of HTTP requests.

    Attributes:
        secret_file: Holds the secrets that bodies are signed with, one a line.
    """

    origin: Origin
    secret_file: Path


Way: TypeAlias = Mailbox | Webhook


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who is told.

    Attributes:
        language: Of e-mails, RFC 5646.
        include_identifiers: Whether notices say whose study it is and what was found.
    """

    name: str
    way: Way
    language: str = "en"
    include_identifiers: bool = False


@dataclass(frozen=True, slots=True)
class SilenceWatch:
    """A peer that must not be silent for long.

    Attributes:
        name: The peer's name, or `any`.
        ae_title: Calling AE title that instances of the peer have; empty: whoever sends.
        after: Silence that is told, counted in `hours` only.
        hours: When somebody should send; empty: always.
        zone: Time zone of the hours; None: the machine's.
        to: Names of receivers.
    """

    name: str
    ae_title: str
    after: timedelta
    hours: tuple[Hours, ...]
    zone: tzinfo | None
    to: tuple[str, ...]

    def counts(self, now: datetime) -> bool:
        """Say whether silence counts now."""
        local = now.astimezone(self.zone)
        return not self.hours or any(hours.include(local) for hours in self.hours)


@dataclass(frozen=True, slots=True)
class Notice:
    """One message owed to one receiver.

    Attributes:
        uuid: The same in every attempt, so that a receiver can drop what it has already.
        job_id: The first job that it is about; None for silence and digests.
        facts: What is told, as `domain.notice_facts` writes it; no patient data.
        owed_at: Since when it is owed; an operator's retry begins anew.
        attempt: How many there were.
        reason: Last outcome in words; no patient data.
        taken: Addresses whose mail server has taken it.
        refused: Addresses that were refused for good, with what the server said.
    """

    id: int
    uuid: str
    receiver: str
    event: NoticeEvent
    job_id: int | None
    facts: Mapping[str, object]
    state: NoticeState
    created_at: datetime
    owed_at: datetime
    attempt: int
    next_attempt_at: datetime
    sent_at: datetime | None
    reason: str
    taken: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NoticeAttempt:
    """One attempt, or what a person did."""

    at: datetime
    to_state: NoticeState
    reason: str
