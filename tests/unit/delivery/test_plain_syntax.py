from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from dicom_node.delivery.plain_syntax import in_explicit_little_endian
from tests.phantoms import chest_series, write


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, DeflatedExplicitVRLittleEndian])
def test_the_same_instance_is_written_with_the_same_pixels_and_is_gone_afterwards(tmp_path: Path, syntax: str) -> None:
    [path] = write(chest_series()[:1], tmp_path)
    original, ds = pydicom.dcmread(path), pydicom.dcmread(path)
    if syntax == DeflatedExplicitVRLittleEndian:
        ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    else:
        ds.compress(syntax, generate_instance_uid=False)
    ds.save_as(path)
    with in_explicit_little_endian(path) as plain:
        assert plain is not None
        found = pydicom.dcmread(plain)
        assert found.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert found.file_meta.MediaStorageSOPInstanceUID == found.SOPInstanceUID == original.SOPInstanceUID
        assert found.PixelData == original.PixelData
    assert not plain.exists()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_what_is_plain_already_or_cannot_be_made_so_is_left(tmp_path: Path, syntax: str) -> None:
    [path] = write(chest_series()[:1], tmp_path)
    if syntax != ExplicitVRLittleEndian:
        ds = Dataset()
        ds.SOPInstanceUID, ds.file_meta = "1.2", pydicom.dcmread(path).file_meta
        ds.file_meta.TransferSyntaxUID = syntax
        ds.save_as(path, enforce_file_format=True)
    with in_explicit_little_endian(path) as plain:
        assert plain is None


def test_a_broken_file_is_left(tmp_path: Path) -> None:
    (tmp_path / "broken.dcm").write_bytes(b"nothing")
    with in_explicit_little_endian(tmp_path / "broken.dcm") as plain:
        assert plain is None
