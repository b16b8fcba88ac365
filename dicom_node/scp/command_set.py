"""Command sets of C-STORE: the request read, the response written.

Source: PS3.7 6.3.1, 9.3.1.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from dicom_node.ops.command_set import (
    C_STORE_RSP,
    COMMAND_FIELD,
    DATA_SET_TYPE,
    ERROR_COMMENT,
    MESSAGE_ID,
    NO_DATA_SET,
    RESPONDED_TO,
    SOP_CLASS,
    SOP_INSTANCE,
    STATUS,
    command_set,
    element,
    has_data_set,
    text_element,
    uid_element,
    unsigned_short,
    us_element,
)
from dicom_node.ops.pdata import MalformedPduError

_OFFENDING_ELEMENT = 0x0901
_LONGEST_COMMENT = 64


class StoreRequest(NamedTuple):
    """A C-STORE-RQ; a tuple, as one is made for every instance.

    Attributes:
        sop_class_uid: Affected SOP Class UID, padding removed.
        sop_instance_uid: Affected SOP Instance UID, padding removed.
        has_data_set: Whether a data set follows.
    """

    context_id: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_data_set: bool


def store_request(values: dict[int, bytes], context_id: int) -> StoreRequest:
    """Read a C-STORE-RQ.

    Raises:
        MalformedPduError: a mandatory element is missing.
    """
    sop_class_uid, sop_instance_uid = values.get(SOP_CLASS), values.get(SOP_INSTANCE)
    if sop_class_uid is None or sop_instance_uid is None:
        missing = SOP_CLASS if sop_class_uid is None else SOP_INSTANCE
        raise MalformedPduError(f"C-STORE-RQ without (0000,{missing:04X})")
    uids = sop_class_uid.decode("latin-1").rstrip("\0 "), sop_instance_uid.decode("latin-1").rstrip("\0 ")
    return StoreRequest(context_id, unsigned_short(values, MESSAGE_ID), *uids, has_data_set(values))


def store_response(request: StoreRequest, status: int, *, comment: str = "", offending_tag: int | None = None) -> bytes:
    """Write a C-STORE-RSP as one P-DATA-TF PDU.

    Args:
        request: What is answered.
        status: Status (0000,0900).
        comment: Error Comment (0000,0902), cut to 64 characters; no patient data.
        offending_tag: Offending Element (0000,0901).
    """
    tag = b"" if offending_tag is None else struct.pack("<HH", offending_tag >> 16, offending_tag & 0xFFFF)
    command = command_set(
        uid_element(SOP_CLASS, request.sop_class_uid),
        us_element(COMMAND_FIELD, C_STORE_RSP),
        us_element(RESPONDED_TO, request.message_id),
        us_element(DATA_SET_TYPE, NO_DATA_SET),
        us_element(STATUS, status),
        element(_OFFENDING_ELEMENT, tag) if tag else b"",
        text_element(ERROR_COMMENT, comment[:_LONGEST_COMMENT]) if comment else b"",
        uid_element(SOP_INSTANCE, request.sop_instance_uid),
    )
    return struct.pack(">BBIIBB", 4, 0, len(command) + 6, len(command) + 2, request.context_id, 3) + command
