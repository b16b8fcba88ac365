from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.errors import PixelError
from dicom_node.inference import read_instances, volume_from_instances
from dicom_node.pipeline.headers import header_attributes
from dicom_node.sr_writer.normalise import normalised_headers
from tests.unit.pixels.series import PYDICOM, Block, enhanced, image, saved, single_frames


def is_unread(data_set: pydicom.Dataset) -> bool:
    element = data_set.get_item("PixelData", keep_deferred=True)
    return isinstance(element, RawDataElement) and element.value is None


def test_pixel_data_stay_in_the_file_until_they_are_wanted_and_also_then(tmp_path: Path) -> None:
    original = enhanced(single_frames(Block()))
    (read,) = read_instances(saved([original], tmp_path))
    volume, _ = volume_from_instances([read])
    assert is_unread(read)
    assert np.array_equal(volume.values, Block().stored() - 1024.0)
    assert read.PixelData == original.PixelData


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_asking_for_the_header_does_not_read_the_pixels(syntax: pydicom.uid.UID, tmp_path: Path) -> None:
    original = single_frames(Block())[0]
    original.file_meta.TransferSyntaxUID = syntax
    (read,) = read_instances(saved([original], tmp_path))
    attributes = header_attributes(read)
    normalised_headers([read], 1.0)
    assert attributes["Rows"] == ("8",)
    assert "PixelData" not in attributes
    assert is_unread(read)


def test_an_instance_that_was_read_can_go_to_another_process(tmp_path: Path) -> None:
    paths = saved(single_frames(Block()), tmp_path)
    sent = pickle.loads(pickle.dumps(read_instances(paths)))
    assert np.array_equal(volume_from_instances(sent)[0].values, Block().stored() - 1024.0)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_every_native_encoding_gives_the_same_values(syntax: pydicom.uid.UID, tmp_path: Path) -> None:
    slices = single_frames(Block())
    for ds in slices:
        ds.file_meta.TransferSyntaxUID = syntax
    volume, _ = volume_from_instances(read_instances(saved(slices, tmp_path)))
    assert np.array_equal(volume.values, Block().stored() - 1024.0)


@pytest.mark.filterwarnings("ignore:Expected explicit VR:UserWarning")
def test_implicit_data_set_under_an_explicit_transfer_syntax_is_read_as_it_is() -> None:
    (read,) = read_instances([PYDICOM / "SC_rgb_jpeg.dcm"])
    assert is_unread(read)
    assert len(read.PixelData) > 3000


def test_without_pixels_there_is_no_pixel_data_element(tmp_path: Path) -> None:
    (read,) = read_instances(saved([image(np.zeros((2, 2), np.uint16))], tmp_path), pixels=False)
    assert "PixelData" not in read
    with pytest.raises(PixelError, match="no pixel data"):
        volume_from_instances([read, read])


def test_file_cut_within_the_pixel_data_is_refused_with_both_lengths(tmp_path: Path) -> None:
    paths = saved(single_frames(Block()), tmp_path)
    paths[2].write_bytes(paths[2].read_bytes()[:-30])
    with pytest.raises(PixelError, match=r"instance 3 .* is cut: 130 of 160 bytes"):
        volume_from_instances(read_instances(paths))


def test_file_that_is_gone_when_its_pixels_are_wanted_is_a_pixel_error(tmp_path: Path) -> None:
    paths = saved(single_frames(Block()), tmp_path)
    read = read_instances(paths)
    paths[1].unlink()
    with pytest.raises(PixelError, match=r"instance 2 .*FileNotFoundError"):
        volume_from_instances(read)


def test_file_that_is_no_dicom_is_a_pixel_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\0" * 200)
    with pytest.raises(PixelError, match="cannot be read: InvalidDicomError"):
        read_instances([tmp_path / "x"])
