"""Where studies can be asked for and fetched from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias


class Retrieval(StrEnum):
    """How a source hands over instances: on our association (C-GET), or by sending to our receiver (C-MOVE)."""

    GET = "get"
    MOVE = "move"


@dataclass(frozen=True, slots=True)
class QuerySource:
    """A Query/Retrieve SCP.

    Attributes:
        ae_title: Called AE title.
        timeout_s: Longest silence while connecting, associating, or waiting for the next message, seconds.
    """

    name: str
    ae_title: str
    host: str
    port: int
    timeout_s: float
    retrieve: Retrieval


@dataclass(frozen=True, slots=True)
class WebSource:
    """A DICOMweb origin server with QIDO-RS and WADO-RS.

    Attributes:
        url: What `/studies` is put behind.
        timeout_s: Longest silence while connecting or waiting for the next bytes, seconds.
        token_file: Holds the bearer token; None: none is sent.
        ca: PEM file of the authorities that may have signed its certificate; None: the system's.
    """

    name: str
    url: str
    timeout_s: float
    token_file: Path | None = None
    ca: Path | None = None


Source: TypeAlias = QuerySource | WebSource
"""An archive that is asked by DIMSE or by DICOMweb."""
