"""Size and time of result objects: 50 segments on 150 slices of 512 x 512, in every kind of segmentation, and of whole sets.

On disk: what a job does between its model's result and the rows that record it, all objects built and written durably, beside a bare
loop in which pydicom writes the same objects and syncs nothing, in turn; medians.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from datetime import UTC, datetime
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import numpy as np
import pydicom
from inference_parts.images import radiograph as made_radiograph
from numpy.typing import NDArray
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dicom_node.domain.frames import Frame, FrameSet
from dicom_node.domain.jobs import JobKey
from dicom_node.domain.profiles import DEFAULT_PROFILE, PRESETS
from dicom_node.domain.results import (
    Code,
    Finding,
    ImageRegion,
    InferenceResult,
    Measurement,
    ModelIdentity,
    RegionKind,
    Segment,
    Stage,
)
from dicom_node.domain.volume import Volume
from dicom_node.pipeline.result_files import write_results
from dicom_node.sr_writer import BuildRequest, ObjectKind, ResultForm, SegKind, build_for_profiles, build_results
from dicom_node.storage import InstanceFiles

SLICES, SIDE, SEGMENTS = 150, 512, 50
LUNG, ORGAN = Code("39607008", "SCT", "Lung"), Code("91723000", "SCT", "Anatomical Structure")
NODULE, EFFUSION = Code("27925004", "SCT", "Nodule"), Code("60046008", "SCT", "Pleural effusion")
IDENTITY = ModelIdentity("organs", "Organs", "1", "dicom-node", "0" * 64, "0" * 64, "2.25.4", "none", "none", Stage.RESEARCH, "benchmark")
VOLUME, ML = Code("118565006", "SCT", "Volume"), Code("mL", "UCUM", "milliliter")


def source() -> list[pydicom.Dataset]:
    data_sets = []
    for number in range(SLICES):
        ds = pydicom.Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = CTImageStorage, f"2.25.7.{number + 1}", "CT"
        ds.PatientName, ds.PatientID = "Many^Segments", "BENCHMARK"
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "2.25.5", "2.25.6", "2.25.9"
        ds.Manufacturer, ds.BodyPartExamined, ds.SeriesNumber, ds.InstanceNumber = "dicom-node", "ABDOMEN", 1, number + 1
        ds.PositionReferenceIndicator, ds.ImageType = "", ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 2 * number], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness, ds.Rows, ds.Columns = [0.8, 0.8], 2, SIDE, SIDE
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.file_meta = pydicom.dataset.FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data_sets.append(ds)
    return data_sets


def organs() -> NDArray[np.uint8]:
    """Fifty ellipsoids beside each other, numbered; each on 20 to 45 slices."""
    labels = np.zeros((SLICES, SIDE, SIDE), np.uint8)
    generator = np.random.default_rng(4711)
    z, y, x = np.ogrid[:SLICES, :SIDE, :SIDE]
    for number in range(1, SEGMENTS + 1):
        center = np.array([25 + 100 * generator.random(), 40 + 430 * generator.random(), 40 + 430 * generator.random()])
        radii = np.array([10 + 12 * generator.random(), 14 + 22 * generator.random(), 14 + 22 * generator.random()])
        inside = ((z - center[0]) / radii[0]) ** 2 + ((y - center[1]) / radii[1]) ** 2 + ((x - center[2]) / radii[2]) ** 2 < 1
        labels[inside & (labels == 0)] = number
    return labels


def request(labels: NDArray[np.uint8], form: ResultForm) -> BuildRequest:
    headers = source()
    values = np.where(labels > 0, 60, -20).astype(np.float32)
    affine = np.array([[0, 0, 0.8, 0], [0, 0.8, 0, 0], [2.0, 0, 0, 0], [0, 0, 0, 1]])
    volume = Volume(values, affine, "2.25.9", tuple(str(h.SOPInstanceUID) for h in headers))
    segments = tuple(
        Segment(f"s{n}", f"Organ {n}", labels == n, ORGAN, LUNG, None, (n * 5, 255 - n * 5, 90)) for n in range(1, SEGMENTS + 1)
    )
    measured = tuple(Measurement(f"v{s.id}", "Volume", VOLUME, float(s.mask.sum() * volume.voxel_ml), ML, "", None, s.id) for s in segments)
    result = InferenceResult(IDENTITY, ORGAN, None, measured, segments, (), (), (), datetime.now(UTC), 0.0)
    return BuildRequest(JobKey("2.25.5", 1, "benchmark", "0" * 64), headers, volume, result, "0", "BENCHMARK", form=form)


def measure(asked: BuildRequest, name: str) -> dict[str, object]:
    begin, computed = perf_counter(), process_time()
    objects = build_results(asked)
    built, computed = perf_counter() - begin, process_time() - computed
    sizes: dict[str, int] = {}
    for item in objects:
        buffer = BytesIO()
        item.data_set.save_as(buffer, enforce_file_format=True)
        sizes[item.kind] = sizes.get(item.kind, 0) + buffer.tell()
    frames = next((int(o.data_set.NumberOfFrames) for o in objects if o.kind == "SEG"), 0)
    return {
        "name": name,
        "seconds": round(built, 2),
        "cpu_seconds": round(computed, 2),
        "frames": frames,
        "megabytes": {k: round(v / 1e6, 2) for k, v in sizes.items()},
    }


def radiograph() -> BuildRequest:
    """Two findings, one with a box, on an image of 2500 x 2048."""
    [header] = made_radiograph()
    values = header.pixel_array.astype(np.float32)
    frames = FrameSet((Frame(values, str(header.SOPInstanceUID), 1, (0.143, 0.143), (1000.0, 1600.0)),))
    corners = ((600.0, 500.0), (900.0, 500.0), (900.0, 700.0), (600.0, 700.0), (600.0, 500.0))
    box = ImageRegion(str(header.SOPInstanceUID), 1, RegionKind.POLYLINE, corners)
    found = (Finding("nodule", 1, "Nodule", NODULE, 0.9, LUNG, box), Finding("effusion", 1, "Effusion", EFFUSION, 0.1, None, None))
    result = InferenceResult(IDENTITY, LUNG, None, (), (), (), (), (), datetime.now(UTC), 0.0, findings=found)
    return BuildRequest(JobKey(str(header.StudyInstanceUID), 1, "benchmark", "0" * 64), [header], frames, result, "0", "BENCHMARK")


def on_disk(asked: BuildRequest, name: str, rounds: int, folder: Path) -> dict[str, object]:
    """Measure one case in turn with its bare loop."""
    files = InstanceFiles(folder)
    files.prepare()
    profiles = [PRESETS[DEFAULT_PROFILE]]
    write_results(files, 1, build_for_profiles(asked, profiles))  # loads tables and fonts
    taken: list[tuple[float, ...]] = []
    for _ in range(rounds):
        marks = [(perf_counter(), process_time())]
        objects = build_for_profiles(asked, profiles)
        marks.append((perf_counter(), process_time()))
        write_results(files, 1, objects)
        marks.append((perf_counter(), process_time()))
        for number, item in enumerate(objects):
            item.data_set.save_as(folder / f"bare-{number}.dcm", enforce_file_format=True)
        marks.append((perf_counter(), process_time()))
        taken.append(tuple(later[of] - earlier[of] for earlier, later in pairwise(marks) for of in (0, 1)))
    build, build_cpu, write, write_cpu, bare, bare_cpu = (median(one[n] for one in taken) for n in range(6))
    return {
        "name": name,
        "objects": len(objects),
        "build_s": round(build, 3),
        "write_s": round(write, 3),
        "cpu_s": round(build_cpu + write_cpu, 3),
        "bare_s": round(bare, 3),
        "bare_cpu_s": round(bare_cpu, 3),
        "cpu_ratio": round((build_cpu + write_cpu) / bare_cpu, 1),
    }


def written(asked: BuildRequest, rounds: int) -> list[dict[str, object]]:
    """Measure the cases that differ in what they cost: one image, two segments, fifty."""
    result = asked.result
    two = dataclasses.replace(result, segments=result.segments[:2], measurements=result.measurements[:2])
    cases = {"radiograph, two findings": radiograph(), "two segments": dataclasses.replace(asked, result=two), "fifty segments": asked}
    with tempfile.TemporaryDirectory() as name:
        return [on_disk(case, label, rounds, Path(name) / str(number)) for number, (label, case) in enumerate(cases.items())]


def main() -> None:
    """Build each form once and print what it costs, then whole sets on disk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=5, help="of what is written to disk")
    parser.add_argument("--only", choices=("forms", "disk"), help="one part")
    arguments = parser.parse_args()
    only = frozenset({ObjectKind.SEG})
    forms = {
        "binary": ResultForm(objects=only),
        "label map": ResultForm(objects=only, seg_kind=SegKind.LABELMAP),
        "label map, RLE": ResultForm(objects=only, seg_kind=SegKind.LABELMAP, rle=True),
        "fractional": ResultForm(objects=only, seg_kind=SegKind.FRACTIONAL),
        "fractional, RLE": ResultForm(objects=only, seg_kind=SegKind.FRACTIONAL, rle=True),
        "SR, binary, pictures": ResultForm(),
        "everything, label map RLE": ResultForm(objects=frozenset(ObjectKind), seg_kind=SegKind.LABELMAP, rle=True),
    }
    asked = request(organs(), ResultForm())
    figures = []
    for name, form in forms.items() if arguments.only != "disk" else ():
        figure = measure(dataclasses.replace(asked, form=form), name)
        figures.append(figure)
        if arguments.json:
            continue
        sizes = ", ".join(f"{kind} {size} MB" for kind, size in figure["megabytes"].items())  # type: ignore[attr-defined]
        print(
            f"{figure['name']:26} {figure['seconds']:6} s  {figure['cpu_seconds']:6} s of CPU  {figure['frames']:5} frames  {sizes}",
            flush=True,
        )
    disk = written(asked, arguments.rounds) if arguments.only != "forms" else []
    if arguments.json:
        print(json.dumps({"name": "results", "forms": figures, "disk": disk}, indent=1))
        return
    for case in disk:
        print(
            f"{case['name']:26} {case['objects']:3} objects  built {case['build_s']} s, on disk {case['write_s']} s later, "
            f"{case['cpu_s']} s of CPU; bare {case['bare_s']} s, {case['bare_cpu_s']} s of CPU: {case['cpu_ratio']} times"
        )


if __name__ == "__main__":
    main()
