"""Multipart bodies in pieces of any size: parts come out byte for byte, also where they nearly hold the boundary."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dicom_node.scp.multipart import MalformedRequestError, PartsReader, boundary_of
from tests.arrivals import BOUNDARY, multipart


class Parts:
    def __init__(self) -> None:
        self.headers: list[Mapping[str, str]] = []
        self.contents: list[bytes] = []
        self.ended = 0

    def begin_part(self, headers: Mapping[str, str]) -> None:
        self.headers.append(headers)
        self.contents.append(b"")

    def part_data(self, data: memoryview) -> None:
        self.contents[-1] += data

    def end_part(self) -> None:
        self.ended += 1


def read(body: bytes, size: int = 1 << 20) -> Parts:
    parts = Parts()
    reader = PartsReader(BOUNDARY, parts)
    for start in range(0, len(body), size):
        reader.feed(body[start : start + size])
    reader.finish()
    return parts


nearly = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"--", b"-", b"\r\n--a-bound", b"\r\n--a-bounda", b"a-boundary", b"\0", b"x"]), max_size=12
)


@given(contents=st.lists(nearly.map(b"".join), min_size=1, max_size=4), size=st.integers(1, 64))
def test_parts_come_out_byte_for_byte_whatever_the_pieces(contents: list[bytes], size: int) -> None:
    assume(not any(b"\r\n--a-boundary" in b"\r\n" + content for content in contents))  # a sender chooses another boundary then
    parts = read(multipart(contents), size)
    assert (parts.contents, parts.ended) == (contents, len(contents))
    assert all(h == {"content-type": "application/dicom"} for h in parts.headers)


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"--other\r\n\r\n", multipart([b"x"])[:-6], multipart([b"x"]).replace(b"Content", b"Con\0tent")]
)
def test_what_is_no_whole_multipart_body_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        read(body)


def test_headers_without_end_are_refused_while_they_come() -> None:
    reader = PartsReader(BOUNDARY, Parts())
    reader.feed(f"--{BOUNDARY}\r\nX-Long: ".encode())
    for _ in range(4):
        reader.feed(b"x" * 1000)
    with pytest.raises(MalformedRequestError):
        reader.feed(b"x" * 1000)


@pytest.mark.parametrize("quote", ["", '"'])
def test_the_boundary_may_be_quoted(quote: str) -> None:
    assert boundary_of(f'multipart/related; type="application/dicom"; boundary={quote}a.b{quote}; start="<1>"') == "a.b"
