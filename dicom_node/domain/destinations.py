"""Where results go."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from dicom_node.domain.jobs import CommitPolicy
from dicom_node.domain.tls import TlsClient


class DestinationType(StrEnum):
    """How a destination is reached: C-STORE, STOW-RS, whoever sent the study, HL7 v2 over MLLP, a FHIR server."""

    DICOM = "dicom"
    STOW = "stow"
    SENDER = "sender"
    HL7 = "hl7"
    FHIR = "fhir"


class FhirVersion(StrEnum):
    """Release of FHIR."""

    R4 = "r4"
    R5 = "r5"


@dataclass(frozen=True, slots=True)
class StorageScp:
    """A storage SCP.

    Attributes:
        profile: Name of the result profile, for example `generic-pacs`.
        timeout_s: Longest wait for a connection, an association or a response, seconds.
        tls: None sends in plain DICOM.
        commit: Whether it is asked to confirm that it keeps what it accepted.
        transfer_syntaxes: UIDs of those that are proposed, the best first; empty: the object's own, Explicit and Implicit VR Little Endian.
    """

    name: str
    ae_title: str
    host: str
    port: int
    profile: str
    timeout_s: float
    tls: TlsClient | None = None
    commit: CommitPolicy = CommitPolicy.OFF
    transfer_syntaxes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Origin:
    """An HTTP origin server, and how this node proves itself to it.

    Attributes:
        url: Without a slash at its end.
        timeout_s: Longest silence while connecting or waiting for the next bytes, seconds.
        token_file: Holds the bearer token; None: none is sent.
        username: Of HTTP basic authentication; empty: none is sent.
        password_file: Given with `username`.
        ca: PEM file of the authorities that may have signed its certificate; None: the system's.
    """

    url: str
    timeout_s: float
    token_file: Path | None = None
    username: str = ""
    password_file: Path | None = None
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class StowServer:
    """A DICOMweb server with STOW-RS; what `/studies` is put behind is the URL of its origin."""

    name: str
    origin: Origin
    profile: str


@dataclass(frozen=True, slots=True)
class TheSender:
    """Whoever sent the study, at the address that `peers` has for it."""

    name: str
    profile: str
    timeout_s: float
    tls: TlsClient | None = None
    commit: CommitPolicy = CommitPolicy.OFF
    transfer_syntaxes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hl7Receiver:
    """What takes HL7 v2 messages over MLLP.

    Attributes:
        application: Receiving Application (MSH-5).
        facility: Receiving Facility (MSH-6).
        language: RFC 5646 tag of the catalogue that texts are written in.
        tls: None sends in plain MLLP.
    """

    name: str
    host: str
    port: int
    application: str
    facility: str
    language: str
    timeout_s: float
    tls: TlsClient | None = None


@dataclass(frozen=True, slots=True)
class FhirServer:
    """What takes FHIR transaction bundles; the URL of its origin is the service base.

    Attributes:
        language: RFC 5646 tag of the catalogue that texts are written in.
        patient_system: Identifier system of patient IDs whose headers name no globally unique issuer; empty: none is known.
        accession_system: The same of accession numbers.
    """

    name: str
    origin: Origin
    version: FhirVersion
    language: str
    patient_system: str = ""
    accession_system: str = ""


Destination: TypeAlias = StorageScp | StowServer | TheSender | Hl7Receiver | FhirServer
"""Whatever stands in `destinations` of node.yaml."""
