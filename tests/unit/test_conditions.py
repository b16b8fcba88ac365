"""The syntax of `match`, and what each operator says of each kind of value."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.config.conditions import ConditionFault, parse_condition
from dicom_node.domain.elements import element_of
from dicom_node.domain.matching import meets
from dicom_node.domain.rules import Condition, Equals, Matches, Presence, Within


def held(keyword: str, wanted: object, *values: str) -> bool:
    return meets(parse_condition(keyword, wanted, thorough=True), {keyword: values})


def fault(keyword: str, wanted: object) -> str:
    with pytest.raises(ConditionFault) as caught:
        parse_condition(keyword, wanted, thorough=True)
    return str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "any_of", "none_of"),
    [
        ("CT", (Equals("CT"),), ()),
        (["CT", "!MR", " PT "], (Equals("CT"), Equals("PT")), (Equals("MR"),)),
        ("!~^LOC", (), (Matches("^LOC"),)),
        ("~(?i)chest|lung", (Matches("(?i)chest|lung"),), ()),
        ("=present", (Equals("present"),), ()),
        ("=~x", (Equals("~x"),), ()),
        ("=!x", (Equals("!x"),), ()),
        ("==x", (Equals("=x"),), ()),
        ("!=absent", (), (Equals("absent"),)),
        ("a..b", (Equals("a..b"),), ()),
        ("=1..3", (Equals("1..3"),), ()),
    ],
)
def test_texts_become_tests(wanted: object, any_of: object, none_of: object) -> None:
    assert parse_condition("StudyDescription", wanted) == Condition("StudyDescription", any_of, none_of)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "test"),
    [
        (">=1.5", Within("1.5", None)),
        ("> 1", Within("1", None, low_included=False)),
        ("<=3", Within(None, "3")),
        ("<3", Within(None, "3", high_included=False)),
        ("1..3", Within("1", "3")),
        ("-2 .. -1", Within("-2", "-1")),
        (2, Equals("2")),
        (2.50, Equals("2.5")),
    ],
)
def test_texts_become_ranges_where_values_have_an_order(wanted: object, test: object) -> None:
    assert parse_condition("SliceThickness", wanted).any_of == (test,)


def test_presence_is_a_condition_of_its_own() -> None:
    assert parse_condition("PatientAge", "present") == Condition("PatientAge", presence=Presence.PRESENT)
    assert parse_condition("PatientAge", "absent") == Condition("PatientAge", presence=Presence.ABSENT)


MISSING: tuple[str, ...] = ()
PADDED = ("", " ", " \0")

TABLE = [
    # equality of texts: by letter, by case, any value of several, padding aside
    ("Modality", "CT", [("CT",), ("CT ",), ("CT\0",), (" CT",), ("MR", "CT")], [("ct",), ("CTA",), ("MR",), MISSING, PADDED]),
    ("PatientID", "0012", [("0012",)], [("12",), ("0012.0",), ("12.0",)]),
    ("StudyID", "1.5", [("1.5",)], [("1.50",)]),
    ("ImageType", ["AXIAL", "MPR"], [("ORIGINAL", "PRIMARY", "AXIAL"), ("MPR",)], [("ORIGINAL", "PRIMARY"), MISSING, PADDED]),
    ("ImageType", "!LOCALIZER", [("ORIGINAL", "PRIMARY"), MISSING, PADDED], [("ORIGINAL", "LOCALIZER"), ("LOCALIZER ",)]),
    ("ImageType", ["AXIAL", "!LOCALIZER"], [("AXIAL",)], [("AXIAL", "LOCALIZER"), ("ORIGINAL",), MISSING]),
    ("ImageType", ["!LOCALIZER", "!DERIVED"], [("ORIGINAL",), MISSING], [("DERIVED",), ("LOCALIZER",)]),
    ("CallingAET", "PACS", [("PACS",), ("OTHER", "PACS")], [("PACS2",), MISSING]),
    ("StudyDescription", "=present", [("present",)], [("x",), MISSING]),
    # names: as a whole, trailing empty components aside
    ("PatientName", "Yamada^Tarou=山田^太郎", [("Yamada^Tarou=山田^太郎",), ("Yamada^Tarou^^=山田^太郎^=",)], [("Yamada^Tarou",), MISSING]),
    ("PatientName", "!Doe^Jane", [("Doe^John",), MISSING], [("Doe^Jane",), ("Doe^Jane^^^",)]),
    # patterns: anywhere in any value, by case
    ("StudyDescription", "~chest|lung", [("CT chest",), ("lungs",)], [("CT CHEST",), ("abdomen",), MISSING, PADDED]),
    ("StudyDescription", "~(?i)chest", [("CT CHEST",), ("Chest",)], [("abdomen",), MISSING]),
    ("StudyDescription", "~^CT$", [("CT",), ("CT ",)], [("CT chest",), MISSING]),
    ("StudyDescription", "!~(?i)test", [("CT chest",), MISSING, PADDED], [("TEST",), ("a test",)]),
    ("StudyDescription", "~胸部", [("胸部単純CT",)], [("腹部",)]),
    ("ImageType", "~^AXI", [("ORIGINAL", "AXIAL")], [("ORIGINAL", "MAXI")]),
    ("StudyDate", "~^2024", [("20240102",)], [("20230102",), MISSING]),
    # numbers: as numbers, however they are written
    ("SliceThickness", 1.5, [("1.5",), ("1.50",), (" 1.5 ",), ("15e-1",), ("+1.5",), ("0.15E1",)], [("1.51",), ("1,5",), MISSING]),
    ("SliceThickness", "!1.5", [("1.51",), ("1,5",), MISSING], [("1.50",), (" 1.5",)]),
    ("SliceThickness", [1, 2], [("2.0",), ("1",)], [("3",), MISSING]),
    ("SliceThickness", ">=1.5", [("1.5",), ("2",), ("1.5e3",), (" 1.50",)], [("1.49",), ("1,5",), ("inf",), ("nan",), MISSING, PADDED]),
    ("SliceThickness", ">1", [("1.0001",)], [("1",), ("1.00",), ("1_5",), ("\N{ARABIC-INDIC DIGIT SEVEN}",)]),
    ("SliceThickness", "<=3", [("3.0",), ("-1",)], [("3.01",), MISSING]),
    ("SliceThickness", "<3", [("2.99",)], [("3",), ("3.0 ",), ("1E99999999999",)]),
    ("SliceThickness", "1..3", [("1",), ("3",), ("2.5",)], [("0.99",), ("3.01",), MISSING]),
    ("SliceThickness", "!1..3", [("0.5",), MISSING, ("thin",)], [("1",), ("2",)]),
    ("SliceThickness", ["<1", ">3"], [("0.5",), ("4",)], [("2",), MISSING]),
    ("PixelSpacing", "<0.5", [("0.4", "0.8"), ("0.8", "0.4")], [("0.8", "0.8"), MISSING]),
    ("InstanceNumber", 7, [("7",), ("007",), ("7 ",), ("7.0",)], [("70",), ("x",)]),
    ("InstanceNumber", ">=-1", [("0",), ("-1",)], [("-2",)]),
    # dates, times, both: a partial one is all that it may mean
    ("StudyDate", "2024-01-31", [("20240131",), ("2024.01.31",)], [("20240130",), ("202401",), ("20241301",), MISSING]),
    ("StudyDate", "2024", [("20240131",), ("20241231",), ("202405",)], [("20231231",), ("20250101",)]),
    ("StudyDate", 20240131, [("20240131",)], [("20240201",)]),
    ("StudyDate", "20240101..20241231", [("20240101",), (" 20241231",)], [("20231231",), ("20250101",), ("soon",), MISSING]),
    ("StudyDate", ">=20240101", [("20240101",), ("99991231",)], [("20231231",), ("00000000",)]),
    ("StudyDate", ">2024-02", [("20240301",)], [("20240229",), ("20240201",)]),
    ("StudyDate", "<20240101", [("20231231",)], [("20240101",), ("2024",)]),
    ("StudyTime", "0800..1759", [("0800",), ("175959.999999",), ("08:30:00",), ("1200",)], [("1800",), ("075959.9",), ("17595",), MISSING]),
    ("StudyTime", ">=12:30", [("123000",), ("123000.000001",)], [("122959.999999",), ("12",)]),
    ("StudyTime", "101500.5", [("101500.5",), ("101500.500000",), ("101500.51",)], [("101500",), ("101500.6",)]),
    ("StudyTime", "<=23", [("235960",), ("2359",)], [("2460",), ("25",)]),
    ("AcquisitionDateTime", ">=2024-01-01T12:00", [("202401011200",), ("2025",)], [("20240101115959",), ("2024",), MISSING]),
    ("AcquisitionDateTime", "2024-06", [("20240615",), ("20240630235959.9",)], [("20240701",), ("2024",)]),
    ("AcquisitionDateTime", "<=20240101120000+0000", [("20240101130000+0100",), ("20240101120000",)], [("20240101113000-0100",)]),
    # ages: across units
    ("PatientAge", ">=18Y", [("018Y",), ("216M",), ("099Y",), ("18Y ",)], [("017Y",), ("215M",), ("900W",), ("999D",), ("45",), MISSING]),
    ("PatientAge", "<2W", [("013D",), ("001W",)], [("014D",), ("002W",), ("001M",)]),
    ("PatientAge", "2W", [("014D",), ("002W",)], [("015D",)]),
    ("PatientAge", "1M..18Y", [("012M",), ("018Y",), ("005W",)], [("004W",), ("019Y",)]),
    # presence: empty, padded and missing are one
    ("PatientAge", "present", [("018Y",), ("", "018Y"), ("x",)], [MISSING, PADDED]),
    ("PatientAge", "absent", [MISSING, PADDED], [("018Y",)]),
    ("Rows", "present", [("512",)], [MISSING]),
]  # fmt: skip


@pytest.mark.parametrize(("keyword", "wanted", "values"), [(k, w, v) for k, w, good, _ in TABLE for v in good])
def test_condition_is_met(keyword: str, wanted: object, values: tuple[str, ...]) -> None:
    assert held(keyword, wanted, *values)


@pytest.mark.parametrize(("keyword", "wanted", "values"), [(k, w, v) for k, w, _, bad in TABLE for v in bad])
def test_condition_is_not_met(keyword: str, wanted: object, values: tuple[str, ...]) -> None:
    assert not held(keyword, wanted, *values)


def test_missing_element_is_as_an_empty_one() -> None:
    for keyword, wanted, _, _ in TABLE:
        condition = parse_condition(keyword, wanted)
        assert meets(condition, {}) == meets(condition, {keyword: ()}) == meets(condition, {keyword: (" ",)})


@pytest.mark.parametrize(
    ("keyword", "wanted", "words"),
    [
        ("Modalty", "CT", "did you mean 'Modality'?"),
        ("modality", "CT", "did you mean 'Modality'?"),
        ("Slice Thickness", 1, "did you mean 'SliceThickness'?"),
        ("CallingAE", "X", "did you mean 'CallingAET'?"),
        ("00080060", "CT", "write 'Modality'"),
        ("(0008,0060)", "CT", "write 'Modality'"),
        ("0009,1001", "x", "does not have"),
        ("", "x", "no DICOM keyword"),
        ("RequestAttributesSequence", "x", "it is a sequence"),
        ("PixelData", "present", "it is binary (VR OB or OW)"),
        ("ICCProfile", "present", "it is binary (VR OB)"),
        ("StudyComments", "x", "it is retired"),
        ("TransferSyntaxUID", "1.2", "the file meta information"),
        ("MoveDestination", "x", "a command"),
        ("Modality", "", "write absent"),
        ("Modality", None, "write absent"),
        ("Modality", [], "empty list"),
        ("Modality", True, "truth value"),
        ("Modality", ["CT", False], "in quotes"),
        ("Modality", {"a": 1}, "a text, a number, or a list"),
        ("Modality", [["CT"]], "a text, a number, or a list"),
        ("Modality", 5, "in quotes"),
        ("PatientID", 12, "zeros and points count"),
        ("StudyTime", 1200, "in quotes"),
        ("StudyDescription", date(2024, 1, 1), "reads it as a date"),
        ("Modality", ["CT", "!CT"], "contradiction"),
        ("SliceThickness", [1.5, "!1.50"], "contradiction"),
        ("SliceThickness", [1.5, "!1..2"], "contradiction"),
        ("Modality", ["CT", "!~^C"], "contradiction"),
        ("Modality", ["CT", "absent"], "stands alone"),
        ("Modality", "!present", "write absent"),
        ("Modality", "!absent", "write present"),
        ("Modality", "!", "one `!`"),
        ("Modality", "!!CT", "one `!`"),
        ("Modality", "=", "nothing after"),
        ("Modality", "~", "no regular expression"),
        ("PatientName", ">=A", "a range makes no sense for PatientName"),
        ("StudyDescription", "1..3", "write '=1..3'"),
        ("StudyDescription", "<3", "write '=<3'"),
        ("SOPClassUID", ">1", "a UID (VR UI)"),
        ("SOPClassUID", "CTImageStorage", "write 1.2.840.10008.5.1.4.1.1.2"),
        ("SOPClassUID", "CT Image Storage", "write 1.2.840.10008.5.1.4.1.1.2"),
        ("SOPClassUID", "foo", "a UID such as"),
        ("SliceThickness", "thin", "a number such as 1.5"),
        ("SliceThickness", ">=thin", "a number such as 1.5"),
        ("SliceThickness", "3..1", "3 is more than 1"),
        ("SliceThickness", "..3", "write >=LOW or <=3"),
        ("SliceThickness", "1..", "lacks an end"),
        ("SliceThickness", "~1", "use a number"),
        ("SliceThickness", float("nan"), "in quotes"),
        ("InstanceNumber", 1.5, "a whole number such as 3"),
        ("StudyDate", "20241301", "a date such as 20240131"),
        ("StudyDate", "20241231..20240101", "is more than"),
        ("StudyDate", 5, "a date such as"),
        ("StudyTime", "22..06", "over midnight write ['>=22', '<=06']"),
        ("StudyTime", "25:00", "a time such as"),
        ("AcquisitionDateTime", "soon", "a date and time such as"),
        ("PatientAge", 18, "write 18Y"),
        ("PatientAge", ">=18", "an age such as 18Y"),
        ("StudyDescription", "~(a", "missing )"),
        ("StudyDescription", "~(?=a)", "no look-ahead"),
        ("StudyDescription", r"~(a)\1", "no back references"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_a_hint(keyword: str, wanted: object, words: str) -> None:
    assert words in fault(keyword, wanted)


def test_every_item_of_a_list_has_its_own_fault() -> None:
    with pytest.raises(ConditionFault) as caught:
        parse_condition("SliceThickness", ["thin", 1, "3..1"])
    assert [place for place, _ in caught.value.faults] == [(0,), (2,)]


def test_dates_that_yaml_reads_are_taken() -> None:
    assert held("StudyDate", date(2024, 1, 31), "20240131")
    assert held("AcquisitionDateTime", datetime(2024, 1, 31, 12, 0), "20240131120000")  # noqa: DTZ001 - YAML gives it so


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*)*x", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_pathological_pattern_takes_time_linear_in_the_text(pattern: str) -> None:
    condition = parse_condition("StudyDescription", "~" + pattern, thorough=True)

    def seconds(length: int) -> float:
        header = {"StudyDescription": ("a" * length + "!",)}
        started = time.process_time()
        assert not meets(condition, header)
        return time.process_time() - started

    seconds(1000)
    assert seconds(100_000) < 2  # backtracking would take 2 ** 100,000 steps


def test_pattern_that_no_engine_takes_is_never_met_and_never_raises() -> None:
    assert not meets(Condition("StudyDescription", (Matches("(a"),)), {"StudyDescription": ("(a",)})


def test_condition_of_an_unknown_element_compares_texts_and_numbers() -> None:
    assert meets(Condition("K", (Within("1", "3"),)), {"K": ("2.0",)})
    assert meets(Condition("K", (Equals("1.5"),)), {"K": ("1.50",)})


def test_answers_are_of_the_condition_asked_whatever_was_asked_before() -> None:
    for number in range(200):
        wanted = parse_condition("InstanceNumber", number)
        assert [n for n in range(0, 200, 7) if meets(wanted, {"InstanceNumber": (str(n),)})] == ([number] if number % 7 == 0 else [])
        del wanted


ANY_YAML = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
KEYWORDS = (
    *("Modality", "SliceThickness", "InstanceNumber", "StudyDate", "StudyTime"),
    *("AcquisitionDateTime", "PatientAge", "PatientName", "SOPClassUID", "CallingAET"),
)
OPERATORS = st.sampled_from(["", "=", "!", "~", "!~", ">=", "<", "!>", "1..", "..3"])
PIECES = st.text(alphabet="0123456789.-:TYMWD^=!~<> aé\0", max_size=12)


@given(st.sampled_from(KEYWORDS) | st.text(max_size=12), ANY_YAML)
def test_reading_a_match_raises_nothing_but_its_own_fault(keyword: str, wanted: object) -> None:
    with suppress(ConditionFault):
        assert parse_condition(keyword, wanted, thorough=True).keyword == keyword


@given(st.sampled_from(KEYWORDS), OPERATORS, PIECES, st.lists(st.text(max_size=8) | PIECES, max_size=3))
def test_a_value_and_its_exclusion_never_both_hold(keyword: str, operator: str, text: str, values: list[str]) -> None:
    wanted = operator + text
    try:
        one, other = parse_condition(keyword, wanted, thorough=True), parse_condition(keyword, "!" + wanted, thorough=True)
    except ConditionFault:
        return
    header = {keyword: tuple(values)}
    assert not (meets(one, header) and meets(other, header))
    if len(values) == 1 and values[0].strip(" \0"):
        assert meets(one, header) is not meets(other, header)


@given(st.sampled_from(KEYWORDS), st.lists(st.text(max_size=8), max_size=3))
def test_an_element_is_present_or_absent(keyword: str, values: list[str]) -> None:
    header = {keyword: tuple(values)}
    assert held(keyword, "present", *values) is not meets(parse_condition(keyword, "absent"), header)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3), st.decimals(allow_nan=False, allow_infinity=False, places=3))
def test_ranges_and_equality_agree(value: object, bound: object) -> None:
    less, equal, more = (held("SliceThickness", f"{o}{bound:f}", f"{value:f}") for o in ("<", "=", ">"))
    assert less + equal + more == 1


def test_kinds_follow_the_dictionary() -> None:
    element = element_of("PixelSpacing")
    assert element is not None
    assert (element.vr, element.is_list, element.kind.is_number) == ("DS", True, True)
