"""Every writer with every kind of source, and with the headers that hospitals really send, before second readers."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom_node.domain.results import InferenceResult
from dicom_node.domain.volume import Volume
from dicom_node.sr_writer import ObjectKind, ResultForm, build_results, read_measurements
from tests.conftest import ROOT
from tests.result_checks import contradictions, errors_of, faults_of_report, faults_of_segmentation, reopened, saved
from tests.result_findings import full_result, request
from tests.result_sources import SOURCES, STUDY, MadeSource

TABLE = ROOT / "docs" / "conformance" / "results.md"
WRITE = "DICOM_NODE_WRITE_DOCS"
EVERYTHING = ResultForm(objects=frozenset(ObjectKind))
KINDS = [kind.value for kind in ObjectKind]
STUDY_OF_STRUCTURES = f"Error - Missing SOPInstanceUID that was referenced - {STUDY}"
"""A structure set names the study as if it were an instance, as its module asks for."""


def few(paths: dict[str, Path]) -> list[Path]:
    """One object of each kind, and the last picture; the pictures between are made alike."""
    pictures = [name for name in paths if name.startswith("SC")]
    return [path for name, path in paths.items() if not name.startswith("SC") or name in (pictures[0], pictures[-1])]


def check_row(row: str) -> None:
    """Compare a row of the table in the documents, or write it where it was asked for."""
    text = TABLE.read_text("utf-8")
    if os.environ.get(WRITE):
        key = row.split("|")[1]
        others = [line for line in text.splitlines() if not line.startswith(f"|{key}|")]
        at = max(n for n, line in enumerate(others) if line.startswith("|---") and line.count("|") == row.count("|"))
        while at + 1 < len(others) and others[at + 1].startswith("|"):
            at += 1
        TABLE.write_text("\n".join([*others[: at + 1], row, *others[at + 1 :]]) + "\n", "utf-8")
    assert row in TABLE.read_text("utf-8").splitlines()


@pytest.mark.parametrize("name", SOURCES)
def test_every_object_of_every_source_passes_the_validators(tmp_path: Path, name: str) -> None:
    source, originals = reopened(SOURCES[name](), tmp_path / "source")
    objects = build_results(request(source, form=EVERYTHING))
    paths = saved(objects, tmp_path / "results")
    assert errors_of(few(paths)) == {}
    found = contradictions([*originals, *paths.values()])
    assert [line for line in found if not line.startswith(STUDY_OF_STRUCTURES)] == []
    report = next(o.data_set for o in objects if o.kind == "SR")
    assert faults_of_report(report, source.data_sets[0]) == []
    for item in objects:
        if item.kind == "SEG":
            assert faults_of_segmentation(item.data_set, source.data_sets[0]) == []
    counts = [sum(o.kind == kind for o in objects) for kind in KINDS]
    check_row(f"| {name} | {' | '.join(str(n) if n else '' for n in counts)} | 0 | 0 |")


@pytest.mark.parametrize("name", ["CT", "Enhanced MR", "DX", "US multi-frame"])
def test_numbers_and_answers_read_back_are_those_of_the_result(tmp_path: Path, name: str) -> None:
    source = SOURCES[name]()
    result = full_result(source)
    paths = saved(build_results(request(source, result)), tmp_path)
    read = read_measurements(pydicom.dcmread(paths["SR1"]))
    measured = {m.meaning + m.tracking_id: m.value for m in read.measurements}
    values = [round(m.value, 4) for m in (*result.measurements, *(m for f in result.findings for m in f.measurements))]
    certainties = [m.value for m in read.measurements if m.code_value == "111012"]
    assert sorted(m.value for m in read.measurements if m.code_value != "111012") == sorted(values)
    assert certainties == [80.0, 91.0, 40.0, 7.0]
    assert measured["Certainty of Findingnodule-1"] == 91.0
    assert {(e.code_value, e.answer) for e in read.evaluations} == {
        ("129715009", "129718006"),
        ("129737002", "129742005"),
        ("111017", "111242"),
    }
    assert set(result.warnings) <= set(read.comments)


@pytest.mark.parametrize("name", ["CT", "MR sagittal", "Enhanced CT", "Enhanced MR"])
def test_masks_and_maps_read_back_are_those_of_the_result(name: str) -> None:
    source = SOURCES[name]()
    assert isinstance(source.images, Volume)
    result = full_result(source)
    objects = {o.kind: o.data_set for o in build_results(request(source, result))}
    segmentation = highdicom.seg.Segmentation.from_dataset(objects["SEG"])
    volume = segmentation.get_volume(combine_segments=False, allow_missing_positions=True, skip_overlap_checks=True)
    for number, segment in enumerate(result.segments):
        there = np.argwhere(volume.array[..., number])
        placed = there @ volume.affine[:3, :3].T + volume.affine[:3, 3]
        wanted = np.argwhere(segment.mask) @ source.images.affine_lps_mm[:3, :3].T + source.images.affine_lps_mm[:3, 3]
        assert sorted(map(tuple, placed.round(2) + 0.0)) == sorted(map(tuple, wanted.round(2) + 0.0))
    mapped = highdicom.pm.ParametricMap.from_dataset(objects["PM"]).get_volume()
    own = mapped.array[np.argsort(mapped.affine[:3, 0] @ source.images.affine_lps_mm[:3, 0] * np.arange(len(mapped.array)))]
    assert np.array_equal(own, result.maps[0].values)


def raw(tag: int, vr: str, value: bytes) -> Callable[[Dataset], None]:
    """An element with exactly these bytes."""

    def change(ds: Dataset) -> None:
        ds[tag] = RawDataElement(Tag(tag), vr, len(value), value, 0, is_implicit_VR=False, is_little_endian=True)

    return change


def elements(**values: object) -> Callable[[Dataset], None]:
    """Elements by keyword; None takes one out."""

    def change(ds: Dataset) -> None:
        for keyword, value in values.items():
            if value is None:
                ds.pop(keyword, None)
            else:
                setattr(ds, keyword, value)

    return change


def both(*changes: Callable[[Dataset], None]) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        for one in changes:
            one(ds)

    return change


Fault = tuple[Callable[[Dataset], None], tuple[str, ...]]
"""What it does to a header, and which elements the report must name for it."""
DIRTY: dict[str, Fault] = {
    "empty patient and study fields, lossy without ratio": (
        elements(PatientName="", PatientBirthDate="", PatientSex="", StudyID="", AccessionNumber="", LossyImageCompression="01"),
        (),
    ),
    "absent patient and study fields, modality, slice thickness, manufacturer": (
        elements(
            **dict.fromkeys(("PatientName", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber", "StudyDate")),
            **dict.fromkeys(("StudyTime", "ReferringPhysicianName", "Modality", "SliceThickness", "Manufacturer")),
        ),
        ("Modality",),
    ),
    "sex U, age 64, weight 80 kg, study description of 80 characters": (
        both(elements(PatientSex="U", PatientAge="64"), raw(0x00101030, "DS", b"80 kg "), raw(0x00081030, "LO", b"x" * 80)),
        ("PatientSex", "PatientAge", "PatientWeight", "StudyDescription"),
    ),
    "no body part": (elements(BodyPartExamined=None), ()),
    "no frame of reference": (elements(FrameOfReferenceUID=None, PositionReferenceIndicator=None), ()),
    "undeclared Latin-1": (raw(0x00100010, "PN", "Müller^Jörg".encode("latin-1") + b" "), ()),
    "ISO 2022 IR 13 and 87": (
        elements(SpecificCharacterSet=["ISO 2022 IR 13", "ISO 2022 IR 87"], PatientName="ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        (),
    ),
    "ISO 2022 IR 149": (elements(SpecificCharacterSet=["", "ISO 2022 IR 149"], PatientName="Hong^Gildong=洪^吉洞=홍^길동"), ()),
    "ISO_IR 100": (elements(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg"), ()),
    "ISO_IR 192": (elements(SpecificCharacterSet="ISO_IR 192", PatientName="Wang^XiaoDong=王^小东"), ()),
    "ISO 2022 IR 159": (elements(SpecificCharacterSet=["", "ISO 2022 IR 87", "ISO 2022 IR 159"], PatientName="Yamada^Tarou=山田^太郎"), ()),
    "GB18030": (elements(SpecificCharacterSet="GB18030", PatientName="Wang^XiaoDong=王^小东"), ()),
    "a set that nobody knows": (elements(SpecificCharacterSet="ISO_IR 999"), ("SpecificCharacterSet",)),
}
ABSENT, IMPOSSIBLE = list(DIRTY)[1:3]
IDENTITY = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "AccessionNumber", "StudyInstanceUID", "StudyID")
CORRECTED = {IMPOSSIBLE}
"""Study Description is trimmed to what its VR allows: results and source cannot agree in it."""
USUAL = ResultForm(objects=frozenset({ObjectKind.SR, ObjectKind.SEG, ObjectKind.SC}))


def dirty(name: str, source: MadeSource) -> MadeSource:
    for ds in source.data_sets:
        DIRTY[name][0](ds)
    if name == "no frame of reference" and isinstance(source.images, Volume):
        images = source.images
        source = MadeSource(source.name, source.data_sets, Volume(images.values, images.affine_lps_mm, "", images.source_sop_instance_uids))
    return source


def check_dirty(name: str, kind: str, folder: Path, form: ResultForm) -> set[str]:
    """Build, validate, compare what identifies the patient, and check the row of the table; return the kinds of objects."""
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about the fault
        source, originals = reopened(dirty(name, SOURCES[kind]()), folder / "source")
        result = full_result(source) if name != "no frame of reference" else without_boxes(source)
        objects = build_results(request(source, result, form))
        paths = saved(objects, folder / "results")
        read = {path.stem: pydicom.dcmread(path) for path in paths.values()}
        for keyword in IDENTITY:
            assert {str(ds.get(keyword, "")) for ds in read.values()} == {str(source.data_sets[0].get(keyword) or "")}, keyword
    assert errors_of(few(paths)) == {}
    found = [line for line in contradictions([*originals, *paths.values()]) if not line.startswith(STUDY_OF_STRUCTURES)]
    assert bool(found) == (name in CORRECTED), found
    comments = " ".join(read_measurements(read["SR1"]).comments)
    assert all(keyword in comments for keyword in DIRTY[name][1])
    declared = read["SR1"].get("SpecificCharacterSet") or ""
    shown = declared if isinstance(declared, str) else "\\".join(declared)
    kinds = list(dict.fromkeys(o.kind for o in objects))
    agrees = "differs" if name in CORRECTED else "agrees"
    check_row(f"| {name}; {kind} | {', '.join(kinds)} | {shown} | {', '.join(DIRTY[name][1])} | 0 | {agrees} |")
    return set(kinds)


def without_boxes(source: MadeSource) -> InferenceResult:
    result = full_result(source)
    return dataclasses.replace(result, findings=result.findings[1:])


@pytest.mark.parametrize("name", list(DIRTY)[:8])
def test_every_writer_with_a_dirty_header_passes_the_validators(tmp_path: Path, name: str) -> None:
    without = {"SEG", "PM", "RTSTRUCT"} if name == "no frame of reference" else set()
    assert check_dirty(name, "CT one slice of marks", tmp_path, EVERYTHING) == set(KINDS) - without


PAIRS = [
    (ABSENT, "US multi-frame"),
    (IMPOSSIBLE, "CR"),
    ("no body part", "MG"),
    ("no body part", "PET"),
    ("undeclared Latin-1", "SC"),
    ("ISO 2022 IR 13 and 87", "Enhanced MR"),
    ("ISO_IR 100", "MG"),
    ("ISO_IR 192", "Enhanced CT"),
    ("ISO 2022 IR 159", "CT one slice of marks"),
    ("GB18030", "DX"),
    ("a set that nobody knows", "MR sagittal"),
]


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_dirty_headers_of_other_sources(tmp_path: Path, name: str, kind: str) -> None:
    check_dirty(name, kind, tmp_path, USUAL)


IDENTITY_AGAINST_THE_STANDARD = {
    "name of six parts": (elements(PatientName="A^B^C^D^E^F"), "PatientName"),
    "accession number of 20 characters": (raw(0x00080050, "SH", b"A" * 20), "AccessionNumber"),
    "study UID with a leading zero": (elements(StudyInstanceUID="1.2.03.4"), "StudyInstanceUID"),
    "study date with dots": (elements(StudyDate="2024.01.02"), "StudyDate"),
}


@pytest.mark.parametrize("name", IDENTITY_AGAINST_THE_STANDARD)
def test_what_identifies_is_kept_even_against_the_standard_and_the_report_says_so(tmp_path: Path, name: str) -> None:
    change, keyword = IDENTITY_AGAINST_THE_STANDARD[name]
    source = SOURCES["CT one slice of marks"]()
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about the fault
        for ds in source.data_sets:
            change(ds)
        source, originals = reopened(source, tmp_path / "source")
        paths = saved(build_results(request(source, form=USUAL)), tmp_path / "results")
        wanted = str(source.data_sets[0].get(keyword))
        assert {str(pydicom.dcmread(path).get(keyword)) for path in paths.values()} == {wanted}
        assert any(keyword in c for c in read_measurements(pydicom.dcmread(paths["SR1"])).comments)
    found = contradictions([*originals, *paths.values()])
    assert [line for line in found if "Missing SOPInstanceUID" not in line] == []
