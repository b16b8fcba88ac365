"""A real chest CT from the PACS, through the node, back into the PACS."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest

from dicom_node.cli.demo_data import ACCESSION_NUMBER, PATIENT_ID, STUDY_INSTANCE_UID, read_nifti
from dicom_node.sr_writer import read_measurements
from tests.acceptance.daemon import Daemon
from tests.acceptance.orthanc import Orthanc
from tests.phantoms import chest_series, write

pytestmark = pytest.mark.acceptance
TOOLS = Path(sys.executable).parent
EXPECTED = {"SR": 1, "SEG": 1, "OT": 7}
LOBES = [10, 11, 12, 13, 14]

House = tuple[Daemon, Orthanc]


@pytest.fixture(scope="module")
def processed(house: House, lidc_series: list[Path]) -> Iterator[House]:
    """The LIDC chest CT pushed by the PACS itself, and its results back."""
    _, pacs = house
    pacs.push(pacs.add(lidc_series))
    pacs.wait_until(lambda: pacs.results(STUDY_INSTANCE_UID) == EXPECTED, 120)
    return house


def one(pacs: Orthanc, modality: str) -> pydicom.FileDataset:
    [found] = pacs.read(STUDY_INSTANCE_UID, modality)
    return found


def reference() -> np.ndarray:
    labels, _ = read_nifti("mask.nii.gz")
    return np.isin(labels, LOBES).transpose(2, 1, 0)[:, ::-1]


def measured(pacs: Orthanc) -> dict[str, float]:
    return {m.code_value: m.value for m in read_measurements(one(pacs, "SR")).measurements}


def test_figures_agree_with_the_reference_label_map(processed: House) -> None:
    figures = measured(processed[1])
    hounsfield = np.maximum(read_nifti("cxr.nii.gz")[0].transpose(2, 1, 0)[:, ::-1], -1024)
    lobes = reference()
    volume_ml = np.count_nonzero(lobes) * 0.703125**2 * 2.5 / 1000
    assert figures["118565006"] == pytest.approx(volume_ml, rel=0.02)
    assert figures["LAA950"] == pytest.approx((hounsfield[lobes] < -950).mean() * 100, abs=0.5)


def test_segmentation_agrees_with_the_reference_label_map(processed: House) -> None:
    _, pacs = processed
    segmentation = highdicom.seg.Segmentation.from_dataset(one(pacs, "SEG"))
    lobes = reference()
    source = {d.SOPInstanceUID: d.InstanceNumber - 1 for d in pacs.read(STUDY_INSTANCE_UID, "CT")}
    mask = np.zeros(lobes.shape, np.bool_)
    uids = [u for s in segmentation.get_source_image_uids() for u in [s[2]]]
    frames = segmentation.get_pixels_by_source_instance(uids, combine_segments=True, ignore_spatial_locations=True)
    for uid, frame in zip(uids, frames, strict=True):
        mask[source[uid]] = frame
    dice = 2 * np.count_nonzero(mask & lobes) / (np.count_nonzero(mask) + np.count_nonzero(lobes))
    assert dice >= 0.97
    voxels_ml = np.count_nonzero(mask) * 0.703125**2 * 2.5 / 1000
    assert measured(pacs)["118565006"] == pytest.approx(voxels_ml, abs=0.1)


def test_warnings_and_intended_use_stand_in_the_report(processed: House) -> None:
    comments = " ".join(read_measurements(one(processed[1], "SR")).comments)
    for words in ("emphysema is underestimated", "Slice Thickness is 2.5", "Not for diagnosis", "Intended use"):
        assert words in comments


def test_every_object_passes_the_validators(processed: House, lidc_series: list[Path], tmp_path: Path) -> None:
    _, pacs = processed
    paths = []
    for modality in EXPECTED:
        for data_set in pacs.read(STUDY_INSTANCE_UID, modality):
            path = tmp_path / f"{data_set.SOPInstanceUID}.dcm"
            data_set.save_as(path)
            paths.append(path)
            done = subprocess.run([TOOLS / "dciodvfy", path], capture_output=True, text=True, check=False)
            assert [line for line in done.stderr.splitlines() if line.startswith("Error")] == []
            assert done.returncode == 0
    done = subprocess.run([TOOLS / "dcentvfy", *lidc_series, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1000:]


def test_dcmtk_reads_the_report(processed: House, tmp_path: Path) -> None:
    one(processed[1], "SR").save_as(tmp_path / "sr.dcm")
    dump = subprocess.run(["/usr/bin/dsrdump", tmp_path / "sr.dcm"], capture_output=True, text=True, check=True).stdout
    for value in measured(processed[1]).values():
        assert f'"{value}"' in dump or f'"{value:.0f}"' in dump or f'"{value:g}"' in dump


def test_second_push_and_pushed_back_results_run_nothing(processed: House) -> None:
    daemon, pacs = processed
    before = pacs.instances(STUDY_INSTANCE_UID)
    study = pacs.client.post("/tools/find", json={"Level": "Study", "Query": {"StudyInstanceUID": STUDY_INSTANCE_UID}}).json()[0]
    pacs.push(study)
    Orthanc.wait_until(lambda: not list((daemon.folder / "data" / "incoming").glob("*.dcm")), 30)
    assert len(daemon.jobs()) == 1
    own = len(list((daemon.folder / "data" / "studies").rglob("*.dcm")))
    assert own == 133 + sum(EXPECTED.values())
    other = chest_series()
    subprocess.run(
        ["/usr/bin/storescu", "-aet", "CT", "-aec", "AINODE", "127.0.0.1", str(daemon.port), *write(other, daemon.folder / "second")],
        check=True,
    )
    pacs.wait_until(lambda: pacs.results(other[0].StudyInstanceUID) == EXPECTED, 60)
    assert len(daemon.jobs()) == 2, "the first study would have been closed again before the second"
    assert pacs.instances(STUDY_INSTANCE_UID) == before


def test_logs_hold_nothing_of_the_patient(processed: House) -> None:
    log = processed[0].log()
    assert "study_closed" in log
    for value in (PATIENT_ID, ACCESSION_NUMBER, "Phantom", "PH-4711", "19600229", "ACC-0815"):
        assert value not in log


def test_commands_tell_what_happened(processed: House) -> None:
    daemon, _ = processed
    shown = daemon.run("studies", "show", STUDY_INSTANCE_UID)
    assert "rule chest-ct-densitometry: run" in shown.stdout
    assert daemon.run("studies", "list", "--json").returncode == 0
    job = daemon.jobs()[-1]["id"]
    text = daemon.run("jobs", "show", str(job)).stdout
    assert "DONE: delivered" in text
    assert "model" in text
    assert daemon.run("deliveries", "list").returncode == 0
    [sender] = [p for p in json.loads(daemon.run("top", "--json").stdout)["peers"] if p["peer"] == "ORTHANC"]
    assert sender["instances"] >= 133
    assert sender["durable_median_ms"] > 0
    assert "answered" in daemon.run("echo", "pacs").stdout
    assert daemon.run("doctor").returncode == 0, daemon.run("doctor").stdout


def test_second_node_on_the_same_folder_is_refused(processed: House) -> None:
    done = processed[0].run("serve")
    assert done.returncode == 1
    assert "another node runs on" in done.stderr
    assert "Traceback" not in done.stderr
