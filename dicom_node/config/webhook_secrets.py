"""Secrets that webhooks are signed with. Source: Standard Webhooks 1.0.0, "Signature scheme"."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from dicom_node.errors import ConfigError

_PREFIX = "whsec_"
_LEAST_BYTES, _MOST_BYTES = 24, 64
_HINT = "make one: echo whsec_$(openssl rand -base64 32)"


def read_secrets(path: Path) -> tuple[bytes, ...]:
    """Read the secrets of a file, one a line: two while receivers change from one to the other, each body is signed with both.

    Raises:
        ConfigError: not readable, none in it, or one that is not `whsec_` and 24 to 64 bytes in base64.
    """
    try:
        lines = path.read_text("ascii").split()
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else "no ASCII text"
        raise ConfigError(f"{path} cannot be read: {words}", hint=_HINT) from error
    if not lines:
        raise ConfigError(f"{path} holds no secret", hint=_HINT)
    return tuple(_secret(line, path) for line in lines)


def _secret(text: str, path: Path) -> bytes:
    if not text.startswith(_PREFIX):
        raise ConfigError(f"{path}: a secret begins with {_PREFIX}", hint=_HINT)
    try:
        secret = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise ConfigError(f"{path}: what follows {_PREFIX} is no base64", hint=_HINT) from error
    if not _LEAST_BYTES <= len(secret) <= _MOST_BYTES:
        raise ConfigError(f"{path}: the secret has {len(secret)} bytes, {_LEAST_BYTES} to {_MOST_BYTES} are needed", hint=_HINT)
    return secret
