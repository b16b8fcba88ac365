"""multipart/related bodies in pieces of any size; nothing but the current piece is held.

Source: RFC 2046 5.1, RFC 2387.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from dicom_node.errors import PeerError


class MalformedRequestError(PeerError):
    """The body is no multipart body, or ends before its closing boundary."""

    code = "request-malformed"


class MediaTypeError(PeerError):
    """The request, or a part of it, has a media type or encoding that is not taken."""

    code = "media-type-unsupported"


class PartReceiver(Protocol):
    """Takes the parts as they come."""

    def begin_part(self, headers: Mapping[str, str]) -> None:
        """Begin a part; names of headers in lower case."""

    def part_data(self, data: memoryview) -> None:
        """Take the next bytes of the part; they may be reused when this returns."""

    def end_part(self) -> None:
        """End the part; it came whole."""


def boundary_of(content_type: str) -> str:
    """Check the Content-Type of a request and return its boundary.

    A missing `type` parameter is let pass, as older senders leave it out; the parts name their own type.

    Raises:
        MediaTypeError: not multipart/related of application/dicom.
        MalformedRequestError: the boundary is missing.
    Source: PS3.18 8.7.1, 10.5.1.
    """
    media_type, parameters = parse_options_header(content_type)
    wanted = parameters.get(b"type", b"application/dicom").lower()
    if media_type.lower() != b"multipart/related" or wanted != b"application/dicom":
        raise MediaTypeError('Content-Type must be multipart/related; type="application/dicom"')
    boundary = parameters.get(b"boundary", b"").decode("latin-1")
    if not boundary:
        raise MalformedRequestError("Content-Type lacks the boundary")
    return boundary


class PartsReader:
    """Cuts a body into parts.

    Attributes:
        parts: Parts begun so far.
    """

    def __init__(self, boundary: str, receiver: PartReceiver) -> None:
        """Begin before the first byte.

        Args:
            boundary: As the Content-Type gives it.
            receiver: What it raises ends the reading.

        Raises:
            MalformedRequestError: the boundary is longer than any.
        """
        self.parts = 0
        self._receiver = receiver
        self._headers: dict[str, str] = {}
        self._name, self._value = bytearray(), bytearray()
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._header,
                    "on_headers_finished": lambda: receiver.begin_part(self._headers),
                    "on_part_data": lambda data, start, end: receiver.part_data(memoryview(data)[start:end]),
                    "on_part_end": receiver.end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise MalformedRequestError("boundary is too long") from error

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body.

        Raises:
            MalformedRequestError: this is no multipart body.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise MalformedRequestError("body is no multipart body with the boundary of its Content-Type") from error

    def finish(self) -> None:
        """Say that the body has ended.

        Raises:
            MalformedRequestError: without its closing boundary, so that the last part may be cut off.
        """
        if not self._ended:
            raise MalformedRequestError("body ends without its closing boundary")

    def _begin(self) -> None:
        self.parts += 1
        self._headers = {}

    def _header(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = self._value.decode("latin-1").strip()
        self._name, self._value = bytearray(), bytearray()

    def _end(self) -> None:
        self._ended = True
