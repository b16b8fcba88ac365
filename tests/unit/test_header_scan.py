"""The header scan finds what pydicom finds, however the bytes are cut."""

from __future__ import annotations

import warnings
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import encode

from dicom_node.scp.header_scan import IDENTIFYING, HeaderScan


def data_set_of(path: str) -> tuple[bytes, str] | None:
    """The encoded data set of a Part 10 file and its transfer syntax."""
    try:
        meta = pydicom.filereader.read_file_meta_info(path)
        start = 132 + 12 + meta.FileMetaInformationGroupLength
    except (pydicom.errors.InvalidDicomError, AttributeError, EOFError, OSError):
        return None
    return Path(path).read_bytes()[start:], str(meta.get("TransferSyntaxUID", ""))


def header_of(path: str) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # files that lie about their syntax are what we want
        return pydicom.dcmread(path, force=True, stop_before_pixels=True)


SHIPPED = sorted(str(p) for p in (Path(pydicom.__file__).parent / "data" / "test_files").rglob("*.dcm"))
FILES = [path for path in SHIPPED if data_set_of(path) and header_of(path).get("SOPInstanceUID")]
SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]


def scanned(content: bytes, syntax: str, step: int) -> HeaderScan:
    scan = HeaderScan(syntax)
    for start in range(0, len(content), step):
        if scan.feed(content[start : start + step]):
            break
    return scan


@pytest.mark.parametrize("path", FILES, ids=[Path(p).name for p in FILES])
def test_finds_what_pydicom_finds(path: str) -> None:
    found = data_set_of(path)
    assert found is not None
    content, syntax = found
    expected = header_of(path)
    values = {int(tag): str(expected[tag].value) for tag in IDENTIFYING if tag in expected and expected[tag].value}
    for step in (len(content), 1, 7, 1000):
        if step == 1 and len(content) > 400_000:
            continue
        scan = scanned(content, syntax, step)
        assert {tag: value for tag, value in scan.found.items() if value} == values


def nested(undefined: bool) -> Dataset:
    """A data set whose UIDs stand behind sequences in sequences."""
    leaf = Dataset()
    leaf.SOPInstanceUID, leaf.StudyInstanceUID, leaf.SeriesInstanceUID = "9.9.9", "9.9", "9"
    middle = Dataset()
    middle.ReferencedSeriesSequence = [leaf, leaf]
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    ds.ReferencedStudySequence = [middle, Dataset()]
    ds.add_new(0x00091001, "UN", b"\1\2\3")
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2", "1.2.5"
    if undefined:
        for sequence in (ds["ReferencedStudySequence"], middle["ReferencedSeriesSequence"]):
            sequence.is_undefined_length = True
            for item in sequence.value:
                item.is_undefined_length_sequence_item = True
    return ds


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_uids_inside_sequences_are_not_taken_for_the_instances_own(syntax: pydicom.uid.UID, undefined: bool) -> None:
    content = encode(nested(undefined), syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
    assert content is not None
    for step in (1, 3, len(content)):
        assert list(scanned(content, syntax, step).found.values()) == ["1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2", "1.2.5"]


def test_unknown_vr_of_undefined_length_holds_implicit_elements() -> None:
    item, item_end, sequence_end = (b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0")
    inner = item + b"\x08\x00\x18\x00\x04\x00\x00\x009.9\0" + item_end + sequence_end
    unknown = b"\x09\x00\x01\x10UN\0\0\xff\xff\xff\xff" + inner
    content = b"\x08\x00\x16\x00UI\x04\x001.2\0" + unknown + b"\x20\x00\x0d\x00UI\x04\x001.3\0"
    assert scanned(content, ExplicitVRLittleEndian, len(content)).found == {0x00080016: "1.2", 0x0020000D: "1.3"}


@given(
    st.binary(max_size=400),
    st.sampled_from(SYNTAXES[:3]),
)
def test_any_bytes_end_in_the_same_findings_however_they_are_cut(content: bytes, syntax: str) -> None:
    whole = scanned(content, syntax, max(1, len(content)))
    for step in (1, 5):
        piecewise = scanned(content, syntax, step)
        assert (piecewise.found, piecewise.done) == (whole.found, whole.done)


def test_memory_stays_small_whatever_an_element_claims() -> None:
    scan = HeaderScan(ExplicitVRLittleEndian)
    scan.feed(b"\x09\x00\x01\x10OB\0\0\xfe\xff\xff\xff")
    block = bytes(1 << 16)
    for _ in range(100):
        scan.feed(block)
    assert len(scan._pending) < 100
