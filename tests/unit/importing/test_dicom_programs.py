"""Programs that speak DICOM: they get the received files, and answer with a segmentation object."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import yaml

from dicom_node.domain.volume import Volume
from dicom_node.errors import ModelError
from dicom_node.inference import load_bundle, open_model
from dicom_node.inference.bundle.inputs_schema import InputSlot
from dicom_node.pipeline.model_engines import read_folder
from tests.unit.importing.test_programs import BALL
from tests.unit.inference.steps.bundles import whole_manifest
from tests.unit.pixels.series import Block, saved, single_frames

SEGMENTER = """
import glob, sys, numpy as np, pydicom, highdicom as hd
from pydicom.sr.codedict import codes
files = [pydicom.dcmread(path) for path in glob.glob(sys.argv[1] + "/*.dcm")]
files.sort(key=lambda file: -float(file.ImagePositionPatient[2]))   # from the other end
for file in files:
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber", "StudyDate", "StudyTime"):
        if keyword not in file: setattr(file, keyword, "")
mask = np.stack([file.pixel_array > np.median(file.pixel_array) for file in files]).astype(np.uint8)
described = hd.seg.SegmentDescription(1, "ball", codes.SCT.Tissue, codes.SCT.Tissue, "MANUAL")
seg = hd.seg.Segmentation(files, mask, "BINARY", [described], hd.UID(), 1, hd.UID(), 1, "a", "b", "c", "d", omit_empty_frames=True)
CHANGE
seg.save_as(sys.argv[2] + "/ball.dcm")
"""


@pytest.mark.parametrize("change", ["", "seg.FrameOfReferenceUID = '1.2.3.4'"])
def test_segmentation_object_lands_on_the_slices_that_it_refers_to(change: str, tmp_path: Path) -> None:
    slices = single_frames(Block())
    (tmp_path / "series").mkdir()
    saved(slices, tmp_path / "series")
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "run.py").write_text(SEGMENTER.replace("CHANGE", change))
    manifest = whole_manifest({"outputs": {"segments": [{**BALL, "output": "ball.dcm"}]}})
    argv = [sys.executable, "{bundle}/run.py", "{input}", "{output}"]
    manifest["network"] = {"format": "command", "command": argv, "input_files": "dicom"}
    (folder / "model.yaml").write_text(yaml.safe_dump(manifest))
    given = read_folder(tmp_path / "series", InputSlot(name="images", kind="volume"))
    assert isinstance(given.images, Volume)
    model = open_model(load_bundle(folder))
    if change:
        with pytest.raises(ModelError, match="its Frame of Reference is another one"):
            model.run({"images": given}, datetime(2024, 1, 2, tzinfo=UTC))
        return
    [segment] = model.run({"images": given}, datetime(2024, 1, 2, tzinfo=UTC)).segments
    wanted = np.stack([values > np.median(values) for values in given.images.values])
    np.testing.assert_array_equal(segment.mask, wanted)
    assert wanted.any()
