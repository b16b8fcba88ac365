"""The content tree of a run: what was found, where, and what must be read beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dicom_node.domain.results import Code, Evaluation, Finding, Measurement, Segment, Stage
from dicom_node.sr_writer.content import Answer, Content, Group, Number, Outcome, Place, Sentence, SentenceKind
from dicom_node.sr_writer.places import place_of_region, place_of_segment
from dicom_node.sr_writer.slices import chosen_slices
from dicom_node.sr_writer.source import ImageReference, Source
from dicom_node.sr_writer.words import Words

if TYPE_CHECKING:
    from dicom_node.sr_writer.build import BuildRequest

_MOST_IMAGES = 20
_IMAGING = Code("363679005", "SCT", "Imaging procedure")
_XR = Code("43468-8", "LN", "XR unspecified body region")
_PROCEDURES = {
    "CT": Code("25045-6", "LN", "CT unspecified body region"),
    "MR": Code("25056-3", "LN", "MRI unspecified body region"),
    "PT": Code("44136-0", "LN", "PET unspecified body region"),
    "NM": Code("49118-3", "LN", "NM unspecified body region"),
    **dict.fromkeys(("CR", "DX", "MG", "RF", "RG", "XA", "IO", "PX"), _XR),
}
_SUMMARY = Code("111017", "DCM", "CAD Processing and Findings Summary")
_OUTCOMES = {
    Outcome.FOUND: Code("111242", "DCM", "All algorithms succeeded; with findings"),
    Outcome.NO_FINDING: Code("111241", "DCM", "All algorithms succeeded; without findings"),
    Outcome.NOT_ANALYSED: Code("111245", "DCM", "No algorithms succeeded; without findings"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """What the tree is composed from.

    Attributes:
        segment_numbers: Numbers in the segmentation by segment `id`; empty if none is made.
        notes: Sentences about how the objects were written.
    """

    request: BuildRequest
    source: Source
    words: Words
    segment_numbers: dict[str, int]
    notes: tuple[str, ...] = ()


def compose(draft: Draft) -> Content:
    """Compose the tree.

    Raises:
        ResultError: a region lies where nothing was analysed.
    Source: procedures from CID 100, outcomes from CID 6047.
    """
    request = draft.request
    model = request.result.model
    outcome = outcome_of(draft)
    groups = (
        _whole(draft, outcome),
        *_segments(draft),
        *_scored_evaluations(draft),
        *(_finding(draft, f) for f in request.result.findings),
    )
    return Content(
        title=draft.words("report_title", model=model.title, version=model.version),
        language=draft.words.language,
        outcome=outcome,
        procedure=_PROCEDURES.get(str(draft.source.headers[0].Modality), _IMAGING),
        library=_library(draft),
        groups=groups,
        sentences=tuple(_sentences(draft, outcome)),
        key_images=_key_images(draft, groups),
    )


def outcome_of(draft: Draft) -> Outcome:
    """Say how the run ended; a model that measures has found something, one that marks and detects nothing has not."""
    result = draft.request.result
    if result.not_analysed:
        return Outcome.NOT_ANALYSED
    if result.findings or result.evaluations or result.maps or any(map(draft.source.is_marked, result.segments)):
        return Outcome.FOUND
    return Outcome.FOUND if result.measurements and not result.segments else Outcome.NO_FINDING


def tracking_uid(request: BuildRequest, segment: Segment) -> str:
    """Return the Tracking UID that a segment has in every object."""
    return request.uid("tracking", segment.id)


def _whole(draft: Draft, outcome: Outcome) -> Group:
    """The first group: what is said of the whole result; of the only marked segment, if there is one only."""
    request = draft.request
    result = request.result
    found = [s for s in result.segments if draft.source.is_marked(s)]
    only = found[0] if len(found) == 1 else None
    others = {s.id for s in result.segments} - ({only.id} if only else set())
    answers = [_answer(e) for e in result.evaluations if e.score is None]
    if outcome is not Outcome.FOUND or result.findings:
        answers.insert(0, Answer(_SUMMARY.meaning, _SUMMARY, _OUTCOMES[outcome]))
    return Group(
        tracking_id=only.label if only else result.model.title,
        tracking_uid=tracking_uid(request, only) if only else request.uid("tracking", "group"),
        label=only.label if only else result.model.title,
        finding=result.finding,
        site=result.finding_site or result.finding,
        numbers=tuple(_number(m) for m in result.measurements if m.segment not in others),
        answers=tuple(answers),
        place=place_of_segment(draft.source, only, draft.segment_numbers.get(only.id, 0)) if only else None,
        images=_images(draft) if only is None else (),
    )


def _segments(draft: Draft) -> list[Group]:
    """Groups of segments, where there are several, or where one that is empty was measured."""
    result = draft.request.result
    marked = {s.id for s in result.segments if draft.source.is_marked(s)}
    groups = []
    for segment in result.segments:
        numbers = tuple(_number(m) for m in result.measurements if m.segment == segment.id)
        if (segment.id in marked and len(marked) > 1) or (segment.id not in marked and numbers):
            groups.append(
                Group(
                    tracking_id=segment.label,
                    tracking_uid=tracking_uid(draft.request, segment),
                    label=segment.label,
                    finding=segment.property_type,
                    site=segment.anatomic_site,
                    numbers=numbers,
                    place=place_of_segment(draft.source, segment, draft.segment_numbers.get(segment.id, 0))
                    if segment.id in marked
                    else None,
                )
            )
    return groups


def _scored_evaluations(draft: Draft) -> list[Group]:
    """Each answer with a score stands in a group of its own, so that the certainty is of nothing else."""
    result = draft.request.result
    return [
        Group(
            tracking_id=evaluation.id,
            tracking_uid=draft.request.uid("tracking", "evaluation", evaluation.id),
            label=evaluation.label,
            finding=result.finding,
            site=result.finding_site,
            answers=(_answer(evaluation),),
            certainty=evaluation.score,
            images=_images(draft),
        )
        for evaluation in result.evaluations
        if evaluation.score is not None
    ]


def _finding(draft: Draft, finding: Finding) -> Group:
    name = f"{finding.id}-{finding.number}"
    return Group(
        tracking_id=name,
        tracking_uid=draft.request.uid("tracking", "finding", name),
        label=f"{finding.label} {finding.number}" if finding.region else finding.label,
        finding=finding.concept,
        site=finding.site,
        numbers=tuple(_number(m) for m in finding.measurements),
        answers=tuple(_answer(e) for e in finding.evaluations),
        certainty=finding.score,
        place=place_of_region(draft.source, finding.region, draft.words) if finding.region else None,
        images=() if finding.region else _images(draft),
        is_finding=True,
    )


def _number(m: Measurement) -> Number:
    return Number(m.label, m.concept, m.value, m.unit, m.derivation, m.reference_range)


def _answer(evaluation: Evaluation) -> Answer:
    return Answer(evaluation.label, evaluation.concept, evaluation.value)


def _sentences(draft: Draft, outcome: Outcome) -> list[Sentence]:
    request, words = draft.request, draft.words
    result, model = request.result, request.result.model
    sentences = [Sentence(SentenceKind.OUTCOME, words("not_analysed_because", reason=reason)) for reason in result.not_analysed]
    if outcome is Outcome.NO_FINDING:
        sentences.append(Sentence(SentenceKind.OUTCOME, words("no_finding_text", finding=result.finding.meaning)))
    stage = words("verify") if model.stage is Stage.CLEARED else words("research", stage=model.stage)
    sentences.append(Sentence(SentenceKind.STAGE, stage))
    if request.predecessors:
        earlier = request.predecessors[0].revision
        sentences.append(Sentence(SentenceKind.REPLACES, words("replaces", earlier=earlier, revision=request.key.revision)))
    sentences += [Sentence(SentenceKind.WARNING, text) for text in result.warnings]
    measured = [*result.measurements, *(m for f in result.findings for m in f.measurements)]
    sentences += [Sentence(SentenceKind.WARNING, words("no_value", label=m.label)) for m in measured if not math.isfinite(m.value)]
    sentences.append(Sentence(SentenceKind.INTENDED_USE, words("intended_use", text=model.intended_use)))
    ranges = [words("reference_range", label=m.label, range=m.reference_range) for m in measured if m.reference_range]
    sentences += [Sentence(SentenceKind.RANGE, text) for text in dict.fromkeys(ranges)]
    return [*sentences, *(Sentence(SentenceKind.NOTE, text) for text in (*draft.notes, *_header_notes(draft)))]


def _header_notes(draft: Draft) -> list[str]:
    normalised = draft.source.normalised
    found = [("header_replaced", normalised.replaced), ("header_kept", normalised.kept)]
    return [draft.words(key, elements=", ".join(elements)) for key, elements in found if elements]


def _images(draft: Draft) -> tuple[ImageReference, ...]:
    """Images that a statement without a place is about; those of a volume stand in the image library."""
    if draft.source.volume is not None or not draft.source.frames:
        return ()
    references = [ImageReference(f.reference.sop_class_uid, f.reference.sop_instance_uid, None) for f in draft.source.frames]
    return tuple(dict.fromkeys(references))[:_MOST_IMAGES]


def _library(draft: Draft) -> tuple[int, ...]:
    """Instances that the pages show; the evidence sequence names every one anyway, at a tenth of the size."""
    headers = [str(h.SOPInstanceUID) for h in draft.source.headers]
    shown = chosen_slices(draft.request.result, draft.source) if draft.source.frames else []
    uids = [draft.source.frames[i].reference.sop_instance_uid for i in shown] or [headers[len(headers) // 2]]
    return tuple(dict.fromkeys(headers.index(uid) for uid in uids))


def _key_images(draft: Draft, groups: tuple[Group, ...]) -> tuple[ImageReference, ...]:
    """One frame per outline on images, the middle slice of each box, and the shown slices of segments."""
    found: list[ImageReference] = []
    for group in groups:
        place = group.place or Place()
        found += [place.outlines[len(place.outlines) // 2].image] if place.polygons_lps_mm else [o.image for o in place.outlines]
        found += group.images if group.is_finding else ()
    if any(group.place and group.place.segment_number for group in groups):
        found += [draft.source.frames[i].reference for i in chosen_slices(draft.request.result, draft.source)]
    return tuple(dict.fromkeys(found))
