"""docs/engines.md names every back end, option, kept operator and repair."""

from __future__ import annotations

from dataclasses import fields

import pytest

from dicom_node.inference.backends import available_backends
from dicom_node.inference.engines.precision import KEEP_FP32
from dicom_node.inference.engines.repairs import REPAIRS
from dicom_node.inference.network import SessionOptions
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "engines.md").read_text("utf-8")


@pytest.mark.parametrize("name", [*available_backends(), *(field.name for field in fields(SessionOptions)), *REPAIRS])
def test_back_ends_options_and_repairs_are_documented(name: str) -> None:
    assert f"`{name}`" in TEXT


def test_operators_that_stay_are_listed() -> None:
    assert f"Stay fp32 by default (`precision.KEEP_FP32`, each with its reason): {', '.join(sorted(KEEP_FP32))}." in TEXT.replace("\n", " ")
