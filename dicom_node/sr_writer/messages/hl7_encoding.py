r"""Text as HL7 v2 writes it, with the separators `|^~\&`.

Source: HL7 2.5.1 2.7 (escape sequences), 2.5.3 (an empty field, a pair of quotes that deletes).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_ESCAPES = {"|": "\\F\\", "^": "\\S\\", "~": "\\R\\", "\\": "\\E\\", "&": "\\T\\"}
_SPECIAL = re.compile(r"[|^~\\&\x00-\x1f\x7f\x85\u2028\u2029]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_DELETE = '""'
ENCODING_CHARACTERS = "^~\\&"


def escaped(text: str) -> str:
    r"""Write any text so that it can neither end a component, field or segment nor the block around the message.

    Control characters and line separators become `\Xhh..\` of their UTF-8 bytes; half of a surrogate pair, which UTF-8 cannot hold,
    becomes U+FFFD; a text of two quotes is told from the order to delete a value.
    """
    text = _SURROGATES.sub("\ufffd", text)
    if text == _DELETE:
        return "\\X2222\\"
    return _SPECIAL.sub(lambda found: _ESCAPES.get(found[0]) or f"\\X{found[0].encode().hex().upper()}\\", text)


def components(*texts: str) -> str:
    """Write a field of components; empty ones at the end are left out."""
    return joined("^", *map(escaped, texts))


def sub_components(*texts: str) -> str:
    """Write a component of sub-components; the result is for `joined`, being escaped already."""
    return joined("&", *map(escaped, texts))


def joined(separator: str, *encoded: str) -> str:
    """Join what is escaped already; empty parts at the end are left out."""
    return separator.join(encoded).rstrip(separator)


def segment(name: str, fields: Mapping[int, str]) -> str:
    """Write a segment without its end from fields by number, escaped already; empty ones at the end are left out."""
    filled = [number for number, value in fields.items() if value]
    return "|".join([name, *(fields.get(number, "") for number in range(1, max(filled, default=0) + 1))])


def header_segment(fields: Mapping[int, str]) -> str:
    """Write MSH from field 3 on."""
    return segment("MSH", {1: ENCODING_CHARACTERS, **{number - 1: value for number, value in fields.items()}})


def message(segments: list[str]) -> bytes:
    """End each segment and encode."""
    return "".join(f"{one}\r" for one in segments).encode("utf-8")
