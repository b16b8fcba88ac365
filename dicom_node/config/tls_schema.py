"""Sections of node.yaml about TLS. Keys are named by file and never stand in YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from dicom_node.config.section import Section
from dicom_node.config.values import Port
from dicom_node.domain.tls import TlsClient, TlsProfile, TlsServer, TlsVersion


def _version_text(value: object) -> object:
    """YAML reads 1.2 as a number."""
    return str(value) if isinstance(value, float) else value


MinVersion = Annotated[TlsVersion, BeforeValidator(_version_text)]


class ServerTlsSection(Section):
    """The TLS listener, beside the plain one."""

    port: Port = Field(2762, description="TCP port to listen on with TLS, beside the plain one.")
    certificate: Path = Field(description="PEM file: this node's certificate, then those between it and its root; relative to this file.")
    key: Path = Field(description="PEM file: the certificate's private key, not encrypted, not readable by others.")
    ca: Path | None = Field(None, description="PEM file: authorities that may have signed a peer's certificate.")
    require_client_certificate: bool = Field(
        default=True, description="Refuse a peer that shows no certificate; with `false` one that it shows is checked all the same."
    )
    profile: TlsProfile = Field(
        TlsProfile.BCP195, description="DICOM profile (PS3.15): `bcp195` is B.12, `modified-bcp195` is B.13 with more cipher suites."
    )
    min_version: MinVersion = Field(TlsVersion.TLS_1_2, description="Least TLS version, `1.2` or `1.3`.")

    @model_validator(mode="after")
    def _check_authorities(self) -> Self:
        if self.require_client_certificate and self.ca is None:
            raise ValueError("ca is missing: name the authorities of the peers' certificates, or set require_client_certificate: false")
        return self

    def below(self, folder: Path) -> Self:
        """Return the section with paths that start at a folder."""
        return self.with_paths_below(folder, "certificate", "key", "ca")

    def to_server(self) -> TlsServer:
        """Return what the listener is built from."""
        return TlsServer(self.certificate, self.key, self.ca, self.require_client_certificate, self.profile, self.min_version)


class ClientTlsSection(Section):
    """TLS towards one node."""

    ca: Path = Field(description="PEM file: authorities that may have signed its certificate; relative to this file.")
    certificate: Path | None = Field(None, description="PEM file: the certificate this node shows, with those between it and its root.")
    key: Path | None = Field(None, description="PEM file: that certificate's private key, not encrypted, not readable by others.")
    check_host: bool = Field(default=True, description="Its certificate must name `host`.")
    profile: TlsProfile = Field(TlsProfile.BCP195, description="As `dicom.tls.profile`.")
    min_version: MinVersion = Field(TlsVersion.TLS_1_2, description="As `dicom.tls.min_version`.")

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: give both or neither")
        return self

    def below(self, folder: Path) -> Self:
        """Return the section with paths that start at a folder."""
        return self.with_paths_below(folder, "ca", "certificate", "key")

    def to_client(self) -> TlsClient:
        """Return what a connection is made from."""
        return TlsClient(self.ca, self.certificate, self.key, self.check_host, self.profile, self.min_version)
