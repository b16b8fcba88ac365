"""Observations of a bundle: one a group, with one a figure and one an answer as members; regions beside them in R5."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dicom_node.domain.destinations import FhirVersion
from dicom_node.domain.results import Code, RegionKind
from dicom_node.sr_writer.content import CERTAINTY, PERCENT, Answer, Group, Number, Place
from dicom_node.sr_writer.messages.draft import MessageDraft
from dicom_node.sr_writer.messages.fhir_entries import Entries
from dicom_node.sr_writer.messages.fhir_values import Json, coding, concept, quantity, tracking_identifiers

_GROUP = Code("125007", "DCM", "Measurement Group")
_EVALUATION = Code("C0034375", "UMLS", "Qualitative Evaluations")
_DERIVATION = Code("121401", "DCM", "Derivation")
_REGION = Code("111030", "DCM", "Image Region")
_SEGMENT = Code("121191", "DCM", "Referenced Segment")
_SOURCE = Code("121112", "DCM", "Source of Measurement")
_IMAGING = {"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "imaging", "display": "Imaging"}
_ABSENT = {"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": "not-a-number", "display": "Not a Number (NaN)"}
_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")


@dataclass(frozen=True, slots=True, eq=False)
class ObservationWriter:
    """Writes the groups of one report.

    Attributes:
        context: What every resource of the report has: status, patient, order, times.
        study: Reference to the ImagingStudy.
        device: Reference to the model.
    """

    draft: MessageDraft
    entries: Entries
    context: Json
    study: Json
    device: Json
    version: FhirVersion

    def write(self, group: Group, number: int) -> Json:
        """Add a group with its members; returns a reference to it. Source: dicom-sr, Imaging Measurement Group."""
        name = f"group-{number}"
        focus = self._focus(group, name)
        members = [self._member(one, group, focus, f"{name}-{position}") for position, one in enumerate(_members(group), start=1)]
        resource = {
            **self._common(group, focus),
            "identifier": tracking_identifiers(group.tracking_id, group.tracking_uid),
            "category": [{"coding": [_IMAGING]}],
            "code": concept(_GROUP, group.label),
            "valueCodeableConcept": concept(group.finding),
            "note": [{"text": group.place.text}] if group.place and group.place.text else [],
            "hasMember": members,
        }
        return self.entries.add(resource, name)

    def _common(self, group: Group, focus: list[Json]) -> Json:
        return {
            "resourceType": "Observation",
            **self.context,
            "partOf": [self.study],
            "focus": focus,
            "bodySite": concept(group.site) if group.site else {},
            "device": self.device,
        }

    def _member(self, said: Json, group: Group, focus: list[Json], name: str) -> Json:
        return self.entries.add({**self._common(group, focus), "category": [{"coding": [_IMAGING]}], **said}, name)

    def _focus(self, group: Group, name: str) -> list[Json]:
        """Add what a group is about: the tracked structure and its place. R4 has no resource for selections of images."""
        if self.version is FhirVersion.R4:
            return []
        tracked = {
            "resourceType": "BodyStructure",
            "identifier": tracking_identifiers(group.tracking_id, group.tracking_uid),
            "includedStructure": [{"structure": {"text": group.label}}],
            "patient": self.context["subject"],
        }
        found = [self.entries.add(tracked, name, "structure")]
        for position, selection in enumerate(self._selections(group), start=1):
            resource = {
                "resourceType": "ImagingSelection",
                "status": "available",
                "subject": self.context["subject"],
                "derivedFrom": [self.study],
                "studyUid": self.draft.subject.study_instance_uid,
                **selection,
            }
            found.append(self.entries.add(resource, name, "selection", str(position)))
        return found

    def _selections(self, group: Group) -> Iterator[Json]:
        """Yield regions of each series, the segment, or the images that a group without a place is about."""
        place = group.place or Place()
        segmentation = next((o for o in self.draft.objects if o.sop_class_uid in _SEGMENTATIONS), None)
        if place.segment_number and segmentation is not None:
            chosen = _instance(segmentation.sop_class_uid, segmentation.sop_instance_uid, place.segment_number)
            yield {"code": concept(_SEGMENT), "seriesUid": segmentation.series_instance_uid, "instance": [chosen]}
        series_of = self.draft.series_of
        by_series: dict[str, list[Json]] = {}
        for outline in place.outlines:
            image = outline.image
            region = {
                "regionType": "point" if outline.kind is RegionKind.POINT else "polyline",
                "coordinate": [value for point in outline.points_px for value in point],
            }
            selected = {**_instance(image.sop_class_uid, image.sop_instance_uid, image.frame_number), "imageRegion2D": [region]}
            by_series.setdefault(series_of[image.sop_instance_uid], []).append(selected)
        for series, instances in by_series.items():
            yield {"code": concept(_REGION), "seriesUid": series, "instance": instances}
        about: dict[str, list[Json]] = {}
        for image in group.images:
            about.setdefault(series_of[image.sop_instance_uid], []).append(
                _instance(image.sop_class_uid, image.sop_instance_uid, image.frame_number)
            )
        for series, instances in about.items():
            yield {"code": concept(_SOURCE), "seriesUid": series, "instance": instances}


def _members(group: Group) -> Iterator[Json]:
    yield from map(_number, group.numbers)
    if group.certainty_percent is not None:
        yield {"code": concept(CERTAINTY), "valueQuantity": quantity(group.certainty_percent, PERCENT)}
    yield from map(_answer, group.answers)


def _number(number: Number) -> Json:
    """Write a figure. Source: dicom-sr, Imaging Measurement."""
    value = number.written
    said = {"dataAbsentReason": {"coding": [_ABSENT]}} if value is None else {"valueQuantity": quantity(value, number.unit)}
    derived = [{"code": concept(_DERIVATION), "valueCodeableConcept": concept(number.derivation)}] if number.derivation else []
    return {
        "code": concept(number.concept, number.label),
        **said,
        "referenceRange": [{"text": number.reference_range}],
        "component": derived,
    }


def _answer(answer: Answer) -> Json:
    """Write an answer. Source: dicom-sr, Imaging Qualitative Evaluation."""
    return {
        "category": [{"coding": [_IMAGING]}, {"coding": [coding(_EVALUATION)]}],
        "code": concept(answer.concept, answer.label),
        "valueCodeableConcept": concept(answer.value),
    }


def _instance(sop_class_uid: str, sop_instance_uid: str, subset: int | None) -> Json:
    sop_class = {"system": "urn:ietf:rfc:3986", "code": f"urn:oid:{sop_class_uid}"}
    return {"uid": sop_instance_uid, "sopClass": sop_class, "subset": [] if subset is None else [str(subset)]}
