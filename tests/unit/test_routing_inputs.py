"""Which series an input gets, and the reason that every other one is given."""

from __future__ import annotations

import pytest

from dicom_node.domain.routing import Outcome
from dicom_node.domain.rules import After, Orientation, Preference, SeriesCheck
from dicom_node.domain.studies import Series
from dicom_node.routing import decide, missing_inputs
from dicom_node.routing.inputs import assign
from tests.unit.rule_studies import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    chosen,
    evenly,
    is_,
    only_trace,
    phantom_series,
    reasons,
    rule,
    series,
    slices,
    slot,
    study,
)

TILTED_20 = "1/0/0/0/0.93969262/-0.34202014"
TILTED_40 = "1/0/0/0/0.76604444/-0.64278761"


def one(**options: object) -> object:
    return rule("r", inputs=(slot("image", **options),))


@pytest.mark.parametrize(
    ("options", "fits", "other", "reason"),
    [
        ({"min_instances": 5}, evenly("1", 5, 1), evenly("2", 4, 1), "too few instances: 4 of at least 5"),
        ({"max_instances": 5}, evenly("1", 5, 1), evenly("2", 6, 1), "too many instances: 6 of at most 5"),
        ({"orientation": Orientation.AXIAL}, evenly("1", 5, 1), evenly("2", 9, 1, cosines=CORONAL), "coronal slices, axial wanted"),
        ({"orientation": Orientation.SAGITTAL}, evenly("1", 5, 1, cosines=SAGITTAL), evenly("2", 9, 1), "axial slices, sagittal wanted"),
        (
            {"orientation": Orientation.AXIAL},
            evenly("1", 5, 1, cosines=TILTED_20),
            evenly("2", 9, 1, cosines=TILTED_40),
            "oblique by 40 degrees, axial wanted",
        ),
        (
            {"orientation": Orientation.AXIAL},
            evenly("1", 5, 1),
            series("2", 9),
            "orientation unknown, axial wanted: no Image Orientation and Position (Patient)",
        ),
        (
            {"max_spacing_mm": 1.5},
            evenly("1", 5, 1.5),
            evenly("2", 9, 1.6),
            "slices too far apart: 1.6 mm of at most 1.5 mm, from slice positions",
        ),
        (
            {"min_spacing_mm": 1},
            evenly("1", 5, 1),
            evenly("2", 9, 0.75),
            "slices too near: 0.75 mm of at least 1 mm, from slice positions",
        ),
        (
            {"max_spacing_mm": 3},
            series("1", 5, SliceThickness="3"),
            series("2", 9, SpacingBetweenSlices="5", SliceThickness="3"),
            "slices too far apart: 5.0 mm of at most 3 mm, from SpacingBetweenSlices",
        ),
        (
            {"max_spacing_mm": 3},
            evenly("1", 5, 3, SliceThickness="9"),
            series("2", 9),
            "slice spacing unknown: no positions, Spacing Between Slices or Slice Thickness",
        ),
    ],
)
def test_series_that_does_not_fit_is_not_taken_and_told_why(options: dict, fits: Series, other: Series, reason: str) -> None:
    for order in ((fits, other), (other, fits)):
        routing = decide([one(**options)], study(*order))
        assert chosen(routing) == {"image": "1"}
        assert reasons(routing)["2"] == reason
    alone = decide([one(**options)], study(other))
    assert only_trace(alone).outcome is Outcome.UNFIT
    assert only_trace(alone).reason == f"input image: no series fits, the nearest has a fault: {reason}"


THIN, NEW, MOST = Preference.THINNEST, Preference.NEWEST, Preference.MOST_INSTANCES


@pytest.mark.parametrize(
    ("prefer", "winner", "loser", "reason"),
    [
        ((THIN,), evenly("1", 5, 1), evenly("2", 50, 2.5), "thinner series exists: 1.0 mm against 2.5 mm"),
        ((THIN,), evenly("1", 5, 1.02), evenly("2", 50, 1.04), "thinner series exists: 1.02 mm against 1.04 mm"),
        ((THIN,), evenly("1", 5, 1), series("2", 50), "thinner series exists: 1.0 mm, the spacing of this one is unknown"),
        ((THIN,), evenly("1", 6, 1.0), evenly("2", 5, 0.9999), "another series has more instances: 6 against 5"),
        ((MOST,), evenly("1", 6, 2), evenly("2", 5, 1), "another series has more instances: 6 against 5"),
        (
            (NEW,),
            series("1", 5, SeriesDate="20240102", SeriesTime="101500"),
            series("2", 9, SeriesDate="20240102", SeriesTime="0959"),
            "newer series exists: 2024-01-02 10:15:00 against 2024-01-02 09:59",
        ),
        (
            (NEW,),
            series("1", 5, AcquisitionDateTime="20240102101500.250000+0100"),
            series("2", 9, AcquisitionDate="20240102", AcquisitionTime="101500"),
            "newer series exists: 2024-01-02 10:15:00.25 against 2024-01-02 10:15:00",
        ),
        ((NEW,), series("1", 5, SeriesDate="20240102"), series("2", 9), "newer series exists: 2024-01-02 against no date"),
        (
            (NEW, THIN),
            evenly("1", 5, 1, SeriesDate="20240102", SeriesTime="10.0"),
            evenly("2", 9, 2, SeriesDate="20240102", SeriesTime="10"),
            "thinner series exists: 1.0 mm against 2.0 mm",
        ),
        (
            (MOST,),
            series("2", 5, SeriesNumber="3"),
            series("1", 5, SeriesNumber=" 12 "),
            "as good, but Series Number 3 comes first (this one: 12)",
        ),
        ((MOST,), series("2", 5, SeriesNumber="3"), series("1", 5), "as good, but Series Number 3 comes first (this one: none)"),
        ((MOST,), series("1", 5), series("2", 5), "as good, but the Series Instance UID of another comes first"),
    ],
)
def test_preferred_series_is_taken_and_the_other_told_why(prefer: tuple, winner: Series, loser: Series, reason: str) -> None:
    for order in ((winner, loser), (loser, winner)):
        routing = decide([one(prefer=prefer)], study(*order))
        assert chosen(routing) == {"image": winner.series_instance_uid}
        assert reasons(routing)[loser.series_instance_uid] == reason


def test_input_gets_the_instances_that_meet_the_rule_and_the_input() -> None:
    mixed = series("1", 4, Modality="CT", ImageType="A")
    others = series("1", 3, Modality="CT", ImageType="LOCALIZER").instances
    both = Series("1", mixed.instances + tuple(type(i)(f"x.{n}", "", i.path, i.attributes) for n, i in enumerate(others)))
    routing = decide([rule("r", inputs=(slot("image", is_("ImageType", "A")),))], study(both))
    [decision] = routing.decisions
    assert decision.inputs[0].sop_instance_uids == tuple(i.sop_instance_uid for i in mixed.instances)
    [trace] = only_trace(routing).inputs[0].series
    assert (trace.instances, trace.selected_instances) == (7, 4)


def test_conditions_that_only_different_instances_meet_take_nothing() -> None:
    found = Series("1", series("1", 1, A="1").instances + series("2", 1, B="1").instances)
    routing = decide([rule("r", is_("A", "1"), is_("B", "1"))], study(found))
    assert only_trace(routing).outcome is Outcome.NO_MATCH
    assert only_trace(routing).reason == "each condition is met by some instance, but all of them by none"


PHASES = (slot("arterial", is_("SeriesDescription", "ART", "ANY")), slot("venous", is_("SeriesDescription", "VEN", "ANY")))


def test_each_input_gets_its_own_series() -> None:
    routing = decide([rule("r", inputs=PHASES)], study(series("1", 5, SeriesDescription="VEN"), series("2", 5, SeriesDescription="ART")))
    assert chosen(routing) == {"arterial": "2", "venous": "1"}
    assert [i.name for i in routing.decisions[0].inputs] == ["arterial", "venous"]
    assert only_trace(routing).reason == "runs model on arterial 5 instances and venous 5 instances"


def test_input_leaves_its_favourite_to_another_that_has_no_choice() -> None:
    wide = slot("any")
    narrow = slot("venous", is_("SeriesDescription", "VEN"))
    routing = decide([rule("r", inputs=(wide, narrow))], study(series("1", 9, SeriesDescription="VEN"), series("2", 5)))
    assert chosen(routing) == {"any": "2", "venous": "1"}
    assert reasons(routing, "any") == {"1": "serves input venous", "2": "chosen"}


def test_one_series_never_fills_two_inputs() -> None:
    routing = decide([rule("r", inputs=PHASES)], study(series("1", 5, SeriesDescription="ANY")))
    assert only_trace(routing).outcome is Outcome.UNFIT
    assert only_trace(routing).reason == "input venous: every series that fits it serves another input"
    assert reasons(routing, "venous") == {"1": "serves input arterial"}


def test_optional_input_is_left_out_and_takes_nothing_from_one_that_must_be_filled() -> None:
    inputs = (slot("first"), slot("spare", optional=True), slot("venous", is_("SeriesDescription", "VEN")))
    routing = decide([rule("r", inputs=inputs)], study(series("1", 9), series("2", 5, SeriesDescription="VEN")))
    assert chosen(routing) == {"first": "1", "venous": "2"}
    assert only_trace(routing).inputs[1].reason == "every series that fits it serves another input; optional, left out"
    routing = decide(
        [rule("r", inputs=inputs)], study(series("1", 9), series("2", 5, SeriesDescription="VEN"), series("3", 5, SeriesDescription="X"))
    )
    assert chosen(routing) == {"first": "1", "spare": "3", "venous": "2"}


@pytest.mark.parametrize(
    ("candidates", "required", "expected"),
    [
        ([["a"]], [True], ["a"]),
        ([[]], [True], [None]),
        ([["a", "b"], ["a"]], [True, True], ["b", "a"]),
        ([["a", "b"], ["a"]], [True, False], ["a", None]),
        ([["a"], ["a"]], [False, True], [None, "a"]),
        ([["a"], ["a"]], [True, True], ["a", None]),
        ([["a", "b"], ["a", "c"], ["a"]], [True, True, True], ["b", "c", "a"]),
        ([["a", "b", "c"], ["a", "b"], ["b"]], [True, True, True], ["c", "a", "b"]),
        ([["a", "b"], ["a", "b"], ["a", "b"]], [True, True, True], ["a", "b", None]),
        ([["a"], ["a", "b"], ["b"]], [True, False, True], ["a", None, "b"]),
    ],
)
def test_assignment_fills_what_can_be_filled_earlier_inputs_first(candidates: list, required: list, expected: list) -> None:
    assert assign(candidates, required) == expected


def test_many_inputs_over_many_equal_series_are_assigned_at_once() -> None:
    uids = [str(n) for n in range(60)]
    found = assign([uids] * 59 + [[]], [True] * 60)  # trying all assignments would not end
    assert found[:59] == uids[:59]
    assert found[59] is None


def test_missing_inputs_are_named_for_rules_that_match() -> None:
    rules = (rule("two", inputs=PHASES), rule("mr", is_("Modality", "MR")), rule("hold", hold=True), rule("one"))
    found = missing_inputs(rules, study(series("1", 5, SeriesDescription="ART")))
    assert found == {"two": "input venous: no series meets its conditions", "one": ""}


def test_real_headers_give_orientation_and_spacing() -> None:
    wanted = rule("r", inputs=(slot("image", orientation=Orientation.AXIAL, max_spacing_mm=10, min_spacing_mm=10),))
    found = phantom_series()
    routing = decide([wanted], study(found))
    assert chosen(routing) == {"image": found.series_instance_uid}
    assert reasons(routing)[found.series_instance_uid] == "chosen: axial slices, 10.0 mm apart by slice positions"
    assert len(routing.decisions[0].inputs[0].sop_instance_uids) == 24


GAP = [0, 2, 4, 6, 12, 14]


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        (slices("1", GAP), "2 slices missing between 6.0 and 12.0 mm"),
        (slices("1", [0, 1, 2, 4, 5, 7, 10]), "1 slice missing between 2.0 and 4.0 mm, 3 more at 2 other places"),
        (slices("1", [0, 1, 2, 2, 3]), "1 slice lies where another does, first at 2.0 mm"),
        (slices("1", [0, 1, 2, 2.001, 2.002, 3]), "2 slices lie where another does, first at 2.0 mm"),
        (slices("1", [5, 5, 5]), "2 slices lie where another does, first at 5.0 mm"),
        (
            Series("1", evenly("1", 5, 1).instances + evenly("2", 2, 1, cosines=CORONAL).instances),
            "mixed orientations: 2, of 5 and 2 slices",
        ),
        (evenly("1", 5, 1), ""),
        (slices("1", [0, 1, 2.05, 3]), ""),
        (slices("1", [0, 1, 2.5, 3.5]), ""),  # uneven, but nothing is missing
        (slices("1", [0, 6]), ""),  # too few to tell
        (slices("1", [0, 0]), ""),
        (slices("1", GAP, NumberOfFrames="20"), ""),
        (slices("1", GAP, cosines="0/0/0/0/0/0"), ""),
        (slices("1", GAP, cosines="1/0/0"), ""),
        (slices("1", GAP, cosines="1/0/0/0/x/0"), ""),
        (series("1", 9), ""),
    ],
)
def test_series_at_fault_is_not_taken_and_the_fault_is_named(found: Series, fault: str) -> None:
    routing = decide([rule("r")], study(found))
    assert reasons(routing) == {"1": fault or "chosen"}
    assert bool(routing.decisions) is not bool(fault)
    assert decide([rule("r", checks=())], study(found)).decisions


@pytest.mark.parametrize(
    ("check", "found"),
    [
        (SeriesCheck.GAPS, slices("1", GAP)),
        (SeriesCheck.DUPLICATES, slices("1", [0, 1, 1, 2])),
        (SeriesCheck.ORIENTATION, Series("1", evenly("1", 5, 1).instances + evenly("2", 2, 1, cosines=CORONAL).instances)),
    ],
)
def test_each_check_finds_its_own_fault_only(check: SeriesCheck, found: Series) -> None:
    for asked in SeriesCheck:
        assert bool(decide([rule("r", checks=(asked,))], study(found)).decisions) is (asked is not check)


def test_faulty_series_leaves_its_place_to_a_smaller_sound_one() -> None:
    routing = decide([rule("r")], study(slices("1", GAP), evenly("2", 3, 5)))
    assert chosen(routing) == {"image": "2"}


def test_positions_run_along_the_normal_whatever_the_plane() -> None:
    for cosines in (AXIAL, CORONAL, SAGITTAL):
        routing = decide([rule("r")], study(slices("1", GAP, cosines=cosines)))
        assert "2 slices missing between" in reasons(routing)["1"]


def test_rule_without_a_model_asks_no_series_checks() -> None:
    follower = rule("r", model="", after=After("triage"))
    routing = decide([follower], study(slices("1", GAP)), followed={"r"})
    assert only_trace(routing).reason == "sends the result of triage to pacs"
    assert routing.decisions[0].model == ""
