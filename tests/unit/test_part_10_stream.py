"""Part 10 files in pieces of any size: the data set comes out bit for bit, whatever the head looks like."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.errors import PeerError, SopClassError, StudyUrlError, UnparsableDataSetError
from dicom_node.ops.file_meta import LONGEST_HEAD, FileMeta
from dicom_node.scp.door import InstanceKind
from dicom_node.scp.part_10_stream import CheckingSink, Part10Stream

KIND = InstanceKind("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1")


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    if vr in (b"OB", b"UR"):
        return struct.pack("<HH2sHI", group, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def head(*elements: bytes, length: int | None = None, kind: InstanceKind = KIND) -> bytes:
    texts = ((2, kind.sop_class_uid), (3, kind.sop_instance_uid), (16, kind.transfer_syntax_uid))
    body = element(2, 1, b"OB", b"\0\1") + b"".join(element(2, n, b"UI", t.encode() + b"\0" * (len(t) % 2)) for n, t in texts)
    body += b"".join(elements)
    counted = len(body) if length is None else length
    return bytes(128) + b"DICM" + (element(2, 0, b"UL", struct.pack("<I", counted)) if counted >= 0 else b"") + body


def data_set(study: bytes = b"1.2.4\0", sop: bytes = b"1.2.3\0") -> bytes:
    return (
        element(8, 0x16, b"UI", KIND.sop_class_uid.encode() + b"\0")
        + element(8, 0x18, b"UI", sop)
        + element(0x20, 0xD, b"UI", study)
        + element(0x20, 0xE, b"UI", b"1.2.5\0")
        + element(0x28, 0x10, b"US", b"\1\0")
    )


class Kept:
    """A sink that remembers."""

    study_instance_uid = "1.2.4"

    def __init__(self, kind: InstanceKind) -> None:
        self.kind, self.content, self.end = kind, b"", ""

    def write(self, views: Sequence[bytes | memoryview]) -> None:
        self.content += b"".join(views)

    def finish(self) -> None:
        self.end = "finished"

    def discard(self) -> None:
        self.end = self.end or "discarded"


def through(content: bytes, cuts: Sequence[int] = ()) -> Kept:
    kept: list[Kept] = []
    stream = Part10Stream(lambda kind: kept.append(Kept(kind)) or kept[-1])  # type: ignore[func-returns-value]
    for start, end in zip((0, *cuts), (*cuts, len(content)), strict=True):
        stream.write(memoryview(content)[start:end])
    stream.finish()
    return kept[0]


@given(cuts=st.lists(st.integers(0, 600), max_size=12).map(sorted), rest=st.binary(max_size=200))
def test_the_data_set_comes_out_bit_for_bit_whatever_the_pieces(cuts: list[int], rest: bytes) -> None:
    content = head() + data_set() + rest
    kept = through(content, [min(c, len(content)) for c in cuts])
    assert (kept.kind, kept.content, kept.end) == (KIND, data_set() + rest, "finished")


@pytest.mark.parametrize("length", [-1, 0, 7, 10**6, 14], ids=["none", "zero", "too short", "too long", "one element too short"])
def test_a_group_length_that_is_missing_or_wrong_does_no_harm(length: int) -> None:
    assert through(head(length=length) + data_set()).content == data_set()


def test_a_deflated_data_set_that_looks_like_group_2_is_no_part_of_the_head() -> None:
    deflated, kind = b"\2\0\xaa\xbbUI\4\0rest", InstanceKind(KIND.sop_class_uid, "1.2.3", "1.2.840.10008.1.2.1.99")
    assert through(head(kind=kind) + deflated).content == deflated


def test_private_information_of_any_size_within_the_limit_is_read_past() -> None:
    assert through(head(element(2, 0x102, b"OB", bytes(50_000))) + data_set()).content == data_set()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        bytes(1000),
        bytes(128) + b"DICM",
        head()[:-3],
        head(kind=InstanceKind("../../etc", "1.2.3", "1.2")) + data_set(),
        head(kind=InstanceKind("1.2", "", "1.2")) + data_set(),
        bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 0x102, b"OB", 0, 0xFFFFFFFF) + bytes(100),
        bytes(128) + b"DICM" + element(2, 0x100, b"UI", b"1.2\0") * (LONGEST_HEAD // 8),
    ],
)
def test_what_is_no_part_10_file_is_refused(content: bytes) -> None:
    with pytest.raises(UnparsableDataSetError):
        through(content)


def test_a_head_that_never_ends_is_refused_while_it_comes() -> None:
    meta, piece = FileMeta(), element(2, 0x100, b"UI", b"1.2\0") * 100
    meta.feed(bytes(128) + b"DICM")
    for _ in range(LONGEST_HEAD // len(piece)):
        meta.feed(piece)
    with pytest.raises(UnparsableDataSetError):
        meta.feed(piece)


def test_a_dicomdir_is_no_instance() -> None:
    with pytest.raises(SopClassError):
        through(head(kind=InstanceKind("1.2.840.10008.1.3.10", "1.2.3", "1.2.840.10008.1.2.1")) + data_set())


def test_another_study_is_refused_and_dropped() -> None:
    kept: list[Kept] = []
    stream = Part10Stream(lambda kind: kept.append(Kept(kind)) or kept[-1], "1.2.999")  # type: ignore[func-returns-value]
    stream.write(head() + data_set())
    with pytest.raises(StudyUrlError):
        stream.finish()
    assert kept[0].end == "discarded"


@pytest.mark.parametrize(("content", "good"), [(data_set(), True), (data_set(sop=b"1.2.9\0"), False), (b"nothing", False)])
def test_a_dry_run_checks_as_the_door_does(content: bytes, good: bool) -> None:
    stream = Part10Stream(CheckingSink)
    stream.write(head() + content)
    if good:
        stream.finish()
    else:
        with pytest.raises(PeerError):
            stream.finish()
