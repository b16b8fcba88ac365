"""A secret of this node under what it wrote itself, so that a file from elsewhere, or one that was changed, is not believed."""

from __future__ import annotations

import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from dicom_node.errors import StorageError

_BYTES = 32


@dataclass(frozen=True, slots=True)
class Seal:
    """HMAC-SHA256 with a key that only the node's user may read."""

    key: bytes = field(repr=False)

    @classmethod
    def open(cls, path: Path) -> Seal:
        """Read the key; make one if there is none. Of several processes that do so at once, one makes it.

        Raises:
            StorageError: it cannot be read or made, others may read it, or it is too short to be one.
        """
        try:
            if not path.exists():
                _make(path)
            if path.stat().st_mode & 0o077:
                raise StorageError(f"{path}: others may read the signing key", hint=f"chmod 600 {path}")
            key = path.read_bytes()
        except OSError as error:
            raise StorageError(
                f"{path}: the signing key cannot be read or made: {error.strerror}", hint="check owner of data_dir"
            ) from error
        if len(key) != _BYTES:
            raise StorageError(
                f"{path}: the signing key has {len(key)} bytes, {_BYTES} are wanted", hint="remove it; engines are verified anew"
            )
        return cls(key)

    def of(self, content: bytes) -> str:
        """Sign a content, hexadecimal."""
        return hmac.digest(self.key, content, "sha256").hex()

    def holds(self, content: bytes, signature: str) -> bool:
        """Tell whether this node signed exactly this content."""
        return hmac.compare_digest(self.of(content).encode(), signature.encode())


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(secrets.token_bytes(_BYTES))
        stream.flush()
        os.fsync(descriptor)
    try:
        os.link(partial, path)  # unlike a rename it never replaces the key of another process
    except FileExistsError:
        pass
    finally:
        partial.unlink()
