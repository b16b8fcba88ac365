"""Headers of real files as rules see them: character sets, numbers of binary VRs, values that their VR does not allow."""

from __future__ import annotations

import re
import struct
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.config.conditions import parse_condition
from dicom_node.domain.matching import meets
from dicom_node.pipeline.headers import header_attributes, received_instance
from tests.phantoms import chest_series, write

JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"
KOREAN = "Hong^Gildong=洪^吉洞=홍^길동"
CHINESE = "Wang^XiaoDong=王^小东"
RUSSIAN = "Петров^Иван"


def seen(folder: Path, **elements: object) -> dict[str, tuple[str, ...]]:
    [path] = write(chest_series(**elements)[:1], folder)
    return dict(received_instance(path).attributes)


def part_10(folder: Path, *elements: bytes, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> dict[str, tuple[str, ...]]:
    """Read a file with these elements, written by hand as no library would."""
    ds = chest_series()[0]
    ds.file_meta.TransferSyntaxUID = transfer_syntax_uid
    uids = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    for keyword in set(ds.dir()) - {*uids}:
        del ds[keyword]
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    path = folder / "by-hand.dcm"
    path.write_bytes(stream.getvalue() + b"".join(elements))
    return dict(received_instance(path).attributes)


def explicit(group: int, element: int, vr: str, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, element, vr.encode(), len(value)) + value


def implicit(group: int, element: int, value: bytes) -> bytes:
    return struct.pack("<HHI", group, element, len(value)) + value


@pytest.mark.parametrize(
    ("character_set", "keyword", "value"),
    [
        (["", "ISO 2022 IR 87"], "PatientName", JAPANESE),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "PatientName", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 87"], "StudyDescription", "胸部単純CT"),
        (["", "ISO 2022 IR 149"], "PatientName", KOREAN),
        (["", "ISO 2022 IR 149"], "SeriesDescription", "흉부 CT"),
        ("GB18030", "PatientName", CHINESE),
        ("GB18030", "StudyDescription", "胸部平扫CT"),
        ("GBK", "StudyDescription", "胸部平扫CT"),
        ("ISO_IR 144", "PatientName", RUSSIAN),
        ("ISO_IR 192", "PatientName", JAPANESE),
        ("ISO_IR 100", "StudyDescription", "Schädel für Übersicht"),
        ("ISO_IR 166", "StudyDescription", "ทรวงอก"),
    ],
)
def test_texts_of_every_character_set_meet_a_rule_written_in_utf_8(tmp_path: Path, character_set: object, keyword: str, value: str) -> None:
    attributes = seen(tmp_path, SpecificCharacterSet=character_set, **{keyword: value})
    assert attributes[keyword] == (value,)
    assert meets(parse_condition(keyword, value), attributes)
    assert meets(parse_condition(keyword, "~" + re.escape(value[1:])), attributes)
    assert not meets(parse_condition(keyword, "!" + value), attributes)
    assert not meets(parse_condition(keyword, value + "x"), attributes)


@pytest.mark.parametrize("pattern", ["^Yamada", r"=山田\^太郎=", "(?i)yamada.*やまだ", "[\\x{4e00}-\\x{9fff}]+", r"\p{Hiragana}+"])
def test_name_is_matched_as_a_whole_and_by_patterns_over_all_its_groups(tmp_path: Path, pattern: str) -> None:
    attributes = seen(tmp_path, SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName=JAPANESE)
    assert meets(parse_condition("PatientName", "~" + pattern), attributes)
    assert not meets(parse_condition("PatientName", "!~" + pattern), attributes)


def test_composed_and_decomposed_letters_are_the_same(tmp_path: Path) -> None:
    decomposed = "Scha\N{COMBINING DIAERESIS}del"
    attributes = seen(tmp_path, SpecificCharacterSet="ISO_IR 192", StudyDescription=decomposed)
    assert attributes["StudyDescription"] == ("Sch\N{LATIN SMALL LETTER A WITH DIAERESIS}del",)
    for written in (decomposed, "Schädel", "~^Scha\N{COMBINING DIAERESIS}d"):
        assert meets(parse_condition("StudyDescription", written), attributes)


@pytest.mark.parametrize(
    ("elements", "value"),
    [
        ([explicit(0x08, 0x1030, "LO", b"Thor\xe4x ")], "Thor\xe4x"),  # no character set declared
        ([explicit(0x08, 0x05, "CS", b"ISO_IR 999"), explicit(0x08, 0x1030, "LO", b"Thorax")], "Thorax"),
        ([explicit(0x08, 0x05, "CS", b"ISO_IR 192"), explicit(0x08, 0x1030, "LO", b"Thor\xe4x\x80 ")], "Thor\ufffdx\ufffd"),
        ([explicit(0x08, 0x05, "CS", b"\\ISO 2022 IR 87 "), explicit(0x08, 0x1030, "LO", b"\x1b$B;3ED\x1b(B\x1b$Z")], None),
        ([explicit(0x08, 0x05, "CS", b"\\\\\\ "), explicit(0x08, 0x1030, "LO", b"Thorax")], "Thorax"),
    ],
)
def test_broken_character_set_costs_no_instance(tmp_path: Path, elements: list[bytes], value: str | None) -> None:
    found = part_10(tmp_path, *elements, explicit(0x08, 0x60, "CS", b"CT"))
    assert found["Modality"] == ("CT",)
    assert len(found["StudyDescription"]) == 1
    if value is not None:
        assert found["StudyDescription"] == (value,)


@pytest.mark.parametrize(
    ("keyword", "written", "wanted", "other"),
    [
        ("Rows", struct.pack("<H", 512), 512, 511),
        ("PixelPaddingValue", struct.pack("<h", -2000), -2000, 2000),
        ("ReferencePixelX0", struct.pack("<l", -5), -5, 5),
        ("DiffusionBValue", struct.pack("<d", 1000), "999.5..1000.5", "<1000"),
        ("TableTopLongitudinalPosition", b"1.50 ", 1.5, 1.51),
        ("ReconstructionDiameter", b" 3.5e2", 350, 351),
        ("InstanceNumber", b" 7", "7", ">7"),
        ("TagThickness", struct.pack("<d", 0.1), 0.1, 0.2),
        ("RecommendedDisplayFrameRateInFloat", struct.pack("<f", 0.1), 0.1, 0.2),
    ],
)
def test_numbers_of_every_vr_compare_as_numbers(tmp_path: Path, keyword: str, written: bytes, wanted: object, other: object) -> None:
    tag = pydicom.tag.Tag(keyword)
    representation = implicit(0x28, 0x103, struct.pack("<H", 1))
    elements = (implicit(tag.group, tag.element, written), representation)
    found = part_10(tmp_path, *elements, transfer_syntax_uid=ImplicitVRLittleEndian)
    assert meets(parse_condition(keyword, wanted), found), found
    assert not meets(parse_condition(keyword, other), found), found


@pytest.mark.parametrize(
    ("element", "keyword", "values"),
    [
        (explicit(0x18, 0x50, "DS", b"1,5 "), "SliceThickness", ("1,5",)),
        (explicit(0x18, 0x50, "DS", b"thin"), "SliceThickness", ("thin",)),
        (explicit(0x20, 0x13, "IS", b"1.5 "), "InstanceNumber", ("1.5",)),
        (explicit(0x20, 0x13, "IS", b"99999999999999"), "InstanceNumber", ("99999999999999",)),
        (explicit(0x28, 0x10, "US", b"\1\0\2"), "Rows", None),
        (explicit(0x28, 0x10, "LO", b"512 "), "Rows", ("512",)),
        (explicit(0x10, 0x1010, "AS", b"45"), "PatientAge", ("45",)),
        (explicit(0x08, 0x20, "DA", b"soon"), "StudyDate", ("soon",)),
        (explicit(0x08, 0x60, "CS", b""), "Modality", ()),
        (explicit(0x08, 0x60, "CS", b"CT\\\\MR\0"), "Modality", ("CT", "", "MR")),
    ],
)
def test_values_that_a_vr_does_not_allow_are_kept_as_text_or_left_out(
    tmp_path: Path, element: bytes, keyword: str, values: tuple[str, ...] | None
) -> None:
    found = part_10(tmp_path, element, explicit(0x28, 0x11, "US", b"\0\2"))
    assert found.get(keyword) == values
    assert found["Columns"] == ("512",)


def test_sequences_binary_and_private_elements_stay_out() -> None:
    ds = chest_series()[0]
    ds.RequestAttributesSequence = [Dataset()]
    ds.ICCProfile = b"12"
    ds.private_block(0x11, "PHANTOMS", create=True).add_new(1, "LO", "x")
    found = header_attributes(ds)
    assert not {"RequestAttributesSequence", "ICCProfile", "PixelData", ""} & found.keys()
    assert found["Modality"] == ("CT",)
