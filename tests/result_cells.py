"""One cell of the table of results: every writer, in every form, with one source and one header, before all readers."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from dicom_node.domain.results import InferenceResult
from dicom_node.domain.volume import Volume
from dicom_node.errors import DicomNodeError, PatientMismatchError, ResultError
from dicom_node.inference import images_from_instances
from dicom_node.sr_writer import ObjectKind, ResultForm, ResultObject, SegKind, SrClass, build_results, read_measurements
from tests import result_readers as readers
from tests.result_checks import contradictions, errors_of, faults_of_report, faults_of_segmentation, faults_of_set, reopened
from tests.result_findings import empty_result, full_result, request
from tests.result_headers import HEADERS, Header
from tests.result_sources import SOURCES, MadeSource

SR_AND_SEG = frozenset({ObjectKind.SR, ObjectKind.SEG})
FORMS = (
    ResultForm(objects=frozenset(ObjectKind)),
    ResultForm(SR_AND_SEG, SrClass.COMPREHENSIVE, SegKind.FRACTIONAL),
    ResultForm(SR_AND_SEG, SrClass.ENHANCED, SegKind.LABELMAP),
    ResultForm(SR_AND_SEG, SrClass.BASIC_TEXT, SegKind.LABELMAP, rle=True),
    ResultForm(frozenset({ObjectKind.SEG}), seg_kind=SegKind.FRACTIONAL, rle=True),
)
"""Every SOP class of report and every kind of segmentation once, with all other kinds in the first."""
TEXTS = ("PatientName", "PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyID", "ReferringPhysicianName", "StudyDescription")
VALUES = ("PatientBirthDate", "StudyInstanceUID", "StudyDate", "StudyTime", "PatientSex", "PatientAge")
WRITERS = (
    *(f"SR {kind.value}" for kind in SrClass),
    *("SEG binary", "SEG fractional", "SEG fractional RLE", "SEG labelmap", "SEG labelmap RLE"),
    *("SC summary", "SC page", "SC overview", "PR", "KO", "DOC", "PM", "RTSTRUCT"),
)
NOT_BY_DCMTK = ("ISO 2022 IR 13", "ISO 2022 IR 87", "ISO 2022 IR 159", "ISO 2022 IR 58")
"""Sets that DCMTK with glibc's iconv cannot convert."""
CHECKS = {
    "V": "dciodvfy: exit 0, no error",
    "v": "dciodvfy: errors of values alone that identify and are kept against the standard",
    "E": "dcentvfy with the source: exit 0, no error",
    "e": "dcentvfy with the source: only what no object may hold differs",
    "H": "highdicom reads the same numbers, masks and map",
    "Q": "dcmqi reads the same numbers, masks and map",
    "N": "names and identifiers equal to the source, byte by byte",
    "n": "the same after decoding, in other bytes",
    "O": "what OHIF demands of reports, segmentations and series",
}


@dataclass(frozen=True)
class Cell:
    """What one cell came to.

    Attributes:
        text: As the table has it.
        writers: Objects by writer.
        charset: Specific Character Set of the results.
    """

    text: str
    writers: dict[str, int]
    charset: str = ""


def writer_of(item: ResultObject, form: ResultForm) -> str:
    if item.kind == "SR":
        return f"SR {form.sr_class.value}"
    if item.kind == "SEG":
        kind = str(item.data_set.SegmentationType)
        return f"SEG {kind.lower()}{' RLE' if item.data_set.file_meta.TransferSyntaxUID.is_compressed else ''}"
    if item.kind == "SC":
        several = len(item.data_set.SourceImageSequence) > 1
        return "SC summary" if item.number == 1 else "SC overview" if several else "SC page"
    return item.kind


class CheckedSet:
    """The objects of all forms for one source, as files and as read back."""

    def __init__(self, source: MadeSource, result: InferenceResult, originals: Sequence[Path], folder: Path) -> None:
        self.source, self.result, self.originals = source, result, originals
        self.read: dict[str, list[tuple[Path, Dataset]]] = {}
        folder.mkdir()
        for form in FORMS:
            asked = dataclasses.replace(request(source, result, form), in_variants=True)
            if not result.segments and form is not FORMS[0]:
                asked = dataclasses.replace(asked, form=dataclasses.replace(form, objects=form.objects & {ObjectKind.SR}))
            for item in build_results(asked):
                writer = writer_of(item, form)
                path = folder / f"{writer.replace(' ', '_')}-{item.number}.dcm"
                item.data_set.save_as(path, enforce_file_format=True)
                self.read.setdefault(writer, []).append((path, pydicom.dcmread(path)))

    @property
    def paths(self) -> list[Path]:
        return [path for found in self.read.values() for path, _ in found]

    @property
    def data_sets(self) -> list[Dataset]:
        return [ds for found in self.read.values() for _, ds in found]

    def of(self, *names: str) -> Iterator[tuple[str, Path, Dataset]]:
        for name in names:
            for path, ds in self.read.get(name, []):
                yield name, path, ds

    def check(self, header: Header) -> str:
        """Run every check; returns the letters of what was found good."""
        letters = self.valid(header) + self.consistent(header) + self.numbers_and_masks() + self.identity(header) + self.viewer()
        self.said(header)
        return letters

    def valid(self, header: Header) -> str:
        strange, flaws = [], 0
        for name, errors in errors_of(self.paths).items():
            for line in errors:
                # the tool does not count label maps among segmentations, whose segments a report must name
                wanted = name in ("SR_enhanced-1", "SR_text-1") and "ReferencedSegmentNumber(" in line
                flaw = any(f"/{keyword}(" in line for keyword in header.flawed)
                flaws += flaw
                strange += [] if wanted or flaw else [f"{name}: {line}"]
        assert strange == []
        assert bool(flaws) == bool(header.flawed)
        return "v" if flaws else "V"

    def consistent(self, header: Header) -> str:
        structures = [path for _, path, _ in self.of("RTSTRUCT")]
        known = contradictions(self.originals)
        study = f"Error - Missing SOPInstanceUID that was referenced - {self.source.data_sets[0].StudyInstanceUID}"
        found = []
        for paths in ([p for p in self.paths if p not in structures], structures):
            lines = [line for line in contradictions([*self.originals, *paths]) if line not in known]
            # a structure set names the study as if it were an instance, as PS3.3 C.8.8.5 asks for
            found += [line for line in lines if paths is not structures or not line.startswith(study)]
        assert [line for line in found if not any(f"<{keyword}>" in line for keyword in header.differs)] == []
        assert bool(found) == bool(header.differs), found
        return "e" if header.differs else "E"

    def numbers_and_masks(self) -> str:
        numbers = readers.wanted_numbers(self.result)
        for name, path, _ in self.of("SR comp3d", "SR comp", "SR enhanced"):
            first, second = readers.numbers_by_highdicom(path), readers.numbers_by_dcmqi(path)
            assert sorted(n.value for n in first) == numbers, name
            assert second == first, name
        images = self.source.images
        for name, path, _ in self.of(*(n for n in self.read if n.startswith("SEG"))):
            assert isinstance(images, Volume)
            wanted = readers.wanted_places(self.result, images)
            for found in (readers.segments_by_highdicom(path), readers.segments_by_dcmqi(path)):
                assert len(found) == len(wanted), name
                assert all(map(readers.same_places, found, wanted)), name
            assert readers.labels_by_dcmqi(path) == [s.label for s in self.result.segments if s.mask.any()]
        for _, path, _ in self.of("PM"):
            assert isinstance(images, Volume)
            values = self.result.maps[0].values
            for places, all_values in (readers.map_by_highdicom(path), readers.map_by_dcmqi(path)):
                assert readers.same_places(places, readers.places_of(values > 0.9, images.affine_lps_mm))
                assert (all_values.astype("f4") == sorted(values.ravel())).all()
        for _, path, _ in self.of("KO"):
            assert readers.key_images_by_highdicom(path) > 0
        return "HQ"

    def identity(self, header: Header) -> str:
        """Compare what identifies patient and study, decoded, in bytes, and as DCMTK decodes it."""
        first, same = self.source.data_sets[0], True
        for keyword in (*TEXTS, *VALUES):
            if keyword in header.said and keyword not in ("PatientName", "AccessionNumber", "StudyInstanceUID", "StudyDate"):
                continue
            wanted = text_of(first, keyword)
            assert {text_of(ds, keyword) for ds in self.data_sets} == {wanted}, keyword
            same &= {readers.raw_bytes(pydicom.dcmread(p, stop_before_pixels=True), keyword) for p in self.paths} == {
                readers.raw_bytes(pydicom.dcmread(self.path_of(first), stop_before_pixels=True), keyword)
            }
        if not any(name in NOT_BY_DCMTK for name in charset_of(self.data_sets[0]).split("\\")):
            assert set(readers.text_by_dcmtk(self.paths, "PatientName")) == {text_of(first, "PatientName")}
        return "N" if same else "n"

    def path_of(self, ds: Dataset) -> Path:
        return Path(str(ds.filename))

    def viewer(self) -> str:
        first = self.source.data_sets[0]
        for name, _, ds in self.of("SR comp3d", "SR comp", "SR enhanced"):
            assert faults_of_report(ds, first) == [], name
        for name, _, ds in self.of(*(n for n in self.read if n.startswith("SEG"))):
            assert faults_of_segmentation(ds, first) == [], name
        assert faults_of_set(self.data_sets, self.source.data_sets) == []
        return "O"

    def said(self, header: Header) -> None:
        comments = " ".join(read_measurements(self.read["SR comp3d"][0][1]).comments)
        assert [keyword for keyword in header.said if keyword not in comments] == []


def text_of(ds: Dataset, keyword: str) -> str:
    return str(ds.get(keyword) or "").strip(" \0")


def charset_of(ds: Dataset) -> str:
    declared = ds.get("SpecificCharacterSet") or ""
    return declared if isinstance(declared, str) else "\\".join(declared)


def check_cell(kind: str, name: str, folder: Path) -> Cell:
    """Build and check; asserts on every fault.

    Args:
        kind: One of `SOURCES`.
        name: One of `HEADERS`.
        folder: Does not exist; written to.
    """
    header, source = HEADERS[name], SOURCES[kind]()
    if reason := header.reason_against(source.data_sets):
        return Cell(reason, {})
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about the fault
        folder.mkdir()
        header.change(source.data_sets)
        source, originals = reopened(source, folder / "source")
        source, result = analysed(source, header)
        try:
            made = CheckedSet(source, result, originals, folder / "results")
        except (PatientMismatchError, ResultError):
            if not name.startswith("two "):
                raise
            return Cell("refused", {})
        letters = made.check(header)
    writers = {writer: len(found) for writer, found in made.read.items()}
    outcome = " not analysed" if result.not_analysed else ""
    return Cell(f"{len(made.paths)} {letters}{outcome}", writers, charset_of(made.data_sets[0]))


def analysed(source: MadeSource, header: Header) -> tuple[MadeSource, InferenceResult]:
    """Read the images as the node does; a series that is no volume is not analysed."""
    kind = "frames" if header.as_frames or not isinstance(source.images, Volume) else "volume"
    try:
        read = images_from_instances(kind, source.data_sets)  # type: ignore[arg-type]
    except DicomNodeError as error:
        return MadeSource(source.name, source.data_sets, None), empty_result(not_analysed=(str(error),))  # type: ignore[arg-type]
    source = MadeSource(source.name, read.instances, read.images)
    result = full_result(source) if source.located or kind == "frames" else None
    if result is None:
        result = full_result(source)
        result = dataclasses.replace(result, findings=result.findings[1:])  # a box needs a frame of reference
    return source, result
