"""Through the daemon: results return to their sender, and by STOW-RS to a second archive; images go on there; the sender is killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.daemon import MODEL, Daemon
from tests.acceptance.orthanc import Orthanc
from tests.conftest import free_port
from tests.integration.query_peers import DICOMWEB, SlowLine
from tests.phantoms import chest_series, write

pytestmark = pytest.mark.acceptance


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[tuple[Daemon, Orthanc, Orthanc]]:
    port = free_port()
    pacs, neuro = Orthanc(tmp_path / "pacs", port), Orthanc(tmp_path / "neuro", port, DicomAet="NEURO", **DICOMWEB)
    line = SlowLine(neuro.dicom_port, 50_000)
    daemon = Daemon(tmp_path / "node", pacs.dicom_port, "1s", port)
    daemon.node["peers"][0] |= {"host": "127.0.0.1", "port": pacs.dicom_port}
    daemon.node["destinations"] += [
        {"name": "back", "type": "sender", "profile": "generic-pacs", "commit": "require"},
        {"name": "neuro", "ae_title": "NEURO", "host": "127.0.0.1", "port": line.port, "timeout": "10s"},
        {"name": "neuro-web", "type": "stow", "url": f"http://127.0.0.1:{neuro.http_port}/dicom-web", "timeout": "10s"},
    ]
    [rule] = daemon.rules["rules"]
    rule |= {"send_to": ["back", "neuro-web"], "forward_to": ["neuro", "pacs"]}
    daemon.write()
    try:
        pacs.start()
        neuro.start()
        daemon.start()
        yield daemon, pacs, neuro
    finally:
        daemon.close()
        line.close()
        neuro.close()
        pacs.close()


def test_results_return_and_images_go_on_though_the_sender_is_killed(hospital: tuple[Daemon, Orthanc, Orthanc], tmp_path: Path) -> None:
    daemon, pacs, neuro = hospital
    series = chest_series()
    study = str(series[0].StudyInstanceUID)
    pacs.push(pacs.add(write(series, tmp_path / "series")))

    def arrived() -> int:
        return int(neuro.client.get("/statistics").json()["CountInstances"])

    Orthanc.wait_until(lambda: arrived() > 2, 60, every_s=0.02)
    daemon.kill_child("sender-0")
    assert 2 < arrived() < len(series)

    def through() -> bool:
        jobs = daemon.jobs()
        assert not any(job["state"] == "FAILED" for job in jobs), jobs
        return len(jobs) == 2 and all(job["state"] == "DONE" for job in jobs)

    Orthanc.wait_until(through, 90)
    kept = {str(ds.SOPInstanceUID): ds.PixelData for ds in neuro.read(study, "CT")}
    assert kept == {str(ds.SOPInstanceUID): ds.PixelData for ds in series}
    assert pacs.results(study) == neuro.results(study) == {"SR": 1, "SEG": 1, "OT": 7}
    run, forwarding = sorted(daemon.jobs(), key=lambda job: str(job["model"]))
    assert (run["model"], forwarding["model"]) == (MODEL, "forward")
    found = daemon.run("jobs", "show", str(forwarding["id"]))
    assert f"forwards {len(series)} instances to neuro; forwards 0 instances to pacs, {len(series)} came from there" in found.stdout
    shown = daemon.run("jobs", "show", str(run["id"])).stdout
    assert "back@pacs" in shown
    assert "COMMITTED" in shown
