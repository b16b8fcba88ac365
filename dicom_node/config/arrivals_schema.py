"""Ways in besides C-STORE: STOW-RS senders and watched folders."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from dicom_node.config.section import Section
from dicom_node.config.values import Duration, Name, Size
from dicom_node.domain.addresses import is_within, network_problem
from dicom_node.errors import ConfigError

_SHORTEST_TOKEN = 16


class StowSender(Section):
    """Who may send by STOW-RS."""

    name: Name = Field(description="Name in logs; up to 16 characters also its calling AE title for rules and lists.")
    token_sha256: str = Field(
        "", pattern=r"^([0-9a-f]{64})?$", description="SHA-256 of the sender's bearer token, hexadecimal; this or token_file."
    )
    token_file: Path | None = Field(
        None, description="File that holds the sender's bearer token, at least 16 characters; relative to this file."
    )
    host: str = Field(description="Address or CIDR the sender comes from (a reverse proxy's, if there is one), or `localhost`.")

    @field_validator("host")
    @classmethod
    def _check_host(cls, value: str) -> str:
        if problem := network_problem(value):
            raise ValueError(problem)
        return value

    @model_validator(mode="after")
    def _check_one_token(self) -> StowSender:
        if bool(self.token_sha256) == (self.token_file is not None):
            raise ValueError("give either token_sha256 or token_file")
        return self

    def token_digest(self) -> str:
        """Return the SHA-256 of the token, hexadecimal.

        Raises:
            ConfigError: token_file cannot be read, or holds too short a token.
        """
        if self.token_file is None:
            return self.token_sha256
        try:
            token = self.token_file.read_bytes().strip()
        except OSError as error:
            raise ConfigError(f"token_file {self.token_file} of sender {self.name} cannot be read: {error.strerror}") from error
        if len(token) < _SHORTEST_TOKEN:
            raise ConfigError(
                f"token of sender {self.name} has {len(token)} characters, at least {_SHORTEST_TOKEN} are needed",
                hint="make one: openssl rand -hex 32",
            )
        return hashlib.sha256(token).hexdigest()

    def sends_from(self, address: str) -> bool:
        """Say whether this sender may come from an address."""
        return is_within(address, self.host)


class StowSection(Section):
    """STOW-RS, the storing side of DICOMweb."""

    senders: tuple[StowSender, ...] = Field((), description="Who may send by STOW-RS; nobody else is admitted.")
    max_requests: int = Field(16, ge=1, le=256, description="Requests stored at once; more are answered 503.")
    max_request: Size = Field(0, description="Larger requests are answered 413; 0 is no limit.")
    timeout: Duration = Field(timedelta(seconds=60), description="Longest silence within a request.")


class Afterwards(StrEnum):
    """What becomes of a file in a watched folder once it is imported."""

    DELETE = "delete"
    KEEP = "keep"
    MOVE = "move"


class WatchSection(Section):
    """A folder whose files are imported."""

    name: Name = Field(description="Name in logs.")
    folder: Path = Field(description="Folder to watch, relative to this file; files, folders, DICOMDIR media and zips may be put into it.")
    settle: Duration = Field(timedelta(seconds=5), description="Import what has not changed for this long.")
    after: Afterwards = Field(
        Afterwards.MOVE,
        description="What becomes of imported files: `delete`, `keep` (stay where they are), `move` (into `.done/` of the folder).",
    )
