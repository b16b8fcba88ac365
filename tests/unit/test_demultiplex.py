"""The stream splitter: the same events however the bytes are cut, and a clear end for everything that contradicts itself."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.ops.command_set import read_command_set
from dicom_node.ops.pdata import Fragment, MalformedPduError, PDataReader
from dicom_node.scp.command_set import StoreRequest, store_response
from dicom_node.scp.demultiplex import Demultiplexer, Event, Foreign, StoreBegins, StoreData

CT = "1.2.840.10008.5.1.4.1.1.2"


def element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, number, len(value)) + value


def command(field: int = 1, *, data_set: bool = True, uid: bytes = b"1.2.3\0", extra: bytes = b"") -> bytes:
    kind = b"\x01\x00" if data_set else b"\x01\x01"
    body = element(2, CT.encode() + b"\0") + element(0x100, struct.pack("<H", field)) + element(0x110, b"\7\0") + element(0x800, kind)
    return body + element(0x1000, uid) + extra


def pdv(data: bytes, *, context: int = 1, command: bool = False, last: bool = True) -> bytes:
    return struct.pack(">IBB", len(data) + 2, context, command | last << 1) + data


def pdu(*pdvs: bytes) -> bytes:
    content = b"".join(pdvs)
    return struct.pack(">BBI", 4, 0, len(content)) + content


RELEASE = struct.pack(">BBI4s", 5, 0, 4, bytes(4))
STORE = pdu(pdv(command(), command=True))


def events_of(stream: bytes, step: int) -> list[Event]:
    """Feed pieces of `step` bytes through a buffer, as the socket does; views become bytes, neighbours are joined."""
    splitter, found, buffer = Demultiplexer({1, 3}), list[Event](), b""
    for start in range(0, len(stream), step):
        buffer += stream[start : start + step]
        taken = 1
        while taken and buffer:
            events, taken = splitter.feed(memoryview(buffer))
            found += [StoreData([memoryview(b"".join(e.views))], e.ends) if isinstance(e, StoreData) else e for e in events]
            buffer = buffer[taken:]
    return joined(found)


def joined(events: list[Event]) -> list[Event]:
    result: list[Event] = []
    for event in events:
        last = result[-1] if result else None
        if isinstance(event, StoreData) and isinstance(last, StoreData) and not last.ends:
            result[-1] = StoreData([memoryview(bytes(last.views[0]) + bytes(event.views[0]))], event.ends)
        else:
            result.append(event)
    return result


def stored(stream: bytes, step: int = 1 << 20) -> list[bytes]:
    return [bytes(e.views[0]) for e in events_of(stream, step) if isinstance(e, StoreData) and e.ends]


MESSAGES = [
    STORE + pdu(pdv(b"whole")),
    STORE + pdu(pdv(b"in ", last=False)) + pdu(pdv(b"three ", last=False), pdv(b"pieces")),
    STORE + pdu(pdv(b"last fragment is empty", last=False)) + pdu(pdv(b"")),
    pdu(pdv(command(), command=True), pdv(b"in the command's PDU")),
    pdu(pdv(command()[:30], command=True, last=False), pdv(command()[30:], command=True)) + pdu(pdv(b"command in pieces")),
    pdu(pdv(command()[:9], command=True, last=False)) + pdu(pdv(command()[9:], command=True), pdv(b"da", last=False)) + pdu(pdv(b"ta")),
    pdu(pdv(command(0x30, data_set=False), command=True)),
    pdu(pdv(command(0x20), command=True)) + pdu(pdv(b"identifier", last=False), pdv(b" of a query")),
    RELEASE,
]


@given(st.lists(st.sampled_from(MESSAGES), max_size=6), st.integers(1, 64))
def test_every_cut_gives_the_same_events(messages: list[bytes], step: int) -> None:
    stream = b"".join(messages)
    whole = events_of(stream, max(1, len(stream)))
    cut = events_of(stream, step)
    assert [e for e in cut if not isinstance(e, Foreign)] == [e for e in whole if not isinstance(e, Foreign)]
    assert foreign_content(cut) == foreign_content(whole)


def foreign_content(events: list[Event]) -> list[bytes]:
    """What pynetdicom gets, its fragments joined: how they are cut is ours to choose."""
    contents: list[bytes] = []
    fragments: list[Fragment] = []
    for event in events:
        if isinstance(event, Foreign) and event.pdu[0] != 4:
            contents.append(event.pdu)
        elif isinstance(event, Foreign):
            PDataReader().read(memoryview(event.pdu), fragments)
            if fragments[-1].ends:
                contents.append(b"".join(f.data for f in fragments))
                fragments = []
    assert not fragments
    return contents


@pytest.mark.parametrize("message", MESSAGES[:6])
@pytest.mark.parametrize("step", [1, 2, 1000])
def test_data_set_comes_out_whole_and_a_second_message_after_it(message: bytes, step: int) -> None:
    [first] = stored(message, step)
    assert stored(message + MESSAGES[0] + RELEASE, step) == [first, b"whole"]


def test_request_is_read_with_padding_removed() -> None:
    [begins, _] = events_of(MESSAGES[0], 1000)
    assert begins == StoreBegins(StoreRequest(1, 7, CT, "1.2.3", has_data_set=True))


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (pdu(), "0 bytes holds no PDV"),
        (struct.pack(">BBIIBB", 4, 0, 6, 0, 1, 2), "PDV of 0 bytes"),
        (struct.pack(">BBIIBB", 4, 0, 6, 1, 1, 2), "PDV of 1 bytes"),
        (struct.pack(">BBIIBB", 4, 0, 6, 0xFFFFFFFF, 1, 2), "PDV of 4294967295 bytes in 6"),
        (struct.pack(">BBIIBBB", 4, 0, 7, 2, 1, 2, 0), "1 bytes left"),
        (pdu(pdv(b"data", context=1)), "without a command set"),
        (pdu(pdv(command(), context=5, command=True)), "context 5 was not accepted"),
        (STORE + pdu(pdv(b"data", context=3)), "context 3 within a message on 1"),
        (STORE + pdu(pdv(b"da", last=False)) + STORE, "command set within a data set"),
        (pdu(pdv(command()[:-3], command=True)), "6 bytes, 3 are there"),
        (pdu(pdv(command() + b"\0\0\0", command=True)), "3 bytes left over"),
        (pdu(pdv(b"", command=True)), "(0000,0800)"),
        (pdu(pdv(command(0x7777), command=True)), "Command Field 7777"),
        (pdu(pdv(command(0xFFFF), command=True)), "Command Field FFFF"),
        (pdu(pdv(element(0x100, b"\1\0") + element(0x800, b"\1\1"), command=True)), "(0000,0002)"),
        (pdu(pdv(command(), command=True, last=False)) + pdu(pdv(b"data")), "without a command set"),
        (pdu(*[pdv(bytes(32768), command=True, last=False)] * 3), "command set of more than"),
        (b"\x09\0\0\0\0\4abcd", "PDU of type 09"),
        (b"\x05\0\xff\xff\xff\xff", "PDU of type 05 and 4294967295"),
    ],
)
def test_contradictions_end_the_association_with_the_numbers_that_disagree(stream: bytes, words: str) -> None:
    for step in (1, 1 << 20):
        with pytest.raises(MalformedPduError, match=words.replace("(", r"\(").replace(")", r"\)")):
            events_of(stream, step)


def test_endless_message_that_is_no_store_has_a_limit() -> None:
    splitter = Demultiplexer({1})
    splitter.feed(memoryview(pdu(pdv(command(0x20), command=True))))
    block = memoryview(pdu(pdv(bytes(1 << 20), last=False)))
    for _ in range(15):
        splitter.feed(block)
    with pytest.raises(MalformedPduError, match="no C-STORE"):
        splitter.feed(block)


def test_unknown_and_private_command_elements_are_stepped_over() -> None:
    odd = struct.pack("<HHI", 9, 1, 3) + b"abc" + element(0x5555, b"x")
    [begins, _] = events_of(pdu(pdv(command(extra=odd), command=True), pdv(b"data")), 1000)
    assert isinstance(begins, StoreBegins)


def test_hostile_uid_is_taken_as_text_for_the_door_to_refuse() -> None:
    [begins, _] = events_of(pdu(pdv(command(uid=b"../../x\xff"), command=True), pdv(b"data")), 1000)
    assert isinstance(begins, StoreBegins)
    assert begins.request.sop_instance_uid == "../../x\xff"


def test_response_names_request_status_comment_and_element() -> None:
    request = StoreRequest(3, 9, CT, "1.2.3", has_data_set=True)
    response = store_response(request, 0xA900, comment="x" * 80, offending_tag=0x00080018)
    fragments: list[Fragment] = []
    assert PDataReader().read(memoryview(response), fragments) == len(response)
    [fragment] = fragments
    assert (fragment.context_id, fragment.is_command, fragment.ends) == (3, True, True)
    values = read_command_set(fragment.data)
    assert struct.unpack("<I", values[0]) == (len(fragment.data) - 12,)
    assert values[0x0900] == b"\x00\xa9"
    assert values[0x0901] == b"\x08\x00\x18\x00"
    assert values[0x0902] == b"x" * 64
    assert (values[0x0120], values[0x0800], values[0x1000]) == (b"\x09\0", b"\x01\x01", b"1.2.3\0")


@given(st.binary(max_size=600), st.integers(1, 40))
def test_any_bytes_end_in_events_or_in_our_error_however_cut(stream: bytes, step: int) -> None:
    def outcome(size: int) -> object:
        try:
            return [e for e in events_of(stream, size) if not isinstance(e, Foreign)]
        except MalformedPduError as error:
            return type(error)

    assert outcome(step) == outcome(1 << 20)
