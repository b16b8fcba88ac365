"""STOW-RS and a watched folder under `serve`: what comes in is indexed like what a PACS pushes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.daemon import Daemon
from tests.acceptance.orthanc import Orthanc
from tests.arrivals import CONTENT_TYPE, TOKEN, multipart
from tests.conftest import free_port
from tests.phantoms import chest_series, write

pytestmark = pytest.mark.acceptance


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "node")
    (tmp_path / "drop").mkdir()
    (daemon.folder / "token").write_text(TOKEN)
    daemon.node["web"] = {"enabled": True, "host": "127.0.0.1", "port": free_port()}
    daemon.node["stow"] = {"senders": [{"name": "gateway", "token_file": "token", "host": "localhost"}]}
    daemon.node["watch"] = [{"name": "drop", "folder": str(tmp_path / "drop"), "settle": "100ms", "after": "delete"}]
    daemon.write()
    yield daemon
    daemon.close()


def test_what_comes_by_http_and_by_folder_is_indexed_and_a_dead_process_comes_back(node: Daemon, tmp_path: Path) -> None:
    first, second = write(chest_series()[:2], tmp_path / "slices")
    node.start()
    client = httpx.Client(base_url=f"http://127.0.0.1:{node.node['web']['port']}")  # type: ignore[index]
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": CONTENT_TYPE}

    def healthy() -> bool:
        try:
            return client.get("/healthz").is_success
        except httpx.TransportError:
            return False

    Orthanc.wait_until(healthy, 20)
    node.kill_child("web-0")
    Orthanc.wait_until(lambda: "process_died" in node.log(), 20)
    Orthanc.wait_until(healthy, 20)
    assert client.post("/dicom-web/studies", content=multipart([first.read_bytes()]), headers=headers).status_code == 200
    shutil.copy(second, tmp_path / "drop")

    def indexed() -> int:
        studies = json.loads(node.run("studies", "list", "--json").stdout)
        return int(studies[0]["instances"]) if studies else 0

    Orthanc.wait_until(lambda: indexed() == 2, 20)
    assert not list((tmp_path / "drop").iterdir())
    client.close()
    assert node.stop() == 0
