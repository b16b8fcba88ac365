from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.daemon import Daemon
from tests.acceptance.orthanc import Orthanc
from tests.conftest import free_port


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Orthanc]]:
    """A node and a PACS, both running."""
    folder = tmp_path_factory.mktemp("house")
    yield from _running(folder, "1s")


@pytest.fixture
def patient_house(tmp_path: Path) -> Iterator[tuple[Daemon, Orthanc]]:
    """The same with a quiet period long enough for a sender that must try again."""
    yield from _running(tmp_path, "10s")


def _running(folder: Path, quiet: str) -> Iterator[tuple[Daemon, Orthanc]]:
    port = free_port()
    pacs = Orthanc(folder / "pacs", port)
    daemon = Daemon(folder / "node", pacs.dicom_port, quiet, port)
    try:
        pacs.start()
        daemon.start()
        yield daemon, pacs
    finally:
        daemon.close()
        pacs.close()
