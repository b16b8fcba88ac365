"""Tests that need an NVIDIA GPU; the driver alone is asked whether there is one, before any other library."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.inference.engines.probe import cuda_devices_apart

FOUND = cuda_devices_apart()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.gpu)
            if not FOUND.devices:
                item.add_marker(pytest.mark.skip(reason=f"no GPU: {FOUND.reason}"))
