"""result.json says what the report says, and what is kept of a result is the result."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import numpy as np
import pydicom
import pytest
from numpy.testing import assert_array_equal

from dicom_node.domain.inference_trace import InferenceTrace, TracedInput
from dicom_node.domain.jobs import Job, JobState, StoredResult
from dicom_node.domain.profiles import PRESETS, ProfileObject, ResultProfile
from dicom_node.domain.results import Measurement
from dicom_node.errors import ResultError
from dicom_node.pipeline.results import DATA_FILE, KeptResult, ReadAs, keep_result, kept_result
from dicom_node.pipeline.results.report import REPORT_FILE, Ran, name_further, read_report, report_of, write_report
from dicom_node.pipeline.results.report_schema import ResultReport, result_json_schema
from dicom_node.pipeline.results.report_text import report_text
from dicom_node.sr_writer import BuildRequest, build_all, read_measurements
from tests.conftest import ROOT
from tests.result_findings import KEY, ML, VOLUME, empty_result, full_result
from tests.result_findings import request as made_request
from tests.result_sources import MadeSource, pictures, projections, stack

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TRACE = InferenceTrace(
    (TracedInput("image", KEY.study_instance_uid, "1.2.3", {"1.2.3.1": "a" * 64}),),
    (),
    "onnxruntime",
    "fp32",
    "cpu",
    "",
    "",
    {"dicom-node": "0.1.0"},
    NOW,
)
SOURCES = {"volume": stack, "projections": lambda: projections("DX"), "pictures": lambda: pictures("SC")}


def job() -> Job:
    fields = {f.name: None for f in dataclasses.fields(Job)}
    return Job(**{**fields, "id": 7, "key": KEY, "shadow": False, "state": JobState.RUNNING})  # type: ignore[arg-type]


def reported(made: BuildRequest, profile: ResultProfile = PRESETS["ohif"]) -> tuple[ResultReport, pydicom.Dataset]:
    """What the file says, as read back from its text, and the report beside it."""
    built = build_all(made, [profile])
    report = report_of(built.first, [], Ran(job(), TRACE, {"infer_s": 0.25}))
    [document] = [o.data_set for o in built.objects if o.kind == "SR"]
    return ResultReport.model_validate_json(report.model_dump_json()), document


@pytest.fixture(scope="module", params=[("volume", "en"), ("volume", "ko"), ("projections", "en"), ("pictures", "en")], ids="-".join)
def both(request: pytest.FixtureRequest) -> tuple[ResultReport, pydicom.Dataset, MadeSource]:
    name, language = request.param
    source = SOURCES[name]()
    unmeasured = Measurement("none", "Not there", VOLUME, float("nan"), ML, "")
    result = full_result(source)
    result = dataclasses.replace(result, measurements=(*result.measurements, unmeasured))
    profile = dataclasses.replace(PRESETS["ohif"], language=language)
    return *reported(made_request(source, result), profile), source


def test_figures_agree_with_the_report_to_the_last_digit(both: tuple[ResultReport, pydicom.Dataset, MadeSource]) -> None:
    report, document, _ = both
    numbers = [*report.measurements, *(m for f in report.findings for m in f.measurements)]
    found = sorted((m.code.value, m.value, m.unit.value, m.tracking_id) for m in numbers if m.value is not None)
    certain = [(f.certainty_percent, f.tracking_id) for f in report.findings if f.certainty_percent is not None]
    certain += [(a.certainty_percent, "density") for a in report.answers if a.certainty_percent is not None]
    read = read_measurements(document)
    assert len(certain) > 1
    assert found == sorted((m.code_value, m.value, m.unit, m.tracking_id) for m in read.measurements if m.code_value != "111012")
    assert sorted(certain) == sorted((m.value, m.tracking_id) for m in read.measurements if m.code_value == "111012")
    assert [m.label for m in numbers if m.value is None] == ["Not there"]


def test_sentences_answers_and_language_are_those_of_the_report(both: tuple[ResultReport, pydicom.Dataset, MadeSource]) -> None:
    report, document, _ = both
    said = [*report.reasons, report.stage_banner, *report.warnings, report.intended_use, *report.remarks]
    read = read_measurements(document)
    assert sorted(said) == sorted(read.comments)
    answers = [*report.answers, *(a for f in report.findings for a in f.answers)]
    assert sorted((a.code.value, a.value.value) for a in answers) == sorted((e.code_value, e.answer) for e in read.evaluations)
    assert report.language in str(document.ContentSequence[0])


def test_file_is_valid_by_its_schema_and_names_nobody(both: tuple[ResultReport, pydicom.Dataset, MadeSource]) -> None:
    report, _, source = both
    text = report.model_dump_json()
    jsonschema.Draft202012Validator(result_json_schema()).validate(json.loads(text))
    header = source.data_sets[0]
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber"):
        assert not header.get(keyword) or str(header[keyword].value) not in text, keyword
    assert report.study_instance_uid == header.StudyInstanceUID


def test_places_segments_and_volumes_are_there() -> None:
    source = stack()
    report, _ = reported(made_request(source))
    assert report.outcome == "found"
    assert [s.number for s in report.segments] == [1, 2, 3]
    voxel_ml = source.images.voxel_ml  # type: ignore[union-attr]
    for part, segment in zip(report.segments, full_result(source).segments, strict=True):
        assert part.volume_ml == round(int(np.count_nonzero(segment.mask)) * voxel_ml, 4)
        assert (part.color_rgb, part.property_type.value) == (segment.color_rgb, segment.property_type.value)
    assert any(f.place and f.place.polygons_lps_mm for f in report.findings)
    assert any(f.place and f.place.outlines for f in report.findings)
    assert [m.segment for m in report.measurements if m.label.startswith("Volume ")] == [1, 2, 3]
    lines = "\n".join(report_text(report))
    assert "outcome: found" in lines
    assert "segment 1: Marker left" in lines


@pytest.mark.parametrize(
    ("not_analysed", "outcome", "words"),
    [((), "no finding", "Lung"), (("Slices are missing.",), "not analysed", "Slices are missing.")],
)
def test_nothing_found_and_nothing_analysed_are_results_too(not_analysed: tuple[str, ...], outcome: str, words: str) -> None:
    report, _ = reported(made_request(stack(), empty_result(not_analysed=not_analysed)))
    assert report.outcome == outcome
    assert any(words in reason for reason in report.reasons)
    assert (report.findings, report.measurements) == ((), ())


def test_published_schema_is_the_programs() -> None:
    assert json.loads((ROOT / "docs" / "result.schema.json").read_text("utf-8")) == result_json_schema()


def test_file_is_private_and_names_what_is_made_later(tmp_path: Path) -> None:
    built = build_all(made_request(stack(), empty_result()), [ResultProfile("one", (ProfileObject.SR,))])
    first, later = (StoredResult("SR", n, "1.2", f"1.2.{n}", "1.3", tmp_path / f"SR-{n}.dcm") for n in (1, 2))
    with pytest.raises(ResultError, match=r"no result\.json"):
        read_report(tmp_path)
    name_further(tmp_path, [later])
    assert not (tmp_path / REPORT_FILE).exists()
    write_report(tmp_path, built.first, [first], Ran(job(), TRACE, {}))
    assert (tmp_path / REPORT_FILE).stat().st_mode & 0o777 == 0o600
    name_further(tmp_path, [first, later])
    assert [o.sop_instance_uid for o in read_report(tmp_path).objects] == ["1.2.1", "1.2.2"]


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_what_is_kept_is_the_result(source: object, tmp_path: Path) -> None:
    made = source()  # type: ignore[operator]
    kept = KeptResult(full_result(made), ReadAs("volume", "resample"), "0.1.0", NOW)
    size = keep_result(tmp_path, kept, 0)
    assert size == (tmp_path / DATA_FILE).stat().st_size
    assert (tmp_path / DATA_FILE).stat().st_mode & 0o777 == 0o600
    read = kept_result(tmp_path)
    assert_same(read, kept)
    with zipfile.ZipFile(tmp_path / DATA_FILE) as archive:
        assert all(b"pickle" not in archive.read(name)[:64] for name in archive.namelist())


def assert_same(read: object, written: object) -> None:
    assert isinstance(written, type(read))
    if isinstance(written, np.ndarray):
        assert isinstance(read, np.ndarray)
        assert read.dtype == written.dtype
        assert_array_equal(read, written)
    elif dataclasses.is_dataclass(written):
        for field in dataclasses.fields(written):
            assert_same(getattr(read, field.name), getattr(written, field.name))
    elif isinstance(written, tuple):
        assert len(read) == len(written)  # type: ignore[arg-type]
        for one, other in zip(read, written, strict=True):  # type: ignore[call-overload]
            assert_same(one, other)
    else:
        assert read == written


def test_bounds_hold_empty_masks_and_negative_zeros(tmp_path: Path) -> None:
    result = full_result(stack())
    empty = dataclasses.replace(result.segments[0], mask=np.zeros_like(result.segments[0].mask))
    values = np.zeros((12, 4, 4), np.float32)
    values[3, 1, 2] = -0.0
    odd = dataclasses.replace(result, segments=(empty,), maps=(dataclasses.replace(result.maps[0], values=values[:, ::2]),))
    keep_result(tmp_path, KeptResult(odd, None, "0.1.0", NOW), 0)
    read = kept_result(tmp_path)
    assert not read.result.segments[0].mask.any()
    assert_array_equal(np.signbit(read.result.maps[0].values), np.signbit(values[:, ::2]))


def test_more_than_the_limit_is_not_kept_and_an_earlier_one_goes(tmp_path: Path) -> None:
    kept = KeptResult(full_result(stack()), None, "0.1.0", NOW)
    assert keep_result(tmp_path, kept, 1 << 20) > 0
    assert keep_result(tmp_path, kept, 100) == 0
    with pytest.raises(ResultError, match="was not kept") as caught:
        kept_result(tmp_path)
    assert "results.data_limit" in caught.value.hint


@pytest.mark.parametrize("damage", ["cut", "pickle", "format", "class"])
def test_damaged_file_is_refused(damage: str, tmp_path: Path) -> None:
    path = tmp_path / DATA_FILE
    keep_result(tmp_path, KeptResult(full_result(stack()), None, "0.1.0", NOW + timedelta(0)), 0)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "pickle":
        np.savez(path, tree=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    else:
        with np.load(path) as archive:
            arrays = dict(archive)
        tree = json.loads(bytes(arrays["tree"]))
        tree["format"] = 99 if damage == "format" else tree["format"]
        tree["kept"]["result"]["is"] = "Other" if damage == "class" else tree["kept"]["result"]["is"]
        np.savez(path, **{**arrays, "tree": np.frombuffer(json.dumps(tree).encode(), np.uint8)})
    with pytest.raises(ResultError, match=r"damaged|format 99"):
        kept_result(tmp_path)
