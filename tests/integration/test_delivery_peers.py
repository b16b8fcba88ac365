"""Deliveries to real archives: Orthanc with storage commitment, dcmqrscp, and a storescp that takes Implicit VR alone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian, RLELossless

from dicom_node.domain.jobs import DeliveryState, JobState
from dicom_node.pipeline import committing
from dicom_node.storage import Database
from tests.acceptance.orthanc import Orthanc
from tests.conftest import free_port
from tests.integration.delivery_house import House, listening
from tests.integration.query_peers import Dcmqrscp


@pytest.fixture
def implicit_only(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    folder, port = tmp_path / "storescp", free_port()
    folder.mkdir()
    process = subprocess.Popen(["/usr/bin/storescp", "+xi", "-od", str(folder), str(port)])
    echo = ["/usr/bin/echoscu", "127.0.0.1", str(port)]
    Orthanc.wait_until(lambda: subprocess.run(echo, capture_output=True, check=False).returncode == 0, 10)
    yield port, folder
    process.terminate()
    process.wait(10)


def test_orthanc_stores_and_commits_on_a_new_association(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committing, "HOLD_S", 0.1)
    with listening(tmp_path / "data") as our_port:
        pacs = Orthanc(tmp_path / "pacs", our_port)
        pacs.start()
        house = House(tmp_path, database, 2, pacs.dicom_port)
        house.commit("require")

        def committed() -> bool:
            house.sender.start_due(datetime.now(UTC))
            return house.states() == [DeliveryState.COMMITTED] * 2

        try:
            house.turn()
            Orthanc.wait_until(committed, 20)
            assert "committed, reported on the new association" in house.show()
            assert house.job_state() is JobState.DONE
        finally:
            house.sender.close()
            pacs.close()


def test_compressed_object_reaches_an_archive_of_implicit_vr_alone(
    tmp_path: Path, database: Database, implicit_only: tuple[int, Path]
) -> None:
    port, folder = implicit_only
    house = House(tmp_path, database, 1, port)
    original = compressed(house.paths[0])
    house.turn()
    house.sender.close()
    assert house.states() == [DeliveryState.SENT]
    [received] = [pydicom.dcmread(path) for path in folder.iterdir()]
    assert received.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert received.PixelData == original


def test_dcmqrscp_gets_a_compressed_object(tmp_path: Path, database: Database) -> None:
    archive = Dcmqrscp(tmp_path / "archive", free_port())
    house = House(tmp_path, database, 1, archive.port, "DCMQRSCP")
    original = compressed(house.paths[0])
    try:
        house.turn()
        assert house.states() == [DeliveryState.SENT]
        [received] = [pydicom.dcmread(path) for path in (tmp_path / "archive" / "db").iterdir() if path.suffix == ".dcm"]
        if received.file_meta.TransferSyntaxUID.is_compressed:
            received.decompress()
        assert received.PixelData == original
    finally:
        house.sender.close()
        archive.close()


def compressed(path: Path) -> bytes:
    """Compress a file in its place; returns the pixel data it had."""
    ds = pydicom.dcmread(path)
    original = bytes(ds.PixelData)
    ds.compress(RLELossless)
    ds.save_as(path)
    return original
