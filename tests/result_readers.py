"""Readers of other makers, and what they find in result objects: numbers, masks and values at their places in the patient."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dcmqi
import highdicom
import nibabel
import numpy as np
import pydicom
from highdicom import ko
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.domain.results import InferenceResult
from dicom_node.domain.volume import Volume
from dicom_node.sr_writer import read_measurements

DCMQI = Path(dcmqi.__file__).parent / "bin"
TOLERANCE_MM = 0.02


@dataclass(frozen=True)
class Number:
    """A measured value as any reader gives it."""

    tracking_id: str
    code_value: str
    value: float
    unit: str


def places_of(marked: NDArray[np.bool_], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Middles of the marked voxels in the patient, sorted; shape (voxel, 3), LPS mm."""
    points = np.argwhere(marked) @ affine[:3, :3].T + affine[:3, 3]
    points = points.round(1) + 0.0
    return points[np.lexsort(points.T)]


def same_places(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> bool:
    return found.shape == wanted.shape and bool(np.allclose(found, wanted, atol=0.1 + TOLERANCE_MM))


def wanted_numbers(result: InferenceResult) -> list[float]:
    """Values that a report must hold, certainties in percent among them."""
    values = [round(m.value, 4) for m in (*result.measurements, *(m for f in result.findings for m in f.measurements))]
    certain = [round(f.score * 100, 4) for f in result.findings if f.score is not None]
    return sorted([*values, *certain, *(round(e.score * 100, 4) for e in result.evaluations if e.score is not None)])


def wanted_places(result: InferenceResult, volume: Volume) -> list[NDArray[np.float64]]:
    """Where each segment with a pixel lies."""
    return [places_of(s.mask, volume.affine_lps_mm) for s in result.segments if s.mask.any()]


def numbers_by_highdicom(report: Path) -> list[Number]:
    read = read_measurements(pydicom.dcmread(report))
    return [Number(m.tracking_id, m.code_value, round(m.value, 4), m.unit) for m in read.measurements]


def segments_by_highdicom(segmentation: Path) -> list[NDArray[np.float64]]:
    read = highdicom.seg.Segmentation.from_dataset(pydicom.dcmread(segmentation))
    volume = read.get_volume(combine_segments=False, allow_missing_positions=True, skip_overlap_checks=True)
    return [places_of(volume.array[..., n] > 0, volume.affine) for n in range(volume.array.shape[-1])]


def map_by_highdicom(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places of the values above 0.9, and all values in rising order."""
    volume = highdicom.pm.ParametricMap.from_dataset(pydicom.dcmread(path)).get_volume()
    return places_of(volume.array > 0.9, volume.affine), np.sort(volume.array, axis=None)


def key_images_by_highdicom(path: Path) -> int:
    read = ko.KeyObjectSelectionDocument.from_dataset(pydicom.dcmread(path))
    return len(read.content.get_references())


def numbers_by_dcmqi(report: Path) -> list[Number]:
    groups = _run("tid1500reader", report, "--outputMetadata", report.with_suffix(".json"))["Measurements"]
    return [
        Number(g["TrackingIdentifier"], m["quantity"]["CodeValue"], float(m["value"]), m["units"]["CodeValue"])
        for g in groups
        for m in g.get("measurementItems", [])
    ]


def segments_by_dcmqi(segmentation: Path) -> list[NDArray[np.float64]]:
    folder = segmentation.with_suffix("")
    folder.mkdir()
    described = _run("segimage2itkimage", segmentation, "--outputDirectory", folder, "-t", "nii")
    found = []
    for number, group in enumerate(described["segmentAttributes"], start=1):
        values, affine = _nifti(folder / f"{number}.nii.gz")
        found += [places_of(values == item["labelID"] if len(group) > 1 else values > 0, affine) for item in group]  # or fractions, to 255
    return found


def labels_by_dcmqi(segmentation: Path) -> list[str]:
    described = json.loads((segmentation.with_suffix("") / "meta.json").read_text("utf-8"))
    return [item["SegmentLabel"] for group in described["segmentAttributes"] for item in group]


def map_by_dcmqi(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    folder = path.with_suffix("")
    folder.mkdir()
    _run("paramap2itkimage", path, "--outputDirectory", folder, "-t", "nii")
    [image] = folder.glob("*.nii.gz")
    values, affine = _nifti(image)
    return places_of(values > 0.9, affine), np.sort(values, axis=None)


def _run(program: str, path: Path, *arguments: object) -> dict:  # type: ignore[type-arg]
    done = subprocess.run([DCMQI / program, "--inputDICOM", path, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{program} {path.name}: {done.returncode} {done.stderr[-300:]}"
    written = path.with_suffix(".json") if program == "tid1500reader" else path.with_suffix("") / "meta.json"
    return json.loads(written.read_text("utf-8")) if written.exists() else {}  # type: ignore[no-any-return]


def _nifti(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values by (column, row, slice), and the way to LPS mm; NIfTI's axes point to the right and the front."""
    image = nibabel.load(path)
    return np.asarray(image.dataobj), np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine


def text_by_dcmtk(paths: Sequence[Path], keyword: str) -> list[str]:
    """An element's text of each file, as DCMTK converts it to UTF-8."""
    command = ["/usr/bin/dcmdump", "-M", "+U8", "+L", "+P", keyword, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, check=True)
    lines = [line for line in done.stdout.decode("utf-8").splitlines() if line.startswith("(")]
    return [line[line.index("[") + 1 : line.rindex("]")] if "[" in line else "" for line in lines]


def raw_bytes(data_set: Dataset, keyword: str) -> bytes:
    """A value as the file has it, without padding."""
    element = data_set.get_item(keyword)
    if element is None or element.value is None:
        return b""
    value = element.value
    return value.rstrip(b" \0") if isinstance(value, bytes) else str(value).encode("ascii")
