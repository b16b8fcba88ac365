from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.storage import Database
from tests.integration.notices.house import NoticeHouse


@pytest.fixture
def house(tmp_path: Path, database: Database) -> Iterator[NoticeHouse]:
    built = NoticeHouse(tmp_path, database)
    yield built
    built.close()
