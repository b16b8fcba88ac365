"""Checking and deriving DICOM unique identifiers."""

from __future__ import annotations

import hashlib
import re
import uuid
from functools import lru_cache

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_MAX_LENGTH = 64


@lru_cache(maxsize=4096)
def is_safe_uid(value: str) -> bool:
    """Say whether a UID may name a folder or a file.

    Accepts digits and single dots up to 64 characters. A component with a leading zero is against the standard but common
    and harmless, so it passes; anything that could leave the folder does not.

    Source: PS3.5 section 9.1.
    """
    return len(value) <= _MAX_LENGTH and _UID.fullmatch(value) is not None


def derive_uid(*parts: str) -> str:
    """Derive one UID from the parts of a key; the same parts always give the same UID.

    Args:
        parts: What makes the object unique, for example job key, kind and number.

    Returns:
        A UID under the UUID root 2.25.
    Source: PS3.5 B.2.
    """
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"
