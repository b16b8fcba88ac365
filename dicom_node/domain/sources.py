"""Where studies can be asked for and fetched from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
