"""Code of real viewers opens every kind of object and sees what is in it."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from dicom_node.domain.volume import Volume
from dicom_node.sr_writer import ObjectKind, ResultForm, SegKind, SrClass, build_results
from tests.result_checks import reopened, saved
from tests.result_findings import full_result, masks, request
from tests.result_headers import CHARACTERS
from tests.result_sources import AXIAL, FLIPPED, MARKERS_LPS_MM, SAGITTAL, SOURCES, MadeSource, enhanced, oblique, stack
from tests.result_viewers import needs_npm, ohif_reads, pages_of, picture_by_dcmtk, presented, run_dcmtk

TOLERANCE_MM = 2.0
SEG = frozenset({ObjectKind.SEG})
SR = frozenset({ObjectKind.SR})
WAYS: dict[str, Callable[[], MadeSource]] = {
    "axial": lambda: stack("CT", AXIAL),
    "flipped": lambda: stack("CT", FLIPPED),
    "oblique": lambda: stack("MR", oblique(), slices=16),
    "multi-frame sagittal": lambda: enhanced("Enhanced MR", SAGITTAL, slices=20),
}
SEGMENTATIONS = {
    "seg-binary": ResultForm(SEG),
    "seg-fractional": ResultForm(SEG, seg_kind=SegKind.FRACTIONAL),
    "seg-labelmap": ResultForm(SEG, seg_kind=SegKind.LABELMAP),
    "seg-labelmap-rle": ResultForm(SEG, seg_kind=SegKind.LABELMAP, rle=True),
}


class Seen:
    """One source with its objects, as OHIF's code reads them."""

    def __init__(self, source: MadeSource, folder: Path) -> None:
        self.source, _ = reopened(source, folder.with_name("source"))
        folder.mkdir()
        for number, ds in enumerate(self.source.data_sets):
            ds.save_as(folder / f"source-{number:03d}.dcm")
        result = full_result(self.source)
        for name, form in SEGMENTATIONS.items():
            [item] = build_results(request(self.source, result, form))
            item.data_set.save_as(folder / f"{name}.dcm", enforce_file_format=True)
        marks = [dataclasses.replace(f, score=None, measurements=()) for f in result.findings[:2]]
        marked = dataclasses.replace(result, segments=(), measurements=(), findings=tuple(marks), maps=())
        for name, sr_class in (("sr-comp", SrClass.COMPREHENSIVE), ("sr-comp3d", SrClass.COMPREHENSIVE_3D)):
            [item] = build_results(request(self.source, marked, ResultForm(SR, sr_class)))
            item.data_set.save_as(folder / f"{name}.dcm", enforce_file_format=True)
        for item in build_results(request(self.source, result, ResultForm(frozenset(ObjectKind) - SEG - SR))):
            item.data_set.save_as(folder / f"{item.kind.lower()}-{item.number}.dcm", enforce_file_format=True)
        self.folder, self.read = folder, ohif_reads(folder)


@pytest.fixture(scope="module", params=WAYS)
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return Seen(WAYS[request.param](), tmp_path_factory.mktemp("seen") / "objects")


def near(found: Any, name: str) -> None:
    assert np.linalg.norm(np.array(found) - np.array(MARKERS_LPS_MM[name])) < TOLERANCE_MM, (name, found)


@needs_npm
def test_ohif_lays_segments_of_every_kind_over_their_markers(seen: Seen) -> None:
    wanted = {name: int(mask.sum()) for name, mask in masks(seen.source.images).items()}
    for name in SEGMENTATIONS:
        read = seen.read["seg"][f"{name}.dcm"]
        labels = {s["number"]: s["label"] for s in read["segments"] if s["number"]}  # 0 of a label map is the background
        assert list(labels.values()) == [f"Marker {name}" for name in wanted], read
        for number, label in labels.items():
            marker = label.removeprefix("Marker ")
            found = read["found"][str(number)]
            assert found["count"] == wanted[marker], name
            near(found["center"], marker)


@needs_npm
def test_ohif_takes_marks_of_the_report_for_its_own_measurements_at_their_places(seen: Seen) -> None:
    whole = ("RectangleROI", "Lung")  # a whole image stands for the whole result, since the viewer demands coordinates of each group
    outlined = [m for m in seen.read["sr"]["sr-comp.dcm"] if (m["tool"], m["finding"]) != whole]
    assert {(m["tool"], m["finding"]) for m in outlined} == {("RectangleROI", "Nodule"), ("Probe", "Nodule")}
    box = next(m for m in outlined if m["tool"] == "RectangleROI")
    assert box["sites"] == ["Lung"]
    assert isinstance(seen.source.images, Volume)
    normal = seen.source.images.affine_lps_mm[:3, 0] / np.linalg.norm(seen.source.images.affine_lps_mm[:3, 0])
    off = np.mean(box["points"], axis=0) - np.array(MARKERS_LPS_MM["left"])
    assert np.linalg.norm(off - normal * (off @ normal)) < TOLERANCE_MM  # the outline of one slice of the box
    assert abs(off @ normal) < 6
    in_space = [m for m in seen.read["sr"]["sr-comp3d.dcm"] if (m["tool"], m["finding"]) != whole]
    assert {m["finding"] for m in in_space} == {"Nodule"}
    assert all(len(point) == 3 for m in in_space for point in m["points"])


@needs_npm
def test_ohif_reads_the_map_and_parses_every_other_object(seen: Seen) -> None:
    assert isinstance(seen.source.images, Volume)
    assert seen.read["pm"]["pm-1.dcm"] == {"count": seen.source.images.values.size, "most": 1}
    modalities = {name.split("-")[0]: read["modality"] for name, read in seen.read["parsed"].items()}
    assert {k: modalities[k] for k in ("sc", "pr", "ko", "doc", "rtstruct")} == {
        "sc": "OT",
        "pr": "PR",
        "ko": "KO",
        "doc": "DOC",
        "rtstruct": "RTSTRUCT",
    }
    assert {read["patient"] for read in seen.read["parsed"].values()} == {"Phantom^Markers"}


@needs_npm
def test_dcmjs_decodes_the_name_of_every_set_without_code_extensions(tmp_path: Path) -> None:
    wanted = {}
    folder = tmp_path / "objects"
    folder.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about bytes that no set was declared for
        for number, (name, header) in enumerate(CHARACTERS.items()):
            source = SOURCES["CR"]()
            if header.reason_against(source.data_sets) or " and " in name or name.startswith("ISO 2022"):
                continue  # dcmjs reads one set a file; the viewer has names as JSON from the archive
            header.change(source.data_sets)
            source, _ = reopened(source, tmp_path / f"source-{number}")
            [item] = build_results(request(source, form=ResultForm(SR)))
            item.data_set.save_as(folder / f"object-{number:02d}.dcm", enforce_file_format=True)
            wanted[f"object-{number:02d}.dcm"] = name, str(source.data_sets[0].PatientName)
    read = ohif_reads(folder)["parsed"]
    assert {wanted[key][0]: read[key]["patient"] for key in wanted} == dict(wanted.values())


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeSource, list[Path], dict[str, Path]]:
    """Every object of a CT, and the slices, as files."""
    folder = tmp_path_factory.mktemp("marked")
    source, originals = reopened(stack(), folder / "source")
    return source, originals, saved(build_results(request(source, form=ResultForm(frozenset(ObjectKind)))), folder / "results")


@pytest.mark.parametrize("sr_class", list(SrClass))
def test_dcmtk_shows_every_class_of_report_as_a_page_of_text(tmp_path: Path, sr_class: SrClass) -> None:
    paths = saved(build_results(request(stack(), form=ResultForm(SR, sr_class))), tmp_path)
    page = tmp_path / "report.html"
    said_of_it = run_dcmtk("dsr2html", "+U8", paths["SR1"], page)
    assert [line for line in said_of_it.splitlines() if "VR checker does not support" not in line] == []
    text = page.read_text("utf-8")
    said = [
        "Not for diagnosis",
        "Slice spacing is outside of the protocol.",
        "Marked volume: 12.35 mL" if sr_class is SrClass.BASIC_TEXT else "12.3457",
    ]
    assert [words for words in said if words not in text] == []
    assert "Error" not in run_dcmtk("dsrdump", "+U8", paths["SR1"])


def test_dcmtk_reads_the_key_object_selection(marked: tuple[MadeSource, list[Path], dict[str, Path]]) -> None:
    source, _, paths = marked
    listed = run_dcmtk("dsrdump", "+U8", paths["KO1"])
    assert "Key Object Selection Document" in listed
    images = [line for line in listed.splitlines() if "IMAGE:" in line]
    assert 1 <= len(images) <= len(source.data_sets)


def test_dcmtk_presents_marks_at_the_pixels_of_the_markers(marked: tuple[MadeSource, list[Path], dict[str, Path]]) -> None:
    source, originals, paths = marked
    assert "Test passed" in run_dcmtk("dcmpschk", paths["PR1"])
    found = 0
    by_uid = {str(ds.SOPInstanceUID): index for index, ds in enumerate(source.data_sets)}
    for path in originals:
        index = by_uid[str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)]
        page = presented(paths["PR1"], path)
        texts = dict(page.texts)
        assert page.gray.shape == source.images.values.shape[1:]  # type: ignore[union-attr]
        outlined = {texts[g.layer]: g for g in page.graphics if g.kind == "polyline" and texts.get(g.layer, "").startswith("Marker ")}
        there = {f"Marker {name}": mask[index] for name, mask in masks(source.images).items() if mask[index].any()}
        assert set(outlined) == set(there)
        for label, mask in there.items():
            rows, columns = np.nonzero(mask)
            line = outlined[label].points_px
            assert (line.min(axis=0) == (columns.min(), rows.min())).all()  # (0, 0) is the corner of the first pixel
            assert (line.max(axis=0) == (columns.max() + 1, rows.max() + 1)).all()
            found += 1
    assert found >= 3


def test_dcmtk_shows_the_pages_as_they_were_drawn(marked: tuple[MadeSource, list[Path], dict[str, Path]]) -> None:
    _, _, paths = marked
    pages = [name for name in paths if name.startswith("SC")]
    for name in (pages[0], pages[-1]):
        assert np.array_equal(picture_by_dcmtk(paths[name]), pydicom.dcmread(paths[name]).pixel_array)


def test_document_taken_out_by_dcmtk_and_drawn_by_pdfium_has_the_words(marked: tuple[MadeSource, list[Path], dict[str, Path]]) -> None:
    _, _, paths = marked
    pages = pages_of(paths["DOC1"])
    text = " ".join(words for words, _ in pages)
    for words in ("Marker finder", "12.35 mL", "Not for diagnosis", "Slice spacing is outside of the protocol."):
        assert words.split()[0] in text
    assert "12.35" in text
    assert all(np.asarray(picture).std() > 5 for _, picture in pages)  # none is blank
