from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.gate.bundles import announce


@pytest.fixture(scope="package")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    announce(folder)
    return folder


@pytest.fixture(autouse=True)
def _tiny_model_is_installed(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(packages))
