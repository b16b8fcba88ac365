"""Where results go."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.domain.jobs import CommitPolicy
from dicom_node.domain.tls import TlsClient


@dataclass(frozen=True, slots=True)
class Destination:
    """A storage SCP that takes results.

    Attributes:
        profile: Name of the result profile, for example `generic-pacs`.
        timeout_s: Longest wait for a connection, an association or a response, seconds.
        tls: None sends in plain DICOM.
        commit: Whether it is asked to confirm that it keeps what it accepted.
    """

    name: str
    ae_title: str
    host: str
    port: int
    profile: str
    timeout_s: float
    tls: TlsClient | None = None
    commit: CommitPolicy = CommitPolicy.OFF
