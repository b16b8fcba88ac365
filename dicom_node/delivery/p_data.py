"""P-DATA-TF PDUs that go out: where a message is cut, and the headers between the pieces. No I/O, no copies.

Source: PS3.8 9.3.5, D.1, E.1, E.2.
"""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

from dicom_node.errors import DeliveryError
from dicom_node.ops.pdata import P_DATA_TF

Piece: TypeAlias = bytes | memoryview
LARGEST_PDU: Final = 131_072
_PDV_HEADER_BYTES = 6
_COMMAND, _LAST = 0x01, 0x02
_header = struct.Struct(">BxIIBB").pack


def fragment_bytes(maximum_length: int | None) -> int:
    """Say how many bytes of a message go into one PDU; an even number.

    Args:
        maximum_length: What the receiver announced; 0 and None are no limit, and more than 128 KiB is not used.

    Raises:
        DeliveryError: nothing fits.
    """
    length = min(maximum_length or LARGEST_PDU, LARGEST_PDU)
    if length < _PDV_HEADER_BYTES + 2:
        raise DeliveryError(f"it takes PDUs of {length} bytes at most, which hold nothing", hint="mend its maximum PDU length")
    return (length - _PDV_HEADER_BYTES) & ~1


def p_data(context_id: int, message: Piece, fragment: int, *, is_command: bool, ends: bool) -> list[Piece]:
    """Cut a command set, or a part of a data set, into PDUs of one fragment each.

    Args:
        context_id: Presentation context ID.
        message: The bytes; a multiple of `fragment` long unless it ends here.
        fragment: Bytes a PDU.
        is_command: Command set, otherwise data set.
        ends: The command set or data set ends with these bytes.

    Returns:
        Headers and views of `message` in turn.
    """
    view = memoryview(message)
    control = is_command * _COMMAND
    whole = _pdu_header(context_id, fragment, control)
    pieces: list[Piece] = []
    last = max(len(view) - 1, 0) // fragment * fragment if ends else len(view)
    for start in range(0, last, fragment):
        pieces += (whole, view[start : start + fragment])
    if ends:
        pieces += (_pdu_header(context_id, len(view) - last, control | _LAST), view[last:])
    return pieces


def _pdu_header(context_id: int, size: int, control: int) -> bytes:
    return _header(P_DATA_TF, size + _PDV_HEADER_BYTES, size + 2, context_id, control)
