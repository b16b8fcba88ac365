"""HL7 v2.5.1 ORU^R01: one message with everything that a run found.

Source: HL7 2.5.1 chapters 2, 3, 4 and 7; IHE RAD TF-2 4.4 and 4.28 for what orders and instances are named by.
"""

from __future__ import annotations

from dicom_node.domain.equipment import NODE_MANUFACTURER, NODE_MODEL_NAME
from dicom_node.sr_writer.messages.draft import MessageDraft
from dicom_node.sr_writer.messages.forms import HL7_VERSION, Hl7Form
from dicom_node.sr_writer.messages.hl7_encoding import (
    components,
    escaped,
    header_segment,
    joined,
    message,
    segment,
    sub_components,
)
from dicom_node.sr_writer.messages.hl7_observations import coded, observation_segments
from dicom_node.sr_writer.messages.subject import Identifier, Name, Subject, moment

CONTROL_ID_LENGTH = 20
_PRELIMINARY, _CORRECTED = "P", "C"
_UNKNOWN_CLASS = "U"
_OBSERVATIONS_FOLLOW = "RE"


def build_oru(draft: MessageDraft, form: Hl7Form) -> bytes:
    """Write the message, UTF-8, each segment ended by CR.

    Nobody has verified what a model found, so that it is preliminary; what takes the place of earlier results is a correction of them.
    """
    status = _CORRECTED if draft.replaces else _PRELIMINARY
    at = f"{draft.request.content_at:%Y%m%d%H%M%S%z}"
    subject = draft.subject
    return message(
        [
            _message_header(draft, form, at),
            *_software(draft),
            _patient(subject),
            segment("PV1", {1: "1", 2: _UNKNOWN_CLASS, 8: _people(subject.referring)}),
            segment("ORC", {1: _OBSERVATIONS_FOLLOW, 2: escaped(subject.placer_order), 3: _filler(subject)}),
            _order(draft, status, at),
            *observation_segments(draft, status, at),
        ]
    )


def control_id(draft: MessageDraft) -> str:
    """Return MSH-10: the same for every attempt and every retry of the run."""
    return draft.uuid().hex[:CONTROL_ID_LENGTH].upper()


def _message_header(draft: MessageDraft, form: Hl7Form, at: str) -> str:
    fields = {
        3: escaped(draft.request.ae_title),
        5: escaped(form.application),
        6: escaped(form.facility),
        7: at,
        9: components("ORU", "R01", "ORU_R01"),
        10: control_id(draft),
        11: "P",
        12: HL7_VERSION,
        18: "UNICODE UTF-8",
        19: escaped(draft.content.language),
    }
    return header_segment(fields)


def _software(draft: MessageDraft) -> list[str]:
    """Name the node and the model."""
    request, model = draft.request, draft.request.result.model
    node = (NODE_MANUFACTURER, request.node_version, NODE_MODEL_NAME, request.node_version)
    used = (model.manufacturer, model.version, model.title, model.manifest_digest[:20])
    return [segment("SFT", {number: escaped(text) for number, text in enumerate(one, start=1)}) for one in (node, used)]


def _patient(subject: Subject) -> str:
    names = "~".join(_person(name, "L") for name in subject.names)
    fields = {1: "1", 3: _identifier(subject.patient), 5: names, 7: escaped(subject.birth_date), 8: escaped(subject.sex)}
    return segment("PID", fields)


def _identifier(identifier: Identifier) -> str:
    issuer = identifier.issuer
    authority = sub_components(issuer.namespace, issuer.universal_id, issuer.universal_type)
    return joined("^", escaped(identifier.value), "", "", authority, escaped(identifier.type_code))


def _person(name: Name, type_code: str) -> str:
    """Write XPN, where the suffix stands before the prefix. Source: HL7 2.5.1 2.A.89."""
    family, given, middle, prefix, suffix = name.components
    return components(family, given, middle, suffix, prefix, "", type_code, name.representation)


def _people(names: tuple[Name, ...]) -> str:
    """Write XCN without an identifier."""
    written = []
    for name in names:
        family, given, middle, prefix, suffix = name.components
        written.append(components("", family, given, middle, suffix, prefix, "", "", "", "L", "", "", "", "", name.representation))
    return "~".join(written)


def _filler(subject: Subject) -> str:
    """Return the filler's number: its own, else the accession number, else the study, since one of them must be named."""
    if subject.filler_order or not (subject.accession.value or subject.placer_order):
        return escaped(subject.filler_order or subject.study_instance_uid)
    issuer = subject.accession.issuer
    return components(subject.accession.value, issuer.namespace, issuer.universal_id, issuer.universal_type)


def _order(draft: MessageDraft, status: str, at: str) -> str:
    subject = draft.subject
    if subject.procedure is not None:
        service = coded(subject.procedure)
    elif subject.description:
        service = components("", subject.description)
    else:
        service = coded(draft.content.procedure)
    fields = {
        1: "1",
        2: escaped(subject.placer_order),
        3: _filler(subject),
        4: service,
        7: moment(subject.study_date, subject.study_time, subject.zone),
        18: escaped(subject.accession.value),
        19: escaped(subject.requested_procedure_id),
        20: escaped(subject.scheduled_step_id),
        22: at,
        24: escaped(subject.modality),
        25: status,
    }
    return segment("OBR", fields)
