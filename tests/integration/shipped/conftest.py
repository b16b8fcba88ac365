"""The bundles that ship, with their networks; fetched and converted once for all processes of a test run."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import dicom_node
from tests.conftest import ROOT


def _once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Let one of the processes of a test run make a folder, and the others wait for it."""
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = shared / name, shared / f"{name}.done"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            done.touch()
    return folder


def _added(name: str) -> Callable[[Path], None]:
    def add(folder: Path) -> None:
        shutil.copytree(ROOT / "config" / "models" / name, folder / name, ignore=shutil.ignore_patterns("*.onnx"))
        done = dicom_node("models", "add", name, "--models-dir", folder)
        assert done.code == 0, done.err
        (folder / "added.txt").write_text(done.out)

    return add


@pytest.fixture(scope="session")
def brain_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the bundle brain-extraction, its networks converted from the wheel; `added.txt` holds what the command said."""
    pytest.importorskip("torch", reason="the extra torch is not installed: the networks cannot be converted")
    return _once(tmp_path_factory, "brain-extraction", _added("brain-extraction"))


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the bundle burned-in-text."""
    return _once(tmp_path_factory, "burned-in-text", _added("burned-in-text"))
