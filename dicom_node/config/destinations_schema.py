"""Schema of destinations in node.yaml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from dicom_node.config.section import Section
from dicom_node.config.tls_schema import ClientTlsSection
from dicom_node.config.values import AeTitle, Duration, Name, Port
from dicom_node.config.web_values import Url, is_in_the_clear
from dicom_node.domain.destinations import (
    Destination,
    DestinationType,
    FhirServer,
    FhirVersion,
    Hl7Receiver,
    Origin,
    StorageScp,
    StowServer,
    TheSender,
)
from dicom_node.domain.jobs import CommitPolicy
from dicom_node.domain.profiles import DEFAULT_PROFILE, ResultProfile

_WEB = ("url", "token_file", "username", "password_file", "ca")
_NEEDED: Mapping[DestinationType, tuple[str, ...]] = {
    DestinationType.DICOM: ("ae_title", "host", "port"),
    DestinationType.STOW: ("url",),
    DestinationType.SENDER: (),
    DestinationType.HL7: ("host", "port"),
    DestinationType.FHIR: ("url",),
}
_TAKEN: Mapping[DestinationType, tuple[str, ...]] = {
    DestinationType.DICOM: ("ae_title", "host", "port", "profile", "commit", "tls"),
    DestinationType.STOW: (*_WEB, "profile"),
    DestinationType.SENDER: ("profile", "commit", "tls"),
    DestinationType.HL7: ("host", "port", "tls", "application", "facility", "language"),
    DestinationType.FHIR: (*_WEB, "fhir_version", "language", "patient_system", "accession_system"),
}
_OF_ALL = ("name", "type", "timeout")
_FILES = ("token_file", "password_file", "ca")


class DestinationSection(Section):
    """Where results go; `type` says how, and which of the other options it takes."""

    name: Name = Field(description="Name that rules use in send_to.")
    type: DestinationType = Field(
        DestinationType.DICOM,
        description="`dicom` (C-STORE), `stow` (STOW-RS), `sender` (whoever sent the study), `hl7` (ORU^R01 over MLLP), `fhir`.",
    )
    ae_title: AeTitle | None = Field(None, description="With `dicom`: called AE title.")
    host: str = Field("", description="With `dicom`, `hl7`: address or host name.")
    port: Port | None = Field(None, description="With `dicom`, `hl7`: TCP port.")
    profile: Name = Field(
        DEFAULT_PROFILE,
        description="With `dicom`, `stow`, `sender`: which objects it gets, in which form; a preset or one of `profiles`.",
    )
    timeout: Duration = Field(timedelta(seconds=30), description="Longest wait for a connection or a response.")
    commit: CommitPolicy | None = Field(
        None,
        description="Storage commitment: `off`, `wait` (asked for and shown), `require` (the job ends only when all is committed); "
        "absent: as its profile says, else `off`.",
    )
    tls: ClientTlsSection | None = Field(None, description="With `dicom`, `sender`, `hl7`: TLS towards it; absent: none.")
    url: Url = Field("", description="With `stow`: what `/studies` is put behind; with `fhir`: service base.")
    token_file: Path | None = Field(None, description="With `url`: file that holds the bearer token; relative to this file.")
    username: str = Field("", description="With `url`: user of HTTP basic authentication.")
    password_file: Path | None = Field(None, description="With `username`: file that holds its password; relative to this file.")
    ca: Path | None = Field(None, description="With `url`: PEM file of the authorities that may have signed its certificate.")
    application: str = Field("", max_length=180, description="With `hl7`: Receiving Application (MSH-5).")
    facility: str = Field("", max_length=180, description="With `hl7`: Receiving Facility (MSH-6).")
    fhir_version: FhirVersion = Field(FhirVersion.R4, description="With `fhir`: `r4` or `r5`.")
    patient_system: str = Field("", description="With `fhir`: identifier system (URI) of patient IDs whose headers name no unique issuer.")
    accession_system: str = Field("", description="With `fhir`: the same of accession numbers.")
    language: str = Field("en", description="With `hl7`, `fhir`: language of texts, `en`, `ko`.")

    @field_validator("commit", mode="before")
    @classmethod
    def _read_off(cls, value: object) -> object:
        """Take `off` for the word that it is: YAML reads it as false."""
        return "off" if value is False else value

    @field_validator("application", "facility")
    @classmethod
    def _check_receiver(cls, value: str) -> str:
        if re.search(r"[|^~\\&\x00-\x1f\x7f]", value):
            raise ValueError("a name without | ^ ~ \\ & and control characters, which separate fields of a message")
        return value

    @field_validator("patient_system", "accession_system")
    @classmethod
    def _check_system(cls, value: str) -> str:
        if value and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s|]+", value) is None:
            raise ValueError("a URI, as http://hospital.example/patients or urn:oid:1.2.3")
        return value

    @model_validator(mode="after")
    def _check_type(self) -> Self:
        taken = (*_OF_ALL, *_TAKEN[self.type])
        for option, field in type(self).model_fields.items():
            if option not in taken and getattr(self, option) != field.default:
                raise ValueError(f"{option}: not with type {self.type}, which takes {', '.join(_TAKEN[self.type])}")
        if missing := [option for option in _NEEDED[self.type] if not getattr(self, option)]:
            raise ValueError(f"{', '.join(missing)} missing: type {self.type} needs {', '.join(_NEEDED[self.type])}")
        if bool(self.username) != (self.password_file is not None):
            raise ValueError("username and password_file belong together: give both or neither")
        if self.username and self.token_file:
            raise ValueError("username and token_file: a server asks for one of them")
        if (self.username or self.token_file) and is_in_the_clear(self.url):
            raise ValueError("the token or password would go over the network in the clear: use https")
        return self

    def below(self, folder: Path) -> Self:
        """Return the section with paths that start at a folder."""
        return self.with_paths_below(folder, *_FILES).model_copy(update={"tls": self.tls.below(folder) if self.tls else None})

    def to_destination(self, profile: ResultProfile) -> Destination:
        """Return what deliveries use.

        Args:
            profile: The one that it names; not read for types that take none.
        """
        commit = self.commit or profile.commit or CommitPolicy.OFF
        tls = self.tls.to_client() if self.tls else None
        timeout_s = self.timeout.total_seconds()
        match self.type:
            case DestinationType.DICOM:
                address = (self.ae_title or "", self.host, self.port or 0)
                return StorageScp(self.name, *address, self.profile, timeout_s, tls, commit, profile.transfer_syntaxes)
            case DestinationType.SENDER:
                return TheSender(self.name, self.profile, timeout_s, tls, commit, profile.transfer_syntaxes)
            case DestinationType.HL7:
                to = (self.application, self.facility)
                return Hl7Receiver(self.name, self.host, self.port or 0, *to, self.language, timeout_s, tls)
            case DestinationType.STOW:
                return StowServer(self.name, self._origin(timeout_s), self.profile)
            case DestinationType.FHIR:
                systems = (self.patient_system, self.accession_system)
                return FhirServer(self.name, self._origin(timeout_s), self.fhir_version, self.language, *systems)

    def _origin(self, timeout_s: float) -> Origin:
        return Origin(self.url, timeout_s, self.token_file, self.username, self.password_file, self.ca)
