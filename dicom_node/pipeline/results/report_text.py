"""`result.json` as lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.pipeline.results.report_schema import AnswerPart, FindingPart, MeasurementPart, ResultReport, SegmentPart


def report_text(report: ResultReport) -> Iterator[str]:
    """Write what was found, what must be read beside it, and where the objects lie."""
    yield f"{report.title} (job {report.job.id}, rule {report.job.rule}, revision {report.job.revision})"
    yield f"study {report.study_instance_uid}"
    yield f"outcome: {report.outcome}"
    for text in (*report.reasons, report.stage_banner):
        yield f"  {text}"
    for finding in report.findings:
        yield from _finding(finding)
    yield from map(_measurement, report.measurements)
    yield from map(_answer, report.answers)
    yield from map(_segment, report.segments)
    for warning in report.warnings:
        yield f"warning: {warning}"
    yield report.intended_use
    yield from report.remarks
    engine = report.engine
    yield f"computed by {engine.backend} {engine.precision} on {engine.device}, {report.model.name} {report.model.version}"
    yield "seconds: " + ", ".join(f"{name.removesuffix('_s')} {seconds:.2f}" for name, seconds in report.timings_s.items())
    for one in report.inputs:
        yield f"input {one.name}: {len(one.sop_instance_uids)} instances of series {one.series_instance_uid}"
    for item in report.objects:
        yield f"{item.kind} {item.number}: {item.sop_instance_uid} ({item.file})"


def _finding(part: FindingPart) -> Iterator[str]:
    where = f", {part.place.text}" if part.place and part.place.text else ""
    yield f"found: {part.label}{_certainty(part.certainty_percent)}{where}"
    yield from (f"  {_measurement(one)}" for one in part.measurements)
    yield from (f"  {_answer(one)}" for one in part.answers)


def _measurement(part: MeasurementPart) -> str:
    value = "not measurable" if part.value is None else f"{part.value:g} {part.unit.value}"
    return f"{part.tracking_id}: {part.label} {value}" + (f" ({part.reference_range})" if part.reference_range else "")


def _answer(part: AnswerPart) -> str:
    return f"{part.label}: {part.value.meaning}{_certainty(part.certainty_percent)}"


def _segment(part: SegmentPart) -> str:
    size = f"{part.marked_pixels} pixels" if part.volume_ml is None else f"{part.volume_ml:g} mL"
    number = f" {part.number}" if part.number else ""
    return f"segment{number}: {part.label} {size}"


def _certainty(percent: float | None) -> str:
    return "" if percent is None else f", {percent:g} %"
