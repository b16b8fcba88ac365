"""FHIR transaction bundles, R4 and R5: DiagnosticReport, its Observations, and what they are about.

Source: HL7 DICOM SR to FHIR Resource Mapping IG (hl7.fhir.uv.dicom-sr, 1.0.0), which maps to R5; the same elements of R4 where it has them.
"""

from __future__ import annotations

import json
from html import escape

from dicom_node.domain.destinations import FhirVersion
from dicom_node.domain.results import Code
from dicom_node.sr_writer.content import Outcome
from dicom_node.sr_writer.lines import LineKind, plain, report_lines
from dicom_node.sr_writer.messages.draft import MessageDraft
from dicom_node.sr_writer.messages.fhir_entries import Entries, by_uid
from dicom_node.sr_writer.messages.fhir_observations import ObservationWriter
from dicom_node.sr_writer.messages.fhir_values import (
    Json,
    clean,
    coding,
    concept,
    gender,
    human_names,
    identifier,
    pruned,
    system_of,
    uid_identifier,
)
from dicom_node.sr_writer.messages.forms import FhirForm
from dicom_node.sr_writer.messages.subject import Identifier, iso_date

_REPORT = Code("18748-4", "LN", "Diagnostic imaging study")
_RADIOLOGY = {"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD", "display": "Radiology"}
_BY_AI = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "AIAST",
    "display": "Artificial Intelligence asserted",
}
_REPLACES = "http://hl7.org/fhir/StructureDefinition/diagnosticReport-replaces"
_OUTCOMES = {
    Outcome.FOUND: Code("111242", "DCM", "All algorithms succeeded; with findings"),
    Outcome.NO_FINDING: Code("111241", "DCM", "All algorithms succeeded; without findings"),
    Outcome.NOT_ANALYSED: Code("111245", "DCM", "No algorithms succeeded; without findings"),
}


def build_bundle(draft: MessageDraft, form: FhirForm) -> bytes:
    """Write the bundle as JSON, UTF-8."""
    entries = Entries(draft)
    patient = _patient(draft, form, entries)
    order = _order(draft, form, entries, patient)
    study = _study(draft, form, entries, patient, order)
    context: Json = {
        "meta": {"security": [_BY_AI]},
        "language": draft.content.language,
        "status": "preliminary",
        "basedOn": order,
        "subject": patient,
        "effectiveDateTime": iso_date(draft.subject.study_date),
        "issued": draft.request.content_at.isoformat(timespec="milliseconds"),
    }
    writer = ObservationWriter(draft, entries, context, study, _device(draft, form, entries), form.version)
    results = [writer.write(group, number) for number, group in enumerate(draft.content.groups, start=1)]
    entries.add_identified(_report(draft, form, context, study, results), "report")
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries.found}
    return json.dumps(pruned(bundle), ensure_ascii=False, indent=1).encode("utf-8")


def _patient(draft: MessageDraft, form: FhirForm, entries: Entries) -> Json:
    """Refer to the patient: by the identifier alone unless its system is known, since a bare number may be another patient's."""
    subject = draft.subject
    system = system_of(subject.patient.issuer, form.patient_system)
    named = identifier(subject.patient, system)
    if not system or not subject.patient.value:
        return {"type": "Patient", "identifier": named}
    resource = {
        "resourceType": "Patient",
        "identifier": [named],
        "name": human_names(subject.names),
        "gender": gender(subject.sex),
        "birthDate": iso_date(subject.birth_date),
    }
    return entries.add_identified(resource, "patient")


def _order(draft: MessageDraft, form: FhirForm, entries: Entries, patient: Json) -> list[Json]:
    """Refer to the order by its accession number, as to the patient."""
    subject = draft.subject
    if not subject.accession.value:
        return []
    system = system_of(subject.accession.issuer, form.accession_system)
    named = identifier(subject.accession, system)
    if not system:
        return [{"type": "ServiceRequest", "identifier": named}]
    placer = identifier(Identifier(subject.placer_order, subject.accession.issuer, "PLAC"), "") if subject.placer_order else {}
    wanted = concept(subject.procedure) if subject.procedure else {"text": subject.description}
    resource = {
        "resourceType": "ServiceRequest",
        "identifier": [named, placer],
        "status": "unknown",
        "intent": "order",
        "code": {"concept": wanted} if form.version is FhirVersion.R5 else wanted,
        "subject": patient,
    }
    return [entries.add_identified(resource, "order")]


def _study(draft: MessageDraft, form: FhirForm, entries: Entries, patient: Json, order: list[Json]) -> Json:
    subject, headers = draft.subject, draft.source.headers
    series = {str(h.SeriesInstanceUID): str(h.Modality) for h in headers}

    def modality(code: str) -> Json:
        found = coding(Code(code, "DCM", ""))
        return {"coding": [found]} if form.version is FhirVersion.R5 else found

    resource = {
        "resourceType": "ImagingStudy",
        "identifier": [uid_identifier(subject.study_instance_uid)],
        "status": "available",
        "modality": [modality(code) for code in dict.fromkeys(series.values())],
        "subject": patient,
        "started": iso_date(subject.study_date),
        "basedOn": order,
        "description": subject.description,
        "series": [{"uid": uid, "modality": modality(code)} for uid, code in series.items()],
    }
    return entries.add_identified(resource, "study")


def _device(draft: MessageDraft, form: FhirForm, entries: Entries) -> Json:
    """Name the model; its Device UID is new with every change of the bundle, so that one on record is the same model."""
    model = draft.request.result.model
    r5 = form.version is FhirVersion.R5
    named = {"name": [{"value": model.title, "type": "user-friendly-name"}]} if r5 else {}
    resource = {
        "resourceType": "Device",
        "identifier": [uid_identifier(model.device_uid)],
        "status": "active",
        "manufacturer": model.manufacturer,
        "deviceName": [] if r5 else [{"name": model.title, "type": "user-friendly-name"}],
        **named,
        "version": [{"value": model.version}],
    }
    return entries.add_identified(resource, "device")


def _report(draft: MessageDraft, form: FhirForm, context: Json, study: Json, results: list[Json]) -> Json:
    content = draft.content
    own = [uid_identifier(draft.uid("report")), *(uid_identifier(o.sop_instance_uid, "sop-instance-uid") for o in draft.reports)]
    earlier = [{"url": _REPLACES, "valueReference": by_uid("DiagnosticReport", p.sop_instance_uid)} for p in draft.request.predecessors]
    return {
        "resourceType": "DiagnosticReport",
        **context,
        "text": {"status": "generated", "div": _narrative(draft)},
        "extension": earlier,
        "identifier": own,
        "category": [{"coding": [_RADIOLOGY]}],
        "code": concept(_REPORT, content.title),
        "imagingStudy" if form.version is FhirVersion.R4 else "study": [study],
        "result": results,
        "conclusion": "\n".join(sentence.text for sentence in content.sentences),
        "conclusionCode": [concept(_OUTCOMES[content.outcome])],
    }


def _narrative(draft: MessageDraft) -> str:
    """Write the whole report for people, as pages have it."""
    rows = []
    for line in report_lines(draft.content, draft.words):
        tag = "b" if line.kind in (LineKind.TITLE, LineKind.BANNER, LineKind.HEADING) else "span"
        rows.append(f"<p><{tag}>{escape(clean(plain(line)))}</{tag}></p>")
    return f'<div xmlns="http://www.w3.org/1999/xhtml" lang="{draft.content.language}">{"".join(rows)}</div>'
