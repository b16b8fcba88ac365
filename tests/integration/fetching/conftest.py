"""Archives for the tests of fetching: Orthanc by C-GET, C-MOVE and WADO-RS, and DCMTK's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.orthanc import Orthanc
from tests.conftest import free_port
from tests.integration.fetching.node import FetchNode
from tests.integration.query_peers import DICOMWEB, Dcmqrscp


@pytest.fixture(scope="module")
def node_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def pacs(node_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    allowed = dict.fromkeys(("DicomAlwaysAllowFind", "DicomAlwaysAllowGet", "DicomAlwaysAllowMove"), True)
    running = Orthanc(tmp_path_factory.mktemp("orthanc") / "pacs", node_port, **allowed, **DICOMWEB)
    running.start()
    yield running
    running.close()


@pytest.fixture(scope="module")
def dcmqrscp(node_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dcmqrscp]:
    running = Dcmqrscp(tmp_path_factory.mktemp("dcmqrscp") / "archive", node_port)
    yield running
    running.close()


@pytest.fixture
def sources(pacs: Orthanc, dcmqrscp: Dcmqrscp) -> list[dict[str, object]]:
    return [
        {"name": "get", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": pacs.dicom_port, "timeout": "10s"},
        {"name": "move", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": pacs.dicom_port, "retrieve": "move", "timeout": "10s"},
        {"name": "web", "url": f"http://127.0.0.1:{pacs.http_port}/dicom-web", "timeout": "10s"},
        {"name": "dcmqrscp", "ae_title": "DCMQRSCP", "host": "127.0.0.1", "port": dcmqrscp.port, "timeout": "10s"},
    ]


@pytest.fixture
def node(sources: list[dict[str, object]], node_port: int, tmp_path: Path) -> Iterator[FetchNode]:
    running = FetchNode(tmp_path, sources)
    running.listen(node_port)
    running.start()
    yield running
    running.close()
