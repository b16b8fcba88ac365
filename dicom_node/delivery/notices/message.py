"""What a notice says and to whom, before it has the form of an e-mail or a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo

from dicom_node.domain.notice_facts import Identifiers, NoticeFacts
from dicom_node.domain.notices import NoticeEvent


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all notices of a node share.

    Attributes:
        node: AE title.
        web_url_base: Of the console; empty: no links.
        zone: Of the times in e-mails; None: the machine's.
    """

    node: str
    web_url_base: str = ""
    zone: tzinfo | None = None

    def link(self, job: int) -> str:
        """Return where the console shows a job; empty if there is none."""
        return f"{self.web_url_base}/jobs/{job}" if self.web_url_base else ""


@dataclass(frozen=True, slots=True)
class Message:
    """One notice.

    Attributes:
        uuid: The same in every attempt.
        at: When it happened that is told.
        language: RFC 5646.
        identifiers: By job, for receivers that may know; empty for all others. Patient data.
    """

    uuid: str
    event: NoticeEvent
    at: datetime
    facts: NoticeFacts
    language: str
    surroundings: Surroundings
    identifiers: Mapping[int, Identifiers] = field(default_factory=dict)
