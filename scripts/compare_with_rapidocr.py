"""Compares burned-in text with rapidocr's own program on pydicom's test images: python -m scripts.compare_with_rapidocr MODELS_DIR.

rapidocr-onnxruntime runs in a virtual environment of its own (OpenCV and others come with it), made in a temporary folder. Prints figures
alone; what is read is compared here and shown nowhere. The rule for single characters is left out, which rapidocr does not have.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image

from dicom_node.inference.backends import Network, SessionOptions, open_session
from dicom_node.inference.models.pictures import shown
from dicom_node.inference.models.text_detection import detection_tensor, searched, text_boxes
from dicom_node.inference.models.text_reading import TextReader, characters_of
from dicom_node.inference.pixels import images_from_instances

PACKAGES = ("rapidocr-onnxruntime==1.4.4", "onnxruntime==1.32.0")
FOLDERS = {"data_store": "data", "pydicom": "data/test_files", "pynetdicom": "tests/dicom_files"}
_PYDICOM_DATA = (
    "JPGLosslessP14SV1_1s_1f_8b OBXXXX1A OBXXXX1A_rle_2frame RG1_UNCR RG3_UNCR US1_UNCR color-pl color-px color3d_jpeg_baseline "
    "gdcm-US-ALOKA-16 mlut_18 vlut_04 MR2_UNCR MR-SIEMENS-DICOM-WithOverlays 693_UNCR JPEG2000_UNC SC_rgb eCT_Supplemental"
)
IMAGES = {
    "data_store": _PYDICOM_DATA.split(),
    "pydicom": ["GDCMJ2K_TextGBR", "image_dfl", "SC_rgb_jpeg_dcmd", "examples_overlay"],
    "pynetdicom": ["RTImageStorage"],
}
PROGRAM = """
import json, sys, cv2
from pathlib import Path
from rapidocr_onnxruntime import RapidOCR
engine = RapidOCR(intra_op_num_threads=2)
found = {p.stem: [[box, text] for box, text, _ in engine(cv2.imread(str(p)))[0] or []] for p in sorted(Path(sys.argv[1]).glob("*.png"))}
Path(sys.argv[1], "found.json").write_text(json.dumps(found))
"""


def write_pictures(folder: Path) -> None:
    for package, names in IMAGES.items():
        spec = find_spec(package)
        for name in names:
            instance = pydicom.dcmread(Path(spec.origin).parent / FOLDERS[package] / f"{name}.dcm")
            frame = images_from_instances("frames", [instance]).images.frames[0]
            Image.fromarray(shown(frame)).save(folder / f"{name}.png")


def found_by_rapidocr(folder: Path) -> dict[str, list[tuple[list[list[float]], str]]]:
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    subprocess.run([python, "-c", PROGRAM, folder], check=True)
    return json.loads((folder / "found.json").read_text())


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    common = np.clip(np.minimum(a.max(0), b.max(0)) - np.maximum(a.min(0), b.min(0)), 0, None).prod()
    return float(common / (np.ptp(a, axis=0).prod() + np.ptp(b, axis=0).prod() - common))


def main(bundle: Path) -> None:
    sessions = [
        open_session("onnxruntime", "fp32", Network(bundle / f"{n}.onnx"), SessionOptions())
        for n in ("detection", "direction", "recognition")
    ]
    detection, direction, recognition = sessions
    for session in sessions:
        session.activate()
    reader = TextReader(direction, recognition, characters_of(bundle / "recognition.onnx"))
    total = np.zeros(4, int)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(folder)
        for stem, theirs in found_by_rapidocr(folder).items():
            picture = np.asarray(Image.open(folder / f"{stem}.png"))
            view = searched(picture)
            probability = next(iter(detection.infer({"x": detection_tensor(view.picture)}).values()))[0, 0]
            boxes = text_boxes(probability, view.picture.shape)
            readings = reader.read(view.picture, [box.corners for box in boxes])
            ours = [
                (view.to_original(b.corners, picture.shape), r.text) for b, r in zip(boxes, readings, strict=True) if r.confidence >= 0.5
            ]
            best = [max(ours, key=lambda o: overlap(np.array(box), o[0]), default=None) for box, _ in theirs]
            hits = [b is not None and overlap(np.array(box), b[0]) > 0.5 for (box, _), b in zip(theirs, best, strict=True)]
            alike = sum(hit and b[1] == text for hit, b, (_, text) in zip(hits, best, theirs, strict=True))
            line = np.array([len(theirs), len(ours), sum(hits), alike])
            total += line
            print(f"{stem:32} rapidocr {line[0]:3}  here {line[1]:3}  same place {line[2]:3}  read alike {line[3]:3}")
    print(f"{'all':32} rapidocr {total[0]:3}  here {total[1]:3}  same place {total[2]:3}  read alike {total[3]:3}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) / "burned-in-text")
