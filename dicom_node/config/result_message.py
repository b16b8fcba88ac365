"""What a model found, as the message type that expressions are checked against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

RESULT = "dicom_node.Result"
"""Name of the message: `model`, `version`, `outcome`, and by name `findings`, `measurements`, `segments`."""

_BOOL, _DOUBLE, _STRING, _MESSAGE = (getattr(FieldDescriptorProto, f"TYPE_{name}") for name in ("BOOL", "DOUBLE", "STRING", "MESSAGE"))
_TEXTS = ("model", "version", "outcome")
_PARTS = {
    "findings": ("Finding", {"present": _BOOL, "confidence": _DOUBLE}),
    "measurements": ("Measurement", {"value": _DOUBLE, "unit": _STRING}),
    "segments": ("Segment", {"volume_ml": _DOUBLE}),
}


def message_from_result(result: Mapping[str, Any]) -> Message:
    """Convert a result; what the type does not have (the text of a finding, say) is left out.

    Raises:
        TypeError: a value has another type than its field.
        ValueError: a value does not fit its field.
    """
    message = _RESULT()
    for name in _TEXTS:
        setattr(message, name, result.get(name) or "")
    for part, (_, fields) in _PARTS.items():
        for key, values in (result.get(part) or {}).items():
            entry = getattr(message, part)[key]
            for name in fields.keys() & values.keys():
                if values[name] is not None:
                    setattr(entry, name, values[name])
    return message


def finding_of(result: Message, label: str) -> Message:
    """Return a finding; one that the model does not name is not present, with confidence 0."""
    findings = result.findings
    return findings[label] if label in findings else _FINDING()


def _described() -> FileDescriptorProto:
    file = FileDescriptorProto(name="dicom_node/result.proto", package="dicom_node", syntax="proto3")
    result = file.message_type.add(name="Result")
    for name in _TEXTS:
        _add(result, name, _STRING)
    for part, (kind, fields) in _PARTS.items():
        message = result.nested_type.add(name=kind)
        for name, field_type in fields.items():
            _add(message, name, field_type)
        entry = result.nested_type.add(name=f"{part.title()}Entry")
        entry.options.map_entry = True
        _add(entry, "key", _STRING)
        _add(entry, "value", _MESSAGE, f".{RESULT}.{kind}")
        _add(result, part, _MESSAGE, f".{RESULT}.{part.title()}Entry").label = FieldDescriptorProto.LABEL_REPEATED
    return file


def _add(message: DescriptorProto, name: str, field_type: int, type_name: str = "") -> FieldDescriptorProto:
    added = message.field.add(name=name, number=len(message.field) + 1, label=FieldDescriptorProto.LABEL_OPTIONAL)
    added.type = field_type
    if type_name:
        added.type_name = type_name
    return added


POOL = DescriptorPool()
"""Where the message's type is found; nothing else is in it."""
POOL.Add(_described())
_RESULT = GetMessageClass(POOL.FindMessageTypeByName(RESULT))
_FINDING = GetMessageClass(POOL.FindMessageTypeByName(f"{RESULT}.Finding"))
