"""An archive that takes Basic Text SR and pictures alone, on the running node; the sender is killed while the text is built."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pydicom
import pytest

from tests.acceptance.daemon import Daemon
from tests.acceptance.orthanc import Orthanc
from tests.conftest import free_port
from tests.phantoms import chest_series, write

pytestmark = pytest.mark.acceptance
TEXT, CAPTURE = "1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.7"
NEGOTIATION = f"""\
[[TransferSyntaxes]]
[Uncompressed]
TransferSyntax1 = LittleEndianExplicit
TransferSyntax2 = LittleEndianImplicit
[[PresentationContexts]]
[Old]
PresentationContext1 = 1.2.840.10008.1.1\\Uncompressed
PresentationContext2 = {TEXT}\\Uncompressed
PresentationContext3 = {CAPTURE}\\Uncompressed
[[Profiles]]
[Default]
PresentationContexts = Old
"""


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    folder, port, negotiation = tmp_path / "archive", free_port(), tmp_path / "negotiation.cfg"
    folder.mkdir()
    negotiation.write_text(NEGOTIATION)
    process = subprocess.Popen(["/usr/bin/storescp", "-xf", str(negotiation), "Default", "-od", str(folder), str(port)])
    echo = ["/usr/bin/echoscu", "127.0.0.1", str(port)]
    Orthanc.wait_until(lambda: subprocess.run(echo, capture_output=True, check=False).returncode == 0, 10)
    yield port, folder
    process.terminate()
    process.wait(10)


def builders(daemon: Daemon) -> list[psutil.Process]:
    """Children of the sender that build."""
    with contextlib.suppress(psutil.Error, FileNotFoundError):
        return [p for p in psutil.Process(daemon.child("sender-0")).children() if "dicom_node.pipeline.results.apart" in p.cmdline()]
    return []


def test_text_is_built_for_an_archive_that_takes_no_other_report(archive: tuple[int, Path], tmp_path: Path) -> None:
    port, folder = archive
    daemon = Daemon(tmp_path / "node", port)
    daemon.node["destinations"][0]["profile"] = "generic-pacs"  # type: ignore[index]
    daemon.write()
    try:
        daemon.start()
        series = write(chest_series(), tmp_path / "series")
        send = ["/usr/bin/storescu", "-aet", "CT", "-aec", "AINODE", "127.0.0.1", str(daemon.port)]
        subprocess.run([*send, *map(str, series)], check=True)
        Orthanc.wait_until(lambda: bool(builders(daemon)), 60)
        [building] = builders(daemon)
        os.kill(daemon.child("sender-0"), signal.SIGKILL)
        building.wait(10)  # it ends with its parent
        Orthanc.wait_until(lambda: daemon.jobs()[0]["state"] in ("DONE", "FAILED"), 60)
        [job] = daemon.jobs()
        assert (job["state"], job["reason"]) == ("DONE", "delivered; pacs takes no SEG 1, Secondary Capture was sent")
        received = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.iterdir()]
        assert sorted(ds.SOPClassUID for ds in received) == [CAPTURE] * 7 + [TEXT]
        report = json.loads(daemon.run("jobs", "result", str(job["id"]), "--json").stdout)
        assert {ds.SOPInstanceUID for ds in received} < {o["sop_instance_uid"] for o in report["objects"]}
        assert "SR 1 (went as Basic Text SR)" in " ".join(daemon.run("deliveries", "show", str(n)).stdout for n in range(1, 10))
        told = daemon.run("doctor").stdout
        assert "none refused or given up" in told, told
    finally:
        daemon.close()
