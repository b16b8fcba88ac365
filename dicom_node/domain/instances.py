"""Who sent what: association peers and received instances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, TypeAlias

Attributes: TypeAlias = Mapping[str, tuple[str, ...]]
"""Header elements by DICOM keyword, each with its values as text; an empty element has no values. Contains patient data."""


@dataclass(frozen=True, slots=True)
class AssociationPeer:
    """The two AE titles and the address of one association (titles stripped of padding)."""

    calling_ae_title: str
    called_ae_title: str
    address: str


class InstanceKind(NamedTuple):
    """What is announced before the data set comes; for C-STORE, the command's Affected SOP Class and Instance UID."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True, slots=True)
class ReceivedInstance:
    """One acknowledged SOP instance, as the index reads it from its Part 10 file.

    Attributes:
        path: Where the file lies.
        sha256: Digest of the data set as received, without preamble and file meta, hexadecimal.
        received_at: When it became durable, UTC.
        attributes: Header elements below the pixel data, private and binary ones left out.
        own_result: The node itself made this object.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    path: Path
    size_bytes: int
    sha256: str
    received_at: datetime
    peer: AssociationPeer
    attributes: Attributes
    own_result: bool
