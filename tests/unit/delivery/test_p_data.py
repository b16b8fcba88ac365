"""PDUs that go out and messages that come in: every size of object and of PDU, read by a parser of the test's own."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.delivery.messages import Message, MessageReader, store_request
from dicom_node.delivery.p_data import LARGEST_PDU, fragment_bytes, p_data
from dicom_node.delivery.stored_file import StoredFile, head_of
from dicom_node.domain.instances import InstanceKind
from dicom_node.errors import DeliveryError
from dicom_node.ops.pdata import MalformedPduError

KIND = InstanceKind("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1")


def part_10(data_set: bytes) -> bytes:
    def element(number: int, vr: bytes, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return struct.pack("<HH2sH", 2, number, vr, len(value)) + value

    uids = zip((2, 3, 0x10), KIND, strict=True)
    meta = b"".join(element(number, b"UI", uid.encode()) for number, uid in uids)
    return bytes(128) + b"DICM" + element(0, b"UL", struct.pack("<I", len(meta))) + meta + data_set


def strictly_read(stream: bytes, maximum_length: int) -> tuple[bytes, bytes]:
    """Command set and data set of one message; everything that the standard does not allow fails."""
    command, data, state, at = bytearray(), bytearray(), "command", 0
    while at < len(stream):
        kind, reserved, length, item, context, control = struct.unpack_from(">BBIIBB", stream, at)
        assert (kind, reserved, context) == (4, 0, 5)
        assert item + 4 == length
        assert maximum_length == 0 or length <= maximum_length
        assert state != "through"
        assert control & 1 == (state == "command")
        assert control < 4
        fragment = stream[at + 12 : at + 6 + length]
        assert len(fragment) == item - 2
        (command if state == "command" else data).extend(fragment)
        if control & 2:
            state = "data" if state == "command" else "through"
        else:
            assert len(fragment) % 2 == 0
        at += 6 + length
    assert at == len(stream)
    assert state == "through"
    return bytes(command), bytes(data)


@given(
    content=st.binary(min_size=8, max_size=3000),
    maximum_length=st.one_of(st.integers(8, 700), st.sampled_from([0, 4096, 16384, LARGEST_PDU, 1 << 30])),
    spare=st.integers(0, 900),
)
def test_what_a_strict_parser_reads_is_the_file_s_data_set(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, maximum_length: int, spare: int
) -> None:
    data_set = struct.pack("<HH2sH", 8, 0x16, b"UI", 0) + content  # the head ends at an element of another group
    path = tmp_path_factory.getbasetemp() / "object.dcm"
    path.write_bytes(part_10(data_set))
    fragment = fragment_bytes(maximum_length)
    file = StoredFile(path, memoryview(bytearray(2 * fragment + 400 + spare)), head_of(path))
    pieces = p_data(5, store_request(file.kind, 7), fragment, is_command=True, ends=True)
    stream = b"".join(pieces)
    for part, ends in file.data_set(fragment):
        stream += b"".join(p_data(5, part, fragment, is_command=False, ends=ends))
    file.close()
    command, read = strictly_read(stream, maximum_length)
    assert read == data_set
    assert command == store_request(KIND, 7)


@pytest.mark.parametrize("maximum_length", [1, 6, 7])
def test_peer_that_takes_nothing_is_refused(maximum_length: int) -> None:
    with pytest.raises(DeliveryError, match="hold nothing"):
        fragment_bytes(maximum_length)


def test_file_is_read_anew_when_it_changed_after_the_first_look(tmp_path: Path) -> None:
    path = tmp_path / "object.dcm"
    path.write_bytes(part_10(b"\x08\0\x16\0UI\0\0"))
    known = head_of(path)
    path.write_bytes(part_10(b"\x08\0\x16\0UI\0\0").replace(b"1.2.3\0", b"1.2.4\0"))
    file = StoredFile(path, memoryview(bytearray(2000)), known._replace(state=(0, 0, 0)))
    assert file.kind.sop_instance_uid == "1.2.4"
    file.close()


@given(
    sizes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 400)), max_size=4),
    cuts=st.lists(st.integers(1, 50), min_size=1),
    fragment=st.integers(1, 90),
)
def test_messages_are_the_same_however_they_are_cut(sizes: list[tuple[int, int]], cuts: list[int], fragment: int) -> None:
    stream, wanted = b"", []
    for number, (comment, data) in enumerate(sizes):
        command = element_set(number, comment, has_data=True)
        stream += b"".join(p_data(3, command, fragment, is_command=True, ends=True))
        stream += b"".join(p_data(3, bytes(data), fragment, is_command=False, ends=True))
        wanted.append((3, number, bytes(data)))
    stream += b"".join(p_data(9, element_set(99, 2, has_data=False), fragment, is_command=True, ends=True))
    wanted.append((9, 99, b""))
    reader, found, at = MessageReader(), list[Message](), 0
    while at < len(stream):
        size = cuts[len(found) % len(cuts)]
        found += reader.feed(stream[at : at + size])
        at += size
    assert [(m.context_id, int.from_bytes(m.values[0x0120], "little"), m.data_set) for m in found] == wanted
    assert not reader.within_message
    assert reader.feed(b"\x07\0") == []
    assert reader.foreign == reader.rest == b"\x07\0"


@given(st.binary(max_size=200))
def test_nothing_but_malformed_pdus_is_raised(stream: bytes) -> None:
    whole, bytewise = MessageReader(), MessageReader()
    results: list[object] = []
    for reader, pieces in ((whole, [b"\x04" + stream]), (bytewise, [bytes([byte]) for byte in b"\x04" + stream])):
        try:
            results.append([message for piece in pieces if not reader.foreign for message in reader.feed(piece)])
        except MalformedPduError:
            results.append("malformed")
    assert results[0] == results[1]


def element_set(number: int, comment: int, *, has_data: bool) -> bytes:
    def element(tag: int, value: bytes) -> bytes:
        return struct.pack("<HHI", 0, tag, len(value)) + value

    kind = b"\1\0" if has_data else b"\1\1"
    return element(0x0120, struct.pack("<H", number)) + element(0x0800, kind) + element(0x0902, b"x" * comment)
