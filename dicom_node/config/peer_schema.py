"""Who may send, under which called AE title, what and how much."""

from __future__ import annotations

import difflib
from importlib import import_module
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydicom._uid_dict import UID_dictionary

from dicom_node.config.section import Section
from dicom_node.config.values import AeTitle, Name, Port, Size
from dicom_node.domain.addresses import is_one_place, is_within, network_problem
from dicom_node.domain.uids import is_safe_uid

_SUBJECTS = "dicom_node.config.tls_subject"
"""Imported when a subject is required: what reads certificates takes 15 MB, which a receiver without need not hold."""
_BY_KEYWORD = {entry[4]: (uid, entry[1]) for uid, entry in UID_dictionary.items() if entry[4]}


def _uid(value: object, kind: str) -> str:
    if isinstance(value, str) and is_safe_uid(value):
        return value
    known = [keyword for keyword, (_, of_kind) in _BY_KEYWORD.items() if of_kind == kind]
    if isinstance(value, str) and value in known:
        return _BY_KEYWORD[value][0]
    near = difflib.get_close_matches(str(value), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{value!r} is no {kind.lower()}: a keyword of the standard or a UID{hint}")


SopClass = Annotated[str, BeforeValidator(lambda value: _uid(value, "SOP Class"))]
TransferSyntax = Annotated[str, BeforeValidator(lambda value: _uid(value, "Transfer Syntax"))]


class AcceptedSection(Section):
    """What is accepted, for a peer and for a called AE title alike; where both say something, the narrower holds."""

    sop_classes: tuple[SopClass, ...] = Field(
        (), description="Storage SOP classes accepted, by keyword or UID; empty accepts all, private ones too."
    )
    transfer_syntaxes: tuple[TransferSyntax, ...] = Field(
        (), description="Transfer syntaxes accepted, by keyword or UID; empty accepts all that the standard knows."
    )
    max_associations: int = Field(0, ge=0, le=1000, description="Associations open at once; 0 is no limit of its own.")
    max_instance: Size = Field(0, description="Larger instances are refused with A700; 0B is no limit of its own.")
    max_rate: Size = Field(0, description="Bytes a second, over all associations; the sender is slowed, not refused; 0B is no limit.")


class Peer(AcceptedSection):
    """Who may send."""

    name: Name = Field(description="Name in logs and lists.")
    ae_title: AeTitle = Field(description="Calling AE title.")
    host: str = Field(description="Address or CIDR the peer sends from, or `localhost`.", examples=["10.1.2.3", "10.1.0.0/16"])
    port: Port | None = Field(
        None, description="TCP port it listens on, for results that return to their sender; only with a `host` that is one address."
    )
    username: str | None = Field(None, min_length=1, description="User identity the peer must present; absent asks for none.")
    passcode_file: Path | None = Field(None, description="File with the passcode that goes with `username`, relative to this file.")

    tls_subject: str | None = Field(
        None,
        description="The peer must come by TLS with a certificate of this subject: its only common name, or a whole RFC 4514 name.",
        examples=["ct1.example.org", "CN=ct1,OU=Radiology,O=Hospital"],
    )

    @field_validator("tls_subject")
    @classmethod
    def _check_subject(cls, value: str | None) -> str | None:
        if value is not None:
            import_module(_SUBJECTS).parse_subject(value)
        return value

    @field_validator("host")
    @classmethod
    def _check_host(cls, value: str) -> str:
        if problem := network_problem(value):
            raise ValueError(problem)
        return value

    @model_validator(mode="after")
    def _check_identity(self) -> Peer:
        if self.passcode_file is not None and self.username is None:
            raise ValueError("passcode_file without username: say who presents the passcode")
        if self.port is not None and not is_one_place(self.host):
            raise ValueError(f"port: {self.host} is many addresses, of which none can be called; write a peer for each, or leave port out")
        return self

    def comes_as(self, certificate: bytes | None) -> bool:
        """Say whether a certificate is the one this peer must show, if it must.

        Args:
            certificate: What the requestor showed by TLS, DER, its chain verified; None without.
        """
        if self.tls_subject is None:
            return True
        return certificate is not None and bool(import_module(_SUBJECTS).subject_matches(self.tls_subject, certificate))

    def accepts(self, calling_ae_title: str, address: str) -> bool:
        """Say whether a request with this calling AE title from this address is this peer's."""
        return calling_ae_title == self.ae_title and is_within(address, self.host)

    def passcode(self) -> bytes | None:
        """Read the passcode; None if the user name is enough.

        Raises:
            OSError: the file is gone since the configuration was checked.
        """
        return None if self.passcode_file is None else self.passcode_file.read_bytes().strip()


class CalledAeTitle(AcceptedSection):
    """A further title of this node."""

    name: Name = Field(description="Name in logs and lists.")
    ae_title: AeTitle = Field(description="Called AE title; rules tell by `CalledAET` what came for it.")
    peers: tuple[Name, ...] = Field((), description="Names of the peers that may call it; empty lets all.")
