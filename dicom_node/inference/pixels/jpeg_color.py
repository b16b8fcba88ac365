"""What a JPEG stream itself says about its colours; headers are often wrong about that."""

from __future__ import annotations

from dataclasses import dataclass

_APP0, _APP14 = 0xE0, 0xEE
_FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_SCAN = 0xDA
_RGB_IDS = (b"RGB", b"rgb")


@dataclass(frozen=True, slots=True)
class JpegColor:
    """Colour space of a stream of three components.

    Attributes:
        photometric_interpretation: RGB or YBR_FULL; empty if the stream does not say.
        adobe: It has an Adobe marker, upon which some decoders turn the colours by themselves.
    Source: ISO/IEC 10918-1 B.2.2, 10918-5 (JFIF), 10918-6 6.5.3 (Adobe).
    """

    photometric_interpretation: str = ""
    adobe: bool = False


def jpeg_color(encoded: bytes) -> JpegColor:
    """Read the markers before the first scan. Component identifiers count more than the Adobe marker, that more than JFIF."""
    said = dict.fromkeys(("ids", "adobe", "jfif"), "")
    offset = 2
    while offset + 4 <= len(encoded) and encoded[offset] == 0xFF:
        marker, length = encoded[offset + 1], int.from_bytes(encoded[offset + 2 : offset + 4], "big")
        segment = encoded[offset + 4 : offset + 2 + length]
        if marker == _SCAN:
            break
        if marker == _APP0 and segment.startswith(b"JFIF"):
            said["jfif"] = "YBR_FULL"
        elif marker == _APP14 and segment.startswith(b"Adobe") and len(segment) >= 12:
            said["adobe"] = "YBR_FULL" if segment[11] == 1 else "RGB"
        elif marker in _FRAMES and segment[5:6] == b"\x03":
            said["ids"] = "RGB" if segment[6:15:3] in _RGB_IDS else ""
        offset += 2 + length
    return JpegColor(said["ids"] or said["adobe"] or said["jfif"], bool(said["adobe"]))
