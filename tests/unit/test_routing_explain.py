"""What an IT admin reads."""

from __future__ import annotations

from dataclasses import asdict

from dicom_node.domain.routing import PriorSearch, Standing
from dicom_node.domain.rules import CompleteWhen, Condition, Equals, Matches, OnIncomplete, Preference, Presence, Within
from dicom_node.domain.studies import Series
from dicom_node.routing import Mark, decide, explain, render, trace_from_record
from dicom_node.routing.wording import wanted
from tests.unit.rule_studies import CT, evenly, is_, prior_slot, rule, series, slot, study

NO_LOCALIZER = Condition("ImageType", (), (Equals("LOCALIZER"),))
FOUND = study(
    evenly("1.1", 5, 1, SeriesNumber="4", SeriesDescription="ART", StudyDate="20240102"),
    evenly("1.2", 6, 2.5, SeriesNumber="5", SeriesDescription="ART", StudyDate="20240102"),
    *[series(f"1.3.{n}", 1, ImageType="LOCALIZER") for n in range(5)],
)
EARLIER = study(series("9.1", 4, PatientID="P2", StudyDate="20230501"), uid="9")


def test_every_outcome_begins_with_the_outcome_and_says_why_below() -> None:
    phases = (
        slot("arterial", is_("SeriesDescription", "ART"), prefer=(Preference.THINNEST,)),
        slot("venous", is_("SeriesDescription", "VEN"), optional=True),
        prior_slot(),
    )
    rules = [rule("liver", CT, NO_LOCALIZER, inputs=phases), rule("head", is_("Modality", "MR", "PT"))]
    searched = [PriorSearch("liver", "before", (EARLIER,), finished=True, reason="")]
    assert render(decide(rules, FOUND, priors=searched)).splitlines() == [
        "liver: run - runs model on arterial 5 instances, without before",
        "  input arterial: series 1.1 with 5 instances",
        "    series 4 (1.1): 5 of 5 instances - chosen",
        "      ok Modality: wanted CT, seen CT",
        "      ok ImageType: wanted not LOCALIZER, seen nothing",
        "      ok SeriesDescription: wanted ART, seen ART",
        "    series 5 (1.2): 6 of 6 instances - thinner series exists: 1.0 mm against 2.5 mm",
        "      ok Modality: wanted CT, seen CT",
        "      ok ImageType: wanted not LOCALIZER, seen nothing",
        "      ok SeriesDescription: wanted ART, seen ART",
        "    5 series (1.3.0, 1.3.1, 1.3.2 and 2 more): 0 of 5 instances - not met: ImageType and SeriesDescription",
        "      ok Modality: wanted CT, seen CT",
        "      NO ImageType: wanted not LOCALIZER, seen LOCALIZER",
        "      NO SeriesDescription: wanted ART, seen nothing",
        "  input venous: no series meets its conditions; optional, left out",
        "    2 series (1.1, 1.2): 0 of 11 instances - not met: SeriesDescription",
        "      NO SeriesDescription: wanted VEN, seen ART",
        "    5 series (1.3.0, 1.3.1, 1.3.2 and 2 more): 0 of 5 instances - not met: ImageType and SeriesDescription",
        "      NO SeriesDescription: wanted VEN, seen nothing",
        "  input before: none of 1 earlier study fits: it is of another patient: PatientID differs from the current study's",
        "    series 9.1 of prior study 9: 4 of 4 instances - it is of another patient: PatientID differs from the current study's",
        "      ok Modality: wanted CT, seen CT",
        "head: no-match - the nearest series does not meet Modality",
        "  7 series (1.1, 1.2, 1.3.0 and 4 more): 0 of 16 instances - not met: Modality",
        "    NO Modality: wanted MR or PT, seen CT",
    ]


def test_series_that_fared_alike_share_their_lines() -> None:
    many = study(*[series(f"1.{n}", 2) for n in range(300)])
    lines = render(decide([rule("head", is_("Modality", "MR"))], many)).splitlines()
    assert lines[1] == "  300 series (1.0, 1.1, 1.10 and 297 more): 0 of 600 instances - not met: Modality"
    assert len(lines) == 3


def test_condition_that_some_instances_meet_is_marked_and_counted() -> None:
    mixed = Series("1", series("1", 2, ImageType="ORIGINAL").instances + series("2", 3, ImageType="LOCALIZER").instances)
    lines = explain(decide([rule("r", is_("ImageType", "ORIGINAL"))], study(mixed)))
    assert (lines[-1].mark, lines[-1].depth) == (Mark.PARTLY, 3)
    assert str(lines[-1]).strip() == "part ImageType: wanted ORIGINAL, seen ORIGINAL, LOCALIZER (met by 2 of 5)"


def test_what_stops_the_whole_study_comes_first() -> None:
    holding = CompleteWhen(FOUND.closed_at - FOUND.closed_at, FOUND.closed_at - FOUND.closed_at, on_incomplete=OnIncomplete.HOLD)
    incomplete = {"r": Standing(due=True, complete=False, reason="2 of 3 instances")}
    first_lines = [
        str(explain(routing)[0])
        for routing in (
            decide([rule("qa", hold=True)], FOUND),
            decide([rule("r")], study(series("1", 1, PatientID="A"), series("2", 1, PatientID="B"))),
            decide([rule("r", complete_when=holding)], FOUND, incomplete),
        )
    ]
    assert first_lines == [
        "held: by rule qa",
        "quarantined: the study mixes patients: its instances differ in PatientID (2 values)",
        "held: rule r: 2 of 3 instances",
    ]


def test_long_values_are_cut() -> None:
    long = study(series("1", 1, StudyDescription="x" * 200))
    assert max(map(len, render(decide([rule("r", is_("StudyDescription", "y"))], long)).splitlines())) < 120


def test_stored_trace_reads_back() -> None:
    for trace in decide([rule("r", inputs=(slot("now"), prior_slot())), rule("q", is_("Modality", "MR"))], FOUND).traces:
        assert trace_from_record(asdict(trace)) == trace


def test_conditions_read_as_they_are_written() -> None:
    texts = {
        "CT or MR": Condition("Modality", (Equals("CT"), Equals("MR"))),
        "~CHEST, not A nor ~B": Condition("X", (Matches("CHEST"),), (Equals("A"), Matches("B"))),
        "1..3": Condition("X", (Within("1", "3"),)),
        ">=1": Condition("X", (Within("1", None),)),
        "<3": Condition("X", (Within(None, "3", high_included=False),)),
        ">1 and <=3": Condition("X", (Within("1", "3", low_included=False),)),
        "any value": Condition("X", presence=Presence.PRESENT),
        "no value": Condition("X", presence=Presence.ABSENT),
    }
    assert {text: wanted(condition) for text, condition in texts.items()} == {text: text for text in texts}
