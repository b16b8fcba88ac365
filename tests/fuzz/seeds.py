"""Streams to begin with: every way to cut a message, and one of each kind of contradiction."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from tests.integration.raw_peer import (
    ABORTING,
    RELEASE,
    associate_request,
    data_set,
    echo_command,
    element,
    p_data,
    pdu,
    pdv,
    store,
    store_command,
)

UID = "1.2.3.4.5"


def seeds() -> Iterator[tuple[str, bytes]]:
    """Name and stream of each; the first byte of an input says how it is cut and is put before by the caller."""
    content, command = data_set(UID), store_command(UID)
    yield "store", store(UID)
    yield "fragments", store(UID, fragment=20)
    yield "one-pdu", p_data(pdv(command, command=True), pdv(content))
    yield "split-command", p_data(pdv(command[:30], command=True, last=False)) + p_data(pdv(command[30:], command=True), pdv(content))
    yield "empty-last", p_data(pdv(command, command=True)) + p_data(pdv(content, last=False)) + p_data(pdv(b""))
    yield "two", store(UID) + store("1.2.3.4.6", message=2) + RELEASE
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    deflated = deflate.compress(content) + deflate.flush()
    yield "deflated", p_data(pdv(command, command=True, context=5), pdv(deflated, context=5))
    yield "implicit", p_data(pdv(command, command=True, context=3), pdv(content, context=3))
    yield "big-endian", p_data(pdv(command, command=True, context=7), pdv(content, context=7))
    sequence = b"\x08\0\x05\x10SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    yield "sequence", p_data(pdv(command, command=True), pdv(content[:34] + sequence + content[34:]))
    yield "echo", p_data(pdv(echo_command(), command=True, context=9)) + store(UID)
    yield "find", p_data(pdv(store_command(UID).replace(b"\0\1\2\0\0\0\1\0", b"\0\1\2\0\0\0\x20\0"), command=True), pdv(content))
    yield "no-data-set", p_data(pdv(store_command(UID, data_set=False), command=True)) + store(UID)
    yield "odd-elements", p_data(pdv(store_command(UID, extra=element(0x5555, b"x")), command=True), pdv(content))
    yield "path-uid", store("../../x")
    yield "abort", store(UID)[:150] + ABORTING
    yield "lying-pdv", p_data(pdv(command, command=True, length=0xFFFFFFFF))
    yield "lying-pdu", pdu(4, pdv(command, command=True), length=0xFFFFFFFF)
    yield "request", associate_request()
