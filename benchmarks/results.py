"""Size and time of result objects: 50 segments on 150 slices of 512 x 512, in every kind of segmentation, and of whole sets."""

from __future__ import annotations

import argparse
import dataclasses
import json
from datetime import UTC, datetime
from io import BytesIO
from time import perf_counter, process_time

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dicom_node.domain.jobs import JobKey
from dicom_node.domain.results import Code, InferenceResult, Measurement, ModelIdentity, Segment, Stage
from dicom_node.domain.volume import Volume
from dicom_node.sr_writer import BuildRequest, ObjectKind, ResultForm, SegKind, build_results

SLICES, SIDE, SEGMENTS = 150, 512, 50
LUNG, ORGAN = Code("39607008", "SCT", "Lung"), Code("91723000", "SCT", "Anatomical Structure")
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
    identity = ModelIdentity(
        "organs", "Organs", "1", "dicom-node", "0" * 64, "0" * 64, "2.25.4", "none", "none", Stage.RESEARCH, "benchmark"
    )
    segments = tuple(
        Segment(f"s{n}", f"Organ {n}", labels == n, ORGAN, LUNG, None, (n * 5, 255 - n * 5, 90)) for n in range(1, SEGMENTS + 1)
    )
    measured = tuple(Measurement(f"v{s.id}", "Volume", VOLUME, float(s.mask.sum() * volume.voxel_ml), ML, "", None, s.id) for s in segments)
    result = InferenceResult(identity, ORGAN, None, measured, segments, (), (), (), datetime.now(UTC), 0.0)
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


def main() -> None:
    """Build each form once and print what it costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
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
    for name, form in forms.items():
        figure = measure(dataclasses.replace(asked, form=form), name)
        figures.append(figure)
        if arguments.json:
            continue
        sizes = ", ".join(f"{kind} {size} MB" for kind, size in figure["megabytes"].items())  # type: ignore[attr-defined]
        print(
            f"{figure['name']:26} {figure['seconds']:6} s  {figure['cpu_seconds']:6} s of CPU  {figure['frames']:5} frames  {sizes}",
            flush=True,
        )
    if arguments.json:
        print(json.dumps({"name": "results", "forms": figures}, indent=1))


if __name__ == "__main__":
    main()
