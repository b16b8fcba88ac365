"""Forms that a destination may ask for, outcomes without figures, languages, and an independent reader."""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest

from dicom_node.domain.results import Measurement, Predecessor, Segment
from dicom_node.errors import PatientMismatchError, ResultError
from dicom_node.sr_writer import BuildRequest, ObjectKind, ResultForm, SegKind, SrClass, build_results, read_measurements, result_set
from dicom_node.sr_writer.fonts import typeface_of
from dicom_node.sr_writer.gate import check_results
from tests.result_checks import TOOLS, errors_of, faults_of_report, items, name_of, reopened, saved
from tests.result_findings import KEY, LUNG, ML, ORGAN, VOLUME, empty_result, full_result, request
from tests.result_sources import SOURCES, MadeSource, projections, stack

SR = frozenset({ObjectKind.SR})
SR_AND_SEG = frozenset({ObjectKind.SR, ObjectKind.SEG})
CLASSES = {
    SrClass.COMPREHENSIVE_3D: "1.2.840.10008.5.1.4.1.1.88.34",
    SrClass.COMPREHENSIVE: "1.2.840.10008.5.1.4.1.1.88.33",
    SrClass.ENHANCED: "1.2.840.10008.5.1.4.1.1.88.22",
    SrClass.BASIC_TEXT: "1.2.840.10008.5.1.4.1.1.88.11",
}
ALLOWED = {
    SrClass.COMPREHENSIVE_3D: {"CONTAINER", "CODE", "TEXT", "NUM", "UIDREF", "IMAGE", "SCOORD", "SCOORD3D"},
    SrClass.COMPREHENSIVE: {"CONTAINER", "CODE", "TEXT", "NUM", "UIDREF", "IMAGE", "SCOORD"},
    SrClass.ENHANCED: {"CONTAINER", "CODE", "TEXT", "NUM", "UIDREF", "IMAGE", "SCOORD"},
    SrClass.BASIC_TEXT: {"CONTAINER", "CODE", "TEXT", "UIDREF", "IMAGE"},
}


@pytest.mark.parametrize("sr_class", list(SrClass))
@pytest.mark.parametrize("kind", ["CT", "Enhanced MR", "DX", "US multi-frame"])
def test_report_of_every_class_is_valid_and_holds_what_its_class_allows(tmp_path: Path, sr_class: SrClass, kind: str) -> None:
    source = SOURCES[kind]()
    paths = saved(build_results(request(source, form=ResultForm(objects=SR_AND_SEG, sr_class=sr_class))), tmp_path)
    assert errors_of([paths["SR1"]]) == {}
    report = pydicom.dcmread(paths["SR1"])
    assert report.SOPClassUID == report.file_meta.MediaStorageSOPClassUID == CLASSES[sr_class]
    found = {item.ValueType for item in items(report)}
    assert found <= ALLOWED[sr_class]
    assert all("ConceptNameCodeSequence" in item for item in items(report))
    assert (report.VerificationFlag, report.CompletionFlag, report.PreliminaryFlag) == ("UNVERIFIED", "COMPLETE", "PRELIMINARY")
    if sr_class is SrClass.BASIC_TEXT:
        text = "\n".join(str(i.TextValue) for i in items(report) if i.ValueType == "TEXT")
        for words in (
            "Marked volume: 12.35 mL (5 to 10 mL (phantom))",
            "Nodule 1: 91 %",
            "Density: Heterogeneously dense",
            "Not for diagnosis",
        ):
            assert words in text
    else:
        assert faults_of_report(report, source.data_sets[0]) == []
        assert "SCOORD" in found


def test_multi_frame_regions_name_their_frame() -> None:
    [item] = build_results(request(SOURCES["US multi-frame"](), form=ResultForm(objects=SR)))
    regions = [i for i in items(item.data_set) if i.ValueType == "SCOORD"]
    numbers = {int(i.ContentSequence[0].ReferencedSOPSequence[0].ReferencedFrameNumber) for i in regions}
    assert numbers == {1, 2, 3, 4, 5}
    square = next(i for i in regions if list(i.GraphicData[:4]) == [5.0, 4.0, 15.0, 4.0])
    assert square.ContentSequence[0].ReferencedSOPSequence[0].ReferencedFrameNumber == 5


@pytest.mark.parametrize(("seg_kind", "rle"), [(SegKind.FRACTIONAL, False), (SegKind.LABELMAP, False), (SegKind.LABELMAP, True)])
@pytest.mark.parametrize("kind", ["CT", "Enhanced CT"])
def test_other_segmentations_are_valid(tmp_path: Path, seg_kind: SegKind, rle: bool, kind: str) -> None:
    form = ResultForm(objects=SR_AND_SEG, seg_kind=seg_kind, rle=rle)
    errors = errors_of(list(saved(build_results(request(SOURCES[kind](), form=form)), tmp_path).values()))
    if seg_kind is SegKind.LABELMAP:  # the tool does not count the newer class among segmentations, whose segments a report must name
        assert all("ReferencedSegmentNumber" in line for line in errors.pop("SR1"))
    assert errors == {}


def test_fractional_segment_takes_the_values_of_the_map_of_its_name() -> None:
    source = stack()
    result = full_result(source)
    values = np.where(result.segments[0].mask, 0.6, 0.0).astype(np.float32)
    named = dataclasses.replace(result.maps[0], id="left", values=values)
    result = dataclasses.replace(result, segments=result.segments[:1], maps=(named,))
    form = ResultForm(objects=frozenset({ObjectKind.SEG}), seg_kind=SegKind.FRACTIONAL)
    [item] = build_results(request(source, result, form))
    assert set(np.unique(item.data_set.pixel_array)) == {0, round(0.6 * 255)}


def test_segments_that_overlap_are_no_label_map_and_the_report_says_so() -> None:
    source = stack()
    result = full_result(source)
    grown = dataclasses.replace(result.segments[1], mask=result.segments[0].mask | result.segments[1].mask)
    result = dataclasses.replace(result, segments=(result.segments[0], grown))
    form = ResultForm(objects=SR_AND_SEG, seg_kind=SegKind.LABELMAP)
    objects = {o.kind: o.data_set for o in build_results(request(source, result, form))}
    assert objects["SEG"].SegmentationType == "BINARY"
    assert any("overlap" in comment for comment in read_measurements(objects["SR"]).comments)


OUTCOMES = {
    "not analysed": (empty_result(not_analysed=("the slices are unevenly spaced: 2.5 to 7.5 mm",)), "111245", "2.5 to 7.5 mm"),
    "nothing found": (empty_result(), "111241", "found nothing"),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("kind", ["CT", "MG", "no images"])
def test_outcome_without_figures_is_a_report_and_a_page(tmp_path: Path, outcome: str, kind: str) -> None:
    result, code, words = OUTCOMES[outcome]
    source = SOURCES["CT" if kind == "no images" else kind]()
    made = request(source, result, ResultForm(objects=frozenset(ObjectKind)))
    if kind == "no images":
        made = dataclasses.replace(made, images=None)
    paths = saved(build_results(made), tmp_path)
    assert {name.rstrip("0123456789") for name in paths} == {"SR", "SC", "DOC"}
    assert errors_of(list(paths.values())) == {}
    read = read_measurements(pydicom.dcmread(paths["SR1"]))
    assert read.measurements == ()
    assert [(e.code_value, e.answer) for e in read.evaluations] == [("111017", code)]
    assert any(words in comment for comment in read.comments)
    assert faults_of_report(pydicom.dcmread(paths["SR1"]), source.data_sets[0]) == []
    page = pydicom.dcmread(paths["SC1"]).pixel_array
    bright = (page > 200).all(axis=-1)
    heights = np.flatnonzero(bright[88:140].any(axis=1))
    assert heights[-1] - heights[0] >= 28  # letters of the outcome; the table's are 14 high


def test_segments_measured_but_empty_keep_their_numbers() -> None:
    source = stack()
    nothing = Segment("clot", "Clot", np.zeros(source.images.values.shape, bool), ORGAN, LUNG, None, (255, 0, 0))
    result = dataclasses.replace(
        empty_result(), segments=(nothing,), measurements=(Measurement("v", "Volume", VOLUME, 0.0, ML, "", None, "clot"),)
    )
    objects = build_results(request(source, result))
    assert "SEG" not in {o.kind for o in objects}
    read = read_measurements(objects[0].data_set)
    assert [(m.value, m.tracking_id) for m in read.measurements] == [(0.0, "Clot")]
    assert [e.answer for e in read.evaluations] == ["111241"]


def test_value_that_is_no_number_is_said_to_be_none(tmp_path: Path) -> None:
    source = stack()
    result = dataclasses.replace(full_result(source), measurements=(Measurement("v", "Mean", VOLUME, float("nan"), ML, ""),))
    paths = saved(build_results(request(source, result, ResultForm(objects=SR))), tmp_path)
    assert errors_of(list(paths.values())) == {}
    report = pydicom.dcmread(paths["SR1"])
    assert not [m for m in read_measurements(report).measurements if m.meaning == "Volume"]
    assert "Mean: no value could be measured." in read_measurements(report).comments


@pytest.mark.parametrize(
    ("charset", "name", "language", "written"),
    [
        (None, "Hong^Gildong", "ko", "\\ISO 2022 IR 149"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", "ko", "\\ISO 2022 IR 149"),
        ("ISO_IR 192", "Hong^Gildong=洪^吉洞=홍^길동", "ko", "ISO_IR 192"),
        ("GB18030", "Wang^XiaoDong=王^小东", "ko", "GB18030"),
        ("ISO_IR 100", "Müller^Jörg", "en", "ISO_IR 100"),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎", "en", "ISO 2022 IR 13\\ISO 2022 IR 87"),
        (["", "ISO 2022 IR 87", "ISO 2022 IR 159"], "Yamada^Tarou=山田^太郎", "en", "\\ISO 2022 IR 87\\ISO 2022 IR 159"),
    ],
)
def test_korean_is_written_where_the_character_set_holds_it(
    tmp_path: Path, charset: str | list[str] | None, name: str, language: str, written: str
) -> None:
    source = stack()
    for ds in source.data_sets:
        if charset is not None:
            ds.SpecificCharacterSet = charset
        ds.PatientName = name
    source, _ = reopened(source, tmp_path / "source")
    form = ResultForm(objects=frozenset({ObjectKind.SR, ObjectKind.DOC}))
    paths = saved(build_results(request(source, form=form, language="ko")), tmp_path)
    assert errors_of(list(paths.values())) == {}
    report = pydicom.dcmread(paths["SR1"])
    assert str(report.PatientName) == name
    spoken = next(i for i in report.ContentSequence if name_of(i) == "121049")
    assert spoken.ConceptCodeSequence[0].CodeValue == language
    declared = report.SpecificCharacterSet
    assert (declared if isinstance(declared, str) else "\\".join(declared)) == written
    comments = read_measurements(report).comments
    assert any("진단용이 아닙니다" in c for c in comments) == (language == "ko")
    assert any("cannot hold Korean" in c for c in comments) == (language == "en")


def test_labels_that_no_character_set_of_the_source_holds_make_the_results_utf8() -> None:
    source = stack()
    for ds in source.data_sets:
        ds.SpecificCharacterSet = "ISO_IR 100"
    result = full_result(source)
    result = dataclasses.replace(result, segments=(dataclasses.replace(result.segments[0], label="폐"), *result.segments[1:]))
    objects = build_results(request(source, result, ResultForm(objects=SR_AND_SEG)))
    assert {o.data_set.SpecificCharacterSet for o in objects} == {"ISO_IR 192"}
    assert any("UTF-8" in c for c in read_measurements(objects[-1].data_set).comments)


def test_pages_are_english_where_no_font_has_the_letters_and_the_report_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_set, "typeface_of", lambda language: typeface_of("en") if language == "en" else None)
    source = stack()
    for ds in source.data_sets:
        ds.SpecificCharacterSet = "ISO_IR 192"
    form = ResultForm(objects=frozenset({ObjectKind.SR, ObjectKind.DOC}))
    objects = {o.kind: o.data_set for o in build_results(request(source, form=form, language="ko"))}
    assert any("글꼴이 설치되어 있지 않습니다" in c for c in read_measurements(objects["SR"]).comments)
    assert objects["DOC"].DocumentTitle == "AI report"


def test_unknown_language_is_english_and_said() -> None:
    [item] = build_results(request(stack(), form=ResultForm(objects=SR), language="tlh"))
    assert any("no language tlh" in c for c in read_measurements(item.data_set).comments)


def test_independent_reader_finds_the_same_numbers_and_masks(tmp_path: Path) -> None:
    source = stack()
    result = dataclasses.replace(full_result(source), findings=(), evaluations=())
    paths = saved(build_results(request(source, result, ResultForm(objects=SR_AND_SEG))), tmp_path)
    command = [TOOLS / "tid1500reader", "--inputDICOM", paths["SR1"], "--outputMetadata", tmp_path / "report.json"]
    subprocess.run(command, check=True, capture_output=True)
    groups = json.loads((tmp_path / "report.json").read_text("utf-8"))["Measurements"]
    assert [float(m["value"]) for g in groups for m in g["measurementItems"]] == [12.3457, 1.5, 2.5, 3.5]
    assert {g["segmentationSOPInstanceUID"] for g in groups if "segmentationSOPInstanceUID" in g} == {
        str(pydicom.dcmread(paths["SEG1"]).SOPInstanceUID)
    }
    command = [TOOLS / "segimage2itkimage", "--inputDICOM", paths["SEG1"], "--outputDirectory", tmp_path, "-t", "nii"]
    subprocess.run(command, check=True, capture_output=True)
    described = json.loads((tmp_path / "meta.json").read_text("utf-8"))["segmentAttributes"]
    assert [s["SegmentLabel"] for group in described for s in group] == [s.label for s in result.segments]


def test_report_names_its_predecessors() -> None:
    earlier = Predecessor("1.2.3", "1.2.4", CLASSES[SrClass.COMPREHENSIVE_3D], "1.2.5", 1)
    source = SOURCES["DX"]()
    made = dataclasses.replace(request(source, form=ResultForm(objects=SR)), predecessors=(earlier,))
    [item] = build_results(made)
    named = item.data_set.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == "1.2.5"
    assert any("revision 1" in c for c in read_measurements(item.data_set).comments)


def test_gate_refuses_a_reference_to_anything_but_the_inputs() -> None:
    source = stack()
    objects = [o.data_set for o in build_results(request(source))]
    check_results(source.data_sets, objects)
    for keyword, value in (("PatientID", "X"), ("IssuerOfPatientID", "X"), ("StudyInstanceUID", "1.9"), ("FrameOfReferenceUID", "1.9")):
        damaged = copy.deepcopy(objects[0])
        setattr(damaged, keyword, value)
        with pytest.raises(PatientMismatchError, match="SEG"):
            check_results(source.data_sets, [damaged])
    with pytest.raises(PatientMismatchError, match="refers to 1 instances"):
        check_results(source.data_sets[1:], objects)


def test_mask_of_another_size_than_the_images_is_refused() -> None:
    source = stack()
    small = dataclasses.replace(full_result(source).segments[0], mask=np.ones((2, 2, 2), bool))
    with pytest.raises(ResultError, match=r"left has shape \(2, 2, 2\), the images are 12 of size \[\(32, 40\)\]"):
        build_results(request(source, dataclasses.replace(full_result(source), segments=(small,))))


def test_region_on_a_frame_that_was_not_analysed_is_refused() -> None:
    source = projections("DX")
    other = full_result(SOURCES["US multi-frame"]())
    with pytest.raises(ResultError, match="was not analysed"):
        build_results(request(source, dataclasses.replace(full_result(source), findings=other.findings[1:2])))


def test_structure_set_with_a_hole_says_how_its_lines_combine(tmp_path: Path) -> None:
    source = stack()
    mask = np.zeros(source.images.values.shape, bool)
    mask[4, 5:15, 5:15] = True
    mask[4, 8:12, 8:12] = False
    ring = Segment("ring", "Ring", mask, ORGAN, LUNG, None, (255, 0, 0))
    result = dataclasses.replace(empty_result(), segments=(ring,))
    paths = saved(build_results(request(source, result, ResultForm(objects=frozenset({ObjectKind.RTSTRUCT})))), tmp_path)
    assert errors_of(list(paths.values())) == {}
    lines = pydicom.dcmread(paths["RTSTRUCT1"]).ROIContourSequence[0].ContourSequence
    assert {c.ContourGeometricType for c in lines} == {"CLOSEDPLANAR_XOR"}
    assert len(lines) == 2


def test_document_is_a_pdf_with_the_words_of_the_report() -> None:
    source = stack()
    [item] = build_results(request(source, form=ResultForm(objects=frozenset({ObjectKind.DOC}))))
    [again] = build_results(request(source, form=ResultForm(objects=frozenset({ObjectKind.DOC}))))
    content = item.data_set.EncapsulatedDocument
    assert content.startswith(b"%PDF-")
    assert content[: item.data_set.EncapsulatedDocumentLength].rstrip().endswith(b"%%EOF")
    assert b"/FontFile2" in content  # embedded: every viewer shows the same letters
    assert again.data_set.EncapsulatedDocument == content


def test_key_images_have_no_purpose_and_name_their_frames() -> None:
    [item] = build_results(request(SOURCES["US multi-frame"](), form=ResultForm(objects=frozenset({ObjectKind.KO}))))
    images = [i for i in items(item.data_set) if i.ValueType == "IMAGE"]
    assert len(images) == 1
    assert "ConceptNameCodeSequence" not in images[0]
    assert list(images[0].ReferencedSOPSequence[0].ReferencedFrameNumber) == [1, 2, 3, 4, 5]


def test_colour_pictures_have_a_colour_presentation_state() -> None:
    classes = {}
    for kind in ("US", "DX"):
        [item] = build_results(request(SOURCES[kind](), form=ResultForm(objects=frozenset({ObjectKind.PR}))))
        classes[kind] = highdicom.UID(item.data_set.SOPClassUID).name
    assert classes == {"US": "Color Softcopy Presentation State Storage", "DX": "Grayscale Softcopy Presentation State Storage"}


def test_request_takes_the_images_where_it_took_a_volume() -> None:
    source: MadeSource = stack()
    made = BuildRequest(KEY, source.data_sets, source.images, full_result(source), "0.1.0", "AINODE")
    assert [o.kind for o in build_results(made)][:3] == ["SEG", "PM", "SR"]
