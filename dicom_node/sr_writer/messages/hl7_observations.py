"""OBX segments of a message, from the content tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from dicom_node.domain.results import Code
from dicom_node.sr_writer.content import CERTAINTY, PERCENT, Answer, Group, Number
from dicom_node.sr_writer.messages.draft import MessageDraft
from dicom_node.sr_writer.messages.hl7_encoding import components, escaped, segment

_TITLE = Code("121144", "DCM", "Document Title")
_COMMENT = Code("121106", "DCM", "Comment")
_STUDY = Code("113014", "DCM", "DICOM Study")
_STUDY_UID = Code("110180", "DCM", "Study Instance UID")
_SERIES_UID = Code("112002", "DCM", "Series Instance UID")
_CLASS_UID = Code("110181", "DCM", "SOP Class UID")
_REPORT_UID = Code("", "", "SR Instance UID")
_INSTANCE_UID = Code("", "", "SOP Instance UID")
_REPLACED_UID = Code("", "", "Replaced SR Instance UID")
_FINDING = Code("121071", "DCM", "Finding")
_SITE = Code("363698007", "SCT", "Finding Site")
_TRACKING_ID = Code("112039", "DCM", "Tracking Identifier")
_TRACKING_UID = Code("112040", "DCM", "Tracking Unique Identifier")
_SEGMENT = Code("121191", "DCM", "Referenced Segment")
_REGION = Code("111030", "DCM", "Image Region")
_NO_RESULT = "X"


@dataclass(frozen=True, slots=True)
class _Observation:
    """One OBX; `value`, escaped already, is empty where none could be had."""

    type: str
    concept: Code
    sub_id: str
    value: str
    label: str = ""
    unit: Code | None = None
    range: str = ""
    method: Code | None = None


def observation_segments(draft: MessageDraft, status: str, at: str) -> list[str]:
    """Write every OBX: title and sentences, references, then the groups with their figures.

    Sub-IDs tie together what belongs together: `0.n` what is said of the whole, `R n` and `I n` an object of the run and an image,
    `g.n` what belongs to group g.

    Args:
        draft: What the message is written from.
        status: Observation result status of what has a value.
        at: Date and time of the analysis.
    """
    model = draft.request.result.model
    equipment = components(model.title, "", model.device_uid, "ISO")
    return [_segment(number, one, status, at, equipment) for number, one in enumerate(_all(draft), start=1)]


def coded(code: Code, label: str = "") -> str:
    """Write a coded value: code, meaning and coding scheme; a label of its own as alternate text. Source: HL7 table 0396."""
    alternate = ("", label, "L") if label and label != code.meaning else ()
    return components(code.value, code.meaning, code.scheme, *alternate)


def _segment(number: int, one: _Observation, status: str, at: str, equipment: str) -> str:
    fields = {
        1: str(number),
        2: one.type,
        3: coded(one.concept, one.label),
        4: escaped(one.sub_id),
        5: one.value,
        6: coded(one.unit) if one.unit else "",
        7: escaped(one.range),
        11: status if one.value else _NO_RESULT,
        14: at,
        17: coded(one.method) if one.method else "",
        18: equipment,
        19: at,
    }
    return segment("OBX", fields)


def _all(draft: MessageDraft) -> Iterator[_Observation]:
    content = draft.content
    yield _text(_TITLE, "0.1", content.title)
    for number, sentence in enumerate(content.sentences, start=2):
        yield _text(_COMMENT, f"0.{number}", sentence.text)
    yield _string(_STUDY, "", draft.subject.study_instance_uid)
    for number, item in enumerate(draft.objects, start=1):
        named = _REPORT_UID if item.kind == "SR" else _INSTANCE_UID
        yield from _instance(draft, f"R{number}", (named, item.sop_instance_uid), item.series_instance_uid, item.sop_class_uid)
    for number, earlier in enumerate(draft.request.predecessors, start=1):
        yield _string(_REPLACED_UID, f"P{number}", earlier.sop_instance_uid)
    series = draft.series_of
    for number, image in enumerate(content.key_images, start=1):
        uid = image.sop_instance_uid
        yield from _instance(draft, f"I{number}", (_INSTANCE_UID, uid), series[uid], image.sop_class_uid)
    for number, group in enumerate(content.groups, start=1):
        for position, one in enumerate(_group(group), start=1):
            yield _with_sub_id(one, f"{number}.{position}")


def _instance(draft: MessageDraft, sub_id: str, named: tuple[Code, str], series: str, sop_class: str) -> Iterator[_Observation]:
    """Refer to an instance by four OBX of one Sub-ID. Source: IHE RAD TF-2 4.28."""
    yield _string(_STUDY_UID, sub_id, draft.subject.study_instance_uid)
    yield _string(_SERIES_UID, sub_id, series)
    yield _string(named[0], sub_id, named[1])
    yield _string(_CLASS_UID, sub_id, sop_class)


def _group(group: Group) -> Iterator[_Observation]:
    yield _Observation("CWE", _FINDING, "", coded(group.finding, group.label))
    if group.site is not None:
        yield _Observation("CWE", _SITE, "", coded(group.site))
    yield _string(_TRACKING_ID, "", group.tracking_id)
    yield _string(_TRACKING_UID, "", group.tracking_uid)
    if group.place is not None and group.place.segment_number:
        yield _Observation("NM", _SEGMENT, "", str(group.place.segment_number))
    if group.place is not None and group.place.text:
        yield _text(_REGION, "", group.place.text)
    yield from map(_number, group.numbers)
    if group.certainty_percent is not None:
        yield _Observation("NM", CERTAINTY, "", decimal_text(group.certainty_percent), unit=PERCENT)
    yield from map(_answer, group.answers)


def _number(number: Number) -> _Observation:
    value = "" if number.written is None else decimal_text(number.written)
    return _Observation("NM", number.concept, "", value, number.label, number.unit, number.reference_range, number.derivation)


def _answer(answer: Answer) -> _Observation:
    return _Observation("CWE", answer.concept, "", coded(answer.value), answer.label)


def decimal_text(value: float) -> str:
    """Write a number as NM takes it: no exponent, and it reads back as the same number. Source: HL7 2.5.1 2.A.45."""
    return format(Decimal(repr(value)), "f")


def _text(concept: Code, sub_id: str, text: str) -> _Observation:
    return _Observation("TX", concept, sub_id, escaped(text))


def _string(concept: Code, sub_id: str, text: str) -> _Observation:
    return _Observation("ST", concept, sub_id, escaped(text))


def _with_sub_id(one: _Observation, sub_id: str) -> _Observation:
    return _Observation(one.type, one.concept, sub_id, one.value, one.label, one.unit, one.range, one.method)
