"""Fixtures that several kinds of test share."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from dicom_node.cli.demo_data import write_series
from dicom_node.scp.accelerator import SWITCH, accelerator
from dicom_node.storage import Database, InstanceFiles

ROOT = Path(__file__).parents[1]

# A busy machine is no fault, and the same commit gives the same answer twice; `pytest --hypothesis-profile=explore` looks further.
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, derandomize=False, max_examples=2000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


@pytest.fixture(scope="session")
def lidc_series(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The LIDC-IDRI-0001 chest CT, 133 slices in inferior to superior order."""
    return write_series(tmp_path_factory.mktemp("lidc"))


@pytest.fixture
def files(tmp_path: Path) -> InstanceFiles:
    store = InstanceFiles(tmp_path / "data")
    store.prepare()
    return store


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'node.db'}")
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture(params=["accelerated", "python"])
def receive_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which part of the receive path serves: the compiled one with Python behind it, or Python alone."""
    way = str(request.param)
    if way == "python":
        monkeypatch.setenv(SWITCH, "off")
    else:
        monkeypatch.delenv(SWITCH, raising=False)
        if accelerator().pump is None:
            pytest.skip(f"the accelerator is {accelerator().words}: {accelerator().hint}")
    return way


def free_port() -> int:
    """A TCP port on loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
