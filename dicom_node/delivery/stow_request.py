"""The bodies of STOW-RS requests, read from files as they are sent.

Source: PS3.18 10.5.1 and 8.6.1.2; RFC 2387.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from dicom_node.delivery.stored_file import head_of

MOST_INSTANCES = 100
MOST_BYTES = 128 << 20
"""Of the files in one request; a larger one goes alone. Servers that take a request as a whole into memory are common."""
_BLOCK = 256 << 10


@dataclass(frozen=True, slots=True)
class Part:
    """An instance to be sent.

    Attributes:
        index: Where its path stands among those that were given.
    """

    index: int
    path: Path
    sop_instance_uid: str
    size_bytes: int


def read_part(index: int, path: Path) -> Part:
    """Read what a request needs to know of a file.

    Raises:
        DeliveryError: it is missing or no DICOM Part 10 file.
    """
    head = head_of(path)
    return Part(index, path, head.kind.sop_instance_uid, head.state.size_bytes)


def batches(parts: Sequence[Part], most_instances: int = MOST_INSTANCES, most_bytes: int = MOST_BYTES) -> Iterator[list[Part]]:
    """Split what goes to one destination into requests; no request names an instance twice."""
    batch: list[Part] = []
    for part in parts:
        full = len(batch) >= most_instances or sum(p.size_bytes for p in batch) + part.size_bytes > most_bytes
        if batch and (full or any(p.sop_instance_uid == part.sop_instance_uid for p in batch)):
            yield batch
            batch = []
        batch.append(part)
    if batch:
        yield batch


class MultipartBody:
    """A multipart/related body of known length; iterating reads the files, a block at a time."""

    def __init__(self, parts: Sequence[Part]) -> None:
        """Open nothing yet."""
        self._parts = parts
        self._boundary = uuid4().hex
        self._head = f"--{self._boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        self._end = f"--{self._boundary}--\r\n".encode()
        self.sent_bytes = 0

    @property
    def content_type(self) -> str:
        """Value of the Content-Type header."""
        return f'multipart/related; type="application/dicom"; boundary={self._boundary}'

    def __len__(self) -> int:
        """Return the length in bytes, so that the request says it: not every server takes chunks."""
        return sum(len(self._head) + part.size_bytes + 2 for part in self._parts) + len(self._end)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the body."""
        for block in self._blocks():
            self.sent_bytes += len(block)
            yield block

    def _blocks(self) -> Iterator[bytes]:
        for part in self._parts:
            yield self._head
            left = part.size_bytes
            with part.path.open("rb") as file:
                while left and (block := file.read(min(_BLOCK, left))):
                    left -= len(block)
                    yield block
            if left:
                raise OSError(f"{part.path.name} is shorter than it was")
            yield b"\r\n"
        yield self._end
