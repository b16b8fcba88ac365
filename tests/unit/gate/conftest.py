from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.gate.bundles import announce


@pytest.fixture(scope="package", autouse=True)
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which the tiny model is installed."""
    folder = tmp_path_factory.mktemp("packages")
    announce(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield folder
