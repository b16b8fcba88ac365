"""`result.json`: what a report says, for programs, from the same content tree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from dicom_node.domain.inference_trace import InferenceTrace
from dicom_node.domain.jobs import Job, StoredResult
from dicom_node.domain.results import Code, InferenceResult
from dicom_node.errors import ResultError
from dicom_node.pipeline.results.kept import write_private
from dicom_node.pipeline.results.report_schema import (
    AnswerPart,
    Coded,
    Engine,
    FindingPart,
    InputPart,
    JobPart,
    MapPart,
    MeasurementPart,
    Model,
    ObjectPart,
    OutlinePart,
    PlacePart,
    ResultReport,
    SegmentPart,
)
from dicom_node.sr_writer import ResultSet
from dicom_node.sr_writer.compose import tracking_uid
from dicom_node.sr_writer.content import Group, Place, SentenceKind

REPORT_FILE = "result.json"


@dataclass(frozen=True, slots=True, eq=False)
class Ran:
    """What is told beside the content.

    Attributes:
        timings: Seconds by stage.
    """

    job: Job
    trace: InferenceTrace
    timings: Mapping[str, float]


def write_report(folder: Path, results: ResultSet, stored: Sequence[StoredResult], ran: Ran) -> None:
    """Write the file durably, readable by the owner only.

    Raises:
        StorageError: disk full or broken.
    """
    _write(folder, report_of(results, stored, ran))


def read_report(folder: Path) -> ResultReport:
    """Read the file of a job.

    Raises:
        ResultError: there is none, or it is not of this version.
    """
    try:
        return ResultReport.model_validate_json((folder / REPORT_FILE).read_bytes())
    except FileNotFoundError as error:
        hint = "the job has no results yet, an earlier version made them, or results.keep removed them"
        raise ResultError(f"there is no {REPORT_FILE}", hint=hint) from error
    except (OSError, ValidationError) as error:
        raise ResultError(f"{REPORT_FILE} cannot be read: {type(error).__name__}", hint="run the study again") from error


def name_further(folder: Path, further: Iterable[StoredResult]) -> None:
    """Name objects that were made later; a job without the file stays without.

    Raises:
        ResultError: the file cannot be read.
        StorageError: disk full or broken.
    """
    if (folder / REPORT_FILE).exists():
        report = read_report(folder)
        known = {part.sop_instance_uid for part in report.objects}
        more = tuple(_object(item) for item in further if item.sop_instance_uid not in known)
        _write(folder, report.model_copy(update={"objects": (*report.objects, *more)}))


def report_of(results: ResultSet, stored: Sequence[StoredResult], ran: Ran) -> ResultReport:
    """Say what the report says; equal content gives equal text and figures."""
    content, request, job, trace = results.content, results.request, ran.job, ran.trace
    result = request.result
    said = {kind: tuple(s.text for s in content.sentences if s.kind is kind) for kind in SentenceKind}
    measured = [group for group in content.groups if not group.is_finding]
    return ResultReport(
        job=JobPart(id=job.id, rule=job.key.rule, revision=job.key.revision, shadow=job.shadow),
        study_instance_uid=job.key.study_instance_uid,
        model=_model(result),
        engine=Engine(
            backend=trace.backend, precision=trace.precision, device=trace.device, fallback=trace.fallback, verified=trace.verified
        ),
        started_at=result.started_at,
        language=content.language,
        title=content.title,
        outcome=content.outcome,
        reasons=said[SentenceKind.OUTCOME],
        stage_banner=" ".join(said[SentenceKind.STAGE]),
        warnings=said[SentenceKind.WARNING],
        intended_use=" ".join(said[SentenceKind.INTENDED_USE]),
        remarks=(*said[SentenceKind.REPLACES], *said[SentenceKind.RANGE], *said[SentenceKind.NOTE]),
        measurements=tuple(part for group in measured for part in _measurements(group)),
        answers=tuple(part for group in measured for part in _answers(group)),
        findings=tuple(_finding(group) for group in content.findings),
        segments=_segments(results),
        maps=tuple(MapPart(id=m.id, label=m.label, quantity=_coded(m.quantity), unit=_coded(m.unit)) for m in result.maps),
        inputs=tuple(
            InputPart(
                name=one.name,
                study_instance_uid=one.study_instance_uid,
                series_instance_uid=one.series_instance_uid,
                sop_instance_uids=tuple(one.instances),
            )
            for one in trace.inputs
        ),
        predecessors=tuple(p.sop_instance_uid for p in request.predecessors),
        objects=tuple(map(_object, stored)),
        software=dict(trace.versions),
        timings_s=dict(ran.timings),
    )


def _write(folder: Path, report: ResultReport) -> None:
    write_private(folder / REPORT_FILE, report.model_dump_json(indent=1).encode())


def _model(result: InferenceResult) -> Model:
    model = result.model
    return Model(
        name=model.name,
        title=model.title,
        version=model.version,
        manufacturer=model.manufacturer,
        device_uid=model.device_uid,
        weights_sha256=model.weights_sha256,
        manifest_digest=model.manifest_digest,
        stage=model.stage.value,
        parameters=result.parameters,
    )


def _coded(code: Code) -> Coded:
    return Coded(value=code.value, scheme=code.scheme, meaning=code.meaning)


def _coded_if(code: Code | None) -> Coded | None:
    return None if code is None else _coded(code)


def _measurements(group: Group) -> tuple[MeasurementPart, ...]:
    return tuple(
        MeasurementPart(
            label=number.label,
            code=_coded(number.concept),
            value=number.written,
            unit=_coded(number.unit),
            derivation=_coded_if(number.derivation),
            reference_range=number.reference_range,
            tracking_id=group.tracking_id,
            tracking_uid=group.tracking_uid,
            site=_coded_if(group.site),
            segment=(group.place or Place()).segment_number,
        )
        for number in group.numbers
    )


def _answers(group: Group) -> tuple[AnswerPart, ...]:
    certainty = group.certainty_percent
    return tuple(
        AnswerPart(label=a.label, code=_coded(a.concept), value=_coded(a.value), certainty_percent=certainty) for a in group.answers
    )


def _finding(group: Group) -> FindingPart:
    return FindingPart(
        label=group.label,
        code=_coded(group.finding),
        site=_coded_if(group.site),
        tracking_id=group.tracking_id,
        tracking_uid=group.tracking_uid,
        certainty_percent=group.certainty_percent,
        place=_place(group.place) if group.place else None,
        images=tuple(image.sop_instance_uid for image in group.images),
        measurements=_measurements(group),
        answers=_answers(group),
    )


def _place(place: Place) -> PlacePart:
    return PlacePart(
        text=place.text,
        segment=place.segment_number,
        outlines=tuple(
            OutlinePart(
                sop_instance_uid=o.image.sop_instance_uid, frame_number=o.image.frame_number, kind=o.kind.value, points_px=o.points_px
            )
            for o in place.outlines
        ),
        frame_of_reference_uid=place.frame_of_reference_uid,
        polygons_lps_mm=place.polygons_lps_mm,
    )


def _segments(results: ResultSet) -> tuple[SegmentPart, ...]:
    source, numbers = results.source, {s.id: number for number, s in enumerate(results.segments, start=1)}
    voxel_ml = source.volume.voxel_ml if source.volume else None
    parts = []
    for segment in results.request.result.segments:
        marked = int(source.marks[segment.id].sum())
        parts.append(
            SegmentPart(
                number=numbers.get(segment.id, 0),
                id=segment.id,
                label=segment.label,
                category=_coded(segment.category),
                property_type=_coded(segment.property_type),
                anatomic_site=_coded_if(segment.anatomic_site),
                color_rgb=segment.color_rgb,
                marked_pixels=marked,
                volume_ml=None if voxel_ml is None else round(marked * voxel_ml, 4),
                tracking_uid=tracking_uid(results.request, segment),
            )
        )
    return tuple(parts)


def _object(item: StoredResult) -> ObjectPart:
    return ObjectPart(
        kind=item.kind,
        number=item.number,
        variant=item.variant,
        sop_class_uid=item.sop_class_uid,
        sop_instance_uid=item.sop_instance_uid,
        series_instance_uid=item.series_instance_uid,
        file=item.path.name,
    )
