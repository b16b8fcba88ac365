"""docs/pixels.md says what the program does."""

from __future__ import annotations

import re

import pytest
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from dicom_node.inference.pixels.plugins import FASTEST_FIRST
from tests.conftest import ROOT

ROWS = {
    "JPEG Baseline": (JPEGBaseline8Bit,),
    "JPEG Extended, 12 bit": (JPEGExtended12Bit,),
    "JPEG Lossless": (JPEGLossless, JPEGLosslessSV1),
    "JPEG-LS": (JPEGLSLossless, JPEGLSNearLossless),
    "JPEG 2000 Lossless": (JPEG2000Lossless,),
    "JPEG 2000": (JPEG2000,),
    "HTJ2K": (HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K),
    "RLE Lossless": (RLELossless,),
}


@pytest.mark.parametrize("row", ROWS)
def test_plug_ins_stand_in_the_order_in_which_they_are_asked(row: str) -> None:
    text = (ROOT / "docs" / "pixels.md").read_text("utf-8")
    [named] = re.findall(rf"^\| {re.escape(row)} \| ([a-z0-9, ]+) \|$", text, re.MULTILINE)
    assert all(tuple(named.split(", ")) == FASTEST_FIRST[uid] for uid in ROWS[row])


def test_every_transfer_syntax_with_plug_ins_has_its_row() -> None:
    assert {uid for uids in ROWS.values() for uid in uids} == set(FASTEST_FIRST)
