"""A triage result on the running node: to a second archive, and to a second model whose worker is killed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.daemon import MODEL, Daemon
from tests.acceptance.orthanc import Orthanc
from tests.conftest import ROOT, free_port
from tests.phantoms import chest_series, write

pytestmark = pytest.mark.acceptance
ONE, TWO = {"SR": 1, "SEG": 1, "OT": 7}, {"SR": 2, "SEG": 2, "OT": 14}
SECOND = "second-look"

House = tuple[Daemon, Orthanc, Orthanc]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A node with two models and two archives: every result to the first, results of thin lungs and of the second model to the ward."""
    port = free_port()
    pacs, ward = Orthanc(tmp_path / "pacs", port), Orthanc(tmp_path / "ward", port)
    daemon = Daemon(tmp_path / "node", pacs.dicom_port, "1s", port)
    models = daemon.folder / "models"
    for name in (MODEL, SECOND):
        shutil.copytree(ROOT / "config" / "models" / MODEL, models / name)
        manifest = models / name / "model.yaml"
        manifest.write_text(manifest.read_text("utf-8").replace(f"name: {MODEL}", f"name: {name}"))
    daemon.node["models_dir"] = "models"
    daemon.node["destinations"] = [
        {"name": "pacs", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": pacs.dicom_port},
        {"name": "ward", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": ward.dicom_port},
    ]
    match = {"Modality": "CT"}
    daemon.rules["rules"] += [
        {
            "name": "to-ward",
            "match": match,
            "after": {"model": MODEL, "when": 'result.measurements["mean_hu"].value < -800.0'},
            "send_to": ["ward"],
        },
        {
            "name": SECOND,
            "match": match,
            "after": {"model": MODEL, "when": 'result.finding("Both lungs").present'},
            "model": SECOND,
            "priority": "stat",
        },
        {"name": "second-to-ward", "match": match, "after": {"model": SECOND}, "send_to": ["ward"]},
    ]
    daemon.write()
    try:
        pacs.start()
        ward.start()
        daemon.start()
        yield daemon, pacs, ward
    finally:
        daemon.close()
        pacs.close()
        ward.close()


def test_result_reaches_both_archives_once_though_workers_are_killed(house: House, tmp_path: Path) -> None:
    daemon, pacs, ward = house
    series = chest_series()
    study = str(series[0].StudyInstanceUID)
    pacs.push(pacs.add(write(series, tmp_path / "series")))
    for job in (1, 2):  # each worker dies while it runs the job, or just after
        Orthanc.wait_until(lambda job=job: f"job={job} " in daemon.log() and "job_started" in daemon.log(), 120)
        daemon.kill_child("worker-0")
    ward.wait_until(lambda: ward.results(study) == TWO, 120)
    pacs.wait_until(lambda: pacs.results(study) == ONE, 60)
    Orthanc.wait_until(lambda: all(j["state"] == "DONE" for j in daemon.jobs()), 60)
    assert sorted(j["key"]["rule"] for j in daemon.jobs()) == [MODEL, SECOND]
    assert (pacs.results(study), ward.results(study)) == (ONE, TWO)
    shown = daemon.run("studies", "show", study).stdout
    assert f"rule {SECOND}: run - after job" in shown
    assert "sends them to ward" in daemon.run("jobs", "show", "1").stdout
