"""From files to values, per transfer syntax, beside what a plain script does: `dcmread(path).pixel_array`, times slope, plus intercept.

The images are a real 512 x 512 CT slice in so many frames and a real colour ultrasound loop, both from the package pydicom-data. Both sides
read the same file in turn, in one run; the values are compared. Peak memory is that of a process of its own that reads one big file.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import gdcm
import numpy as np
import pydicom
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from dicom_node.domain.frames import FrameSet
from dicom_node.inference import DecodingLimits, images_from_instances, read_instances

DATA = Path(str(files("data_store"))) / "data"
SYNTAXES = (ExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEGLosslessSV1, JPEG2000Lossless)


def ct(frames: int) -> pydicom.Dataset:
    """One CT slice in so many frames, each one shifted, 2.5 mm apart."""
    ds = pydicom.dcmread(DATA / "693_UNCR.dcm")
    pixels = ds.pixel_array
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    ds.NumberOfFrames = frames
    ds.PixelData = b"".join(np.roll(pixels, number, axis=0).tobytes() for number in range(frames))
    del ds["PixelPaddingValue"]
    groups = []
    for number in range(frames):
        position, group = pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = [0, 0, 2.5 * number]
        group.PlanePositionSequence = [position]
        groups.append(group)
    shared, orientation, measures = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    orientation.ImageOrientationPatient, measures.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.7, 0.7]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], groups
    return ds


def write(ds: pydicom.Dataset, syntax: pydicom.uid.UID, path: Path) -> Path:
    """Write the data set in a transfer syntax."""
    ds = copy.deepcopy(ds)
    if syntax == JPEGLosslessSV1:
        ds.save_as(path)
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(path))
        reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        change.Change()
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.Write()
        return path
    if syntax.is_encapsulated:
        ds.compress(syntax, generate_instance_uid=False)
    ds.save_as(path)
    return path


def plain(path: Path) -> np.ndarray:
    """Read as a plain script does."""
    ds = pydicom.dcmread(path)
    if ds.SamplesPerPixel == 3:
        return ds.pixel_array
    values = ds.pixel_array.astype(np.float32)
    values *= np.float32(ds.get("RescaleSlope", 1))
    values += np.float32(ds.get("RescaleIntercept", 0))
    return values


def ours(path: Path, threads: int) -> np.ndarray:
    """Read as the node does."""
    instances, limits = read_instances([path]), DecodingLimits(threads=threads)
    images = images_from_instances("frames" if "color" in path.name else "volume", instances, None, limits).images
    return np.stack([f.values for f in images.frames]) if isinstance(images, FrameSet) else images.values


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Time one call: by the clock, and CPU of all threads."""
    begin, cpu = perf_counter(), process_time()
    work()
    return perf_counter() - begin, process_time() - cpu


def compare(path: Path, rounds: int, threads: int) -> dict[str, float]:
    """Read the file in turn, and check that both see the same."""
    same = np.array_equal(ours(path, threads), plain(path))
    if not same and "color" not in path.name:
        raise SystemExit(f"{path.name}: values differ")
    pairs = [(seconds(lambda: ours(path, threads)), seconds(lambda: plain(path))) for _ in range(rounds)]
    ratios = sorted(o[0] / p[0] for o, p in pairs)
    return {
        "ours_ms": min(o[0] for o, _ in pairs) * 1e3,
        "plain_ms": min(p[0] for _, p in pairs) * 1e3,
        "ratio": median(ratios),
        "worst": ratios[-1],
        "cpu_ratio": median(o[1] / p[1] for o, p in pairs),
    }


def peak_mb(path: Path, how: str) -> float:
    """Read the file in a process of its own; its peak resident memory less what its imports took."""
    done = subprocess.run([sys.executable, __file__, "--peak-of", how, str(path)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def print_peak(how: str, path: Path) -> None:
    """Print by how much reading the file raised the peak."""
    before = high_water_mb()
    values = plain(path) if how == "plain" else ours(path, 2)
    print(high_water_mb() - before if values.size else 0)


def high_water_mb() -> float:
    """Return this process's own peak; that of getrusage begins with its parent's."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    """Measure all syntaxes and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--big-frames", type=int, default=800, help="frames of the file for peak memory; 0 leaves it out")
    parser.add_argument("--peak-of", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak_of:
        print_peak(arguments.peak_of[0], Path(arguments.peak_of[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        source, folder = ct(arguments.frames), Path(name)
        paths = {syntax.name: write(source, syntax, folder / f"{syntax.keyword}.dcm") for syntax in SYNTAXES}
        paths["JPEG Baseline, 120 colour frames"] = DATA / "color3d_jpeg_baseline.dcm"
        found: dict[str, dict[str, float]] = {s: compare(p, arguments.rounds, arguments.threads) for s, p in paths.items()}
        if arguments.big_frames:
            big = write(ct(arguments.big_frames), ExplicitVRLittleEndian, folder / "big.dcm")
            found["peak memory"] = {how: peak_mb(big, how) for how in ("ours", "plain")} | {"file_mb": big.stat().st_size / 2**20}
    if arguments.json:
        print(json.dumps(found))
        return
    for syntax, figures in found.items():
        print(f"{syntax:60} " + "  ".join(f"{key} {value:9.2f}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
