from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from dicom_node.domain.routing import Outcome
from dicom_node.domain.rules import CompleteWhen, Condition, Equals, Rule
from dicom_node.domain.studies import ClosedBecause, Series, Study, StudyInstance
from dicom_node.routing import decide, render

COMPLETE = CompleteWhen(timedelta(seconds=1), timedelta(seconds=10))


def rule(name: str, *conditions: Condition, hold: bool = False) -> Rule:
    return Rule(name, conditions, COMPLETE, hold, "" if hold else "model", () if hold else ("pacs",))


def series(uid: str, count: int, **header: str) -> Series:
    values = {k: tuple(v.split("/")) for k, v in header.items()}
    return Series(uid, tuple(StudyInstance(f"{uid}.{n}", "", Path(), values) for n in range(count)))


def study(*found: Series) -> Study:
    return Study("1.2", 1, datetime(2024, 1, 1, tzinfo=UTC), ClosedBecause.QUIET, ("PACS",), found)


CT = Condition("Modality", (Equals("CT"),))
NO_LOCALIZER = Condition("ImageType", (), (Equals("LOCALIZER"),))


def test_every_rule_that_matches_fires() -> None:
    routing = decide([rule("a", CT), rule("b", CT)], study(series("1", 3, Modality="CT")))
    assert [d.rule for d in routing.decisions] == ["a", "b"]


def test_series_with_most_matching_instances_is_chosen() -> None:
    routing = decide(
        [rule("a", CT, NO_LOCALIZER)], study(series("1", 9, Modality="CT", ImageType="A/LOCALIZER"), series("2", 5, Modality="CT"))
    )
    assert routing.decisions[0].inputs[0].series_instance_uid == "2"


def test_equal_series_are_decided_by_series_number() -> None:
    routing = decide(
        [rule("a", CT)], study(series("1", 5, Modality="CT", SeriesNumber="4"), series("2", 5, Modality="CT", SeriesNumber="3"))
    )
    assert routing.decisions[0].inputs[0].series_instance_uid == "2"


def test_hold_rule_keeps_the_study_from_all_models_and_says_so() -> None:
    held = rule("phantoms", Condition("PatientID", (Equals("QA"),)), hold=True)
    routing = decide([held, rule("a", CT)], study(series("1", 5, Modality="CT", PatientID="QA")))
    assert (routing.decisions, routing.held_by) == ((), "phantoms")
    assert [t.outcome for t in routing.traces] == [Outcome.HOLD, Outcome.HELD_BACK]


def test_trace_says_what_was_wanted_and_what_was_seen() -> None:
    text = render(decide([rule("a", CT)], study(series("1", 5, Modality="MR"))))
    assert "NO Modality: wanted CT, seen MR" in text


def test_sender_is_a_condition_like_any_other() -> None:
    by_sender = rule("a", Condition("CallingAET", (Equals("PACS"),)))
    assert decide([by_sender], study(series("1", 1, Modality="MR"))).decisions
