"""Every stored data set against the file that was sent, byte for byte; file meta is the receiver's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from receive_parts.corpora import Sent

_PIECE_BYTES = 1 << 20
_INSTANCE_UID = b"\x02\x00\x03\x00UI"
_HEAD_BYTES = 2048


def count_identical(stored: Path, sent: Sequence[Sent]) -> int:
    """Count instances of which exactly one file is stored, with exactly the data set that was sent."""
    found: dict[str, list[tuple[Path, int]]] = {}
    for path in stored.rglob("*"):
        if path.is_file() and (place := _place(path)):
            found.setdefault(place[0], []).append((path, place[1]))
    return sum(len(found.get(s.sop_instance_uid, ())) == 1 and _same(*found[s.sop_instance_uid][0], s) for s in sent)


def _place(path: Path) -> tuple[str, int] | None:
    """Read SOP Instance UID and offset of the data set from a Part 10 file; None for other files. Source: PS3.10 section 7.1."""
    with path.open("rb", buffering=0) as stream:
        head = stream.read(_HEAD_BYTES)
    at = head.find(_INSTANCE_UID)
    if head[128:132] != b"DICM" or at < 0:
        return None
    length = int.from_bytes(head[at + 6 : at + 8], "little")
    uid = head[at + 8 : at + 8 + length].rstrip(b"\0").decode("ascii", "replace")
    return uid, 144 + int.from_bytes(head[140:144], "little")


def _same(path: Path, data_set_at: int, sent: Sent) -> bool:
    if path.stat().st_size - data_set_at != sent.size_bytes:
        return False
    with path.open("rb", buffering=0) as stored, sent.path.open("rb", buffering=0) as original:
        stored.seek(data_set_at)
        original.seek(sent.data_set_at)
        while piece := stored.read(_PIECE_BYTES):
            if piece != original.read(len(piece)):
                return False
    return True
