"""Signatures of the engines that this node built: a plan is code that runs as the node, so only its own are ever loaded."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from dicom_node.errors import ModelError

KEY_FILE = "signing.key"
_KEY_BYTES = 32


class Signer:
    """HMAC-SHA256 with a key that only the node's user can read."""

    def __init__(self, key: bytes) -> None:
        """Take the key."""
        self._key = key

    @classmethod
    def of_folder(cls, folder: Path) -> Signer:
        """Read the folder's key, or make one.

        Raises:
            ModelError: the key is not whole, belongs to someone else, or others may read it.
        """
        path = folder / KEY_FILE
        if not path.exists():
            _create(path)
        state = path.stat()
        if state.st_mode & 0o077 or state.st_uid != os.geteuid():
            raise ModelError(
                f"{path}: mode {state.st_mode & 0o777:o}, owner {state.st_uid}: others than the node can read or replace the key",
                hint=f"Delete {folder}: whoever knew the key could have put engines there. All are built anew.",
            )
        key = path.read_bytes()
        if len(key) != _KEY_BYTES:
            raise ModelError(f"{path}: {len(key)} bytes, a signing key has {_KEY_BYTES}", hint="Delete it; all engines are built anew.")
        return cls(key)

    def sign(self, purpose: str, content: bytes) -> str:
        """Sign content for one purpose, for example the plan of one key; hexadecimal."""
        return hmac.new(self._key, purpose.encode() + b"\0" + hashlib.sha256(content).digest(), hashlib.sha256).hexdigest()

    def holds(self, purpose: str, content: bytes, signature: str) -> bool:
        """Tell whether a signature is ours."""
        return hmac.compare_digest(self.sign(purpose, content), signature)


def _create(path: Path) -> None:
    """Write a key under its name in one go; of two processes that do so at once, both use the first one's."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f".{KEY_FILE}.{secrets.token_hex(8)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(_KEY_BYTES))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(partial, path)
    except FileExistsError:
        pass
    finally:
        partial.unlink()
