"""What stops a rule, in which order, and what it says."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from dicom_node.domain.routing import Outcome, Standing
from dicom_node.domain.rules import After, CompleteWhen, OnIncomplete, OnLate, Priority
from dicom_node.routing import RuleSet, decide, patients_agree
from tests.unit.rule_studies import CLOSED_AT, is_, only_trace, outcomes, rule, series, slot, study

CHEST = study(series("1", 3))
DAY = timedelta(days=1)


def complete_when(on_incomplete: OnIncomplete) -> CompleteWhen:
    return CompleteWhen(timedelta(seconds=1), timedelta(seconds=10), on_incomplete=on_incomplete)


@pytest.mark.parametrize(
    ("options", "standing", "outcome", "reason"),
    [
        ({}, Standing(due=True), Outcome.RUN, "runs model on 3 instances"),
        ({}, Standing(due=True, reason="quiet for 60 s"), Outcome.RUN, "runs model on 3 instances (quiet for 60 s)"),
        ({}, Standing(due=False, reason="until 12:01"), Outcome.WAITS, "until 12:01"),
        ({}, Standing(due=False), Outcome.WAITS, "the study is not complete for this rule"),
        ({}, Standing(due=False, reason="until 12:01", ran_on=2), Outcome.WAITS, "until 12:01"),
        ({"on_late": OnLate.IGNORE}, Standing(due=False, ran_on=2), Outcome.LATE, "ran on revision 2 and ignores what came later"),
        ({"on_late": OnLate.IGNORE}, Standing(due=False, reason="until 12:01"), Outcome.WAITS, "until 12:01"),
        (
            {},
            Standing(due=True, complete=False, reason="2 of 3 instances"),
            Outcome.RUN,
            "runs model on 3 instances (incomplete: 2 of 3 instances)",
        ),
        (
            {"complete_when": complete_when(OnIncomplete.SKIP)},
            Standing(due=True, complete=False, reason="2 of 3 instances"),
            Outcome.INCOMPLETE,
            "2 of 3 instances; the rule does not run on an incomplete study (on_incomplete: skip)",
        ),
    ],
)
def test_standing_decides_what_becomes_of_a_rule_that_matches(options: dict, standing: Standing, outcome: Outcome, reason: str) -> None:
    trace = only_trace(routing := decide([rule("r", **options)], CHEST, {"r": standing}))
    assert (trace.outcome, trace.reason) == (outcome, reason)
    assert bool(routing.decisions) is (outcome is Outcome.RUN)
    assert (routing.held_by, routing.hold_reason) == (None, "")


def test_incomplete_study_is_held_for_one_rule_while_others_run() -> None:
    holding = rule("holding", complete_when=complete_when(OnIncomplete.HOLD))
    standings = {name: Standing(due=True, complete=False, reason="2 of 3 instances") for name in ("holding", "running")}
    routing = decide([holding, rule("running")], CHEST, standings)
    assert outcomes(routing) == [Outcome.INCOMPLETE, Outcome.RUN]
    assert (routing.held_by, routing.hold_reason) == (None, "rule holding: 2 of 3 instances")
    assert [d.rule for d in routing.decisions] == ["running"]


@pytest.mark.parametrize(("on_late", "ran_on", "replaces"), [(OnLate.REPLACE, 1, True), (OnLate.REPLACE, 0, False), (OnLate.RUN, 1, False)])
def test_late_instances_replace_the_report_only_of_a_rule_that_has_run_and_says_so(on_late: OnLate, ran_on: int, replaces: bool) -> None:
    [decision] = decide([rule("r", on_late=on_late)], CHEST, {"r": Standing(due=True, ran_on=ran_on)}).decisions
    assert decision.replaces is replaces


def test_decision_carries_what_the_rule_says() -> None:
    [decision] = decide([rule("r", send_to=("a", "b"), priority=Priority.STAT, shadow=True)], CHEST).decisions
    assert (decision.model, decision.send_to, decision.priority, decision.shadow) == ("model", ("a", "b"), Priority.STAT, True)


@pytest.mark.parametrize(
    ("schedule", "active"),
    [
        ({"active_from": CLOSED_AT}, True),
        ({"active_from": CLOSED_AT + DAY}, False),
        ({"active_until": CLOSED_AT}, False),
        ({"active_until": CLOSED_AT + DAY}, True),
        ({"active_from": CLOSED_AT - DAY, "active_until": CLOSED_AT + DAY}, True),
    ],
)
def test_rule_takes_studies_that_close_within_its_schedule(schedule: dict, active: bool) -> None:
    routing = decide([rule("hold", hold=True, **schedule), rule("r", **schedule)], CHEST)
    assert outcomes(routing) == ([Outcome.HOLD, Outcome.HELD_BACK] if active else [Outcome.INACTIVE, Outcome.INACTIVE])
    assert routing.held_by == ("hold" if active else None)


def test_hold_rule_waits_for_nothing_and_stops_every_rule_that_would_match() -> None:
    rules = [rule("r"), rule("other", is_("Modality", "MR")), rule("hold", hold=True)]
    routing = decide(rules, CHEST, {"hold": Standing(due=False), "r": Standing(due=False, reason="soon")})
    assert outcomes(routing) == [Outcome.HELD_BACK, Outcome.NO_MATCH, Outcome.HOLD]
    assert routing.traces[0].reason == "rule hold holds the study"
    assert routing.decisions == ()


def test_first_of_several_holds_is_named() -> None:
    routing = decide([rule("a", is_("Modality", "MR"), hold=True), rule("b", hold=True), rule("c", hold=True)], CHEST)
    assert routing.held_by == "b"
    assert outcomes(routing) == [Outcome.NO_MATCH, Outcome.HOLD, Outcome.HOLD]


def test_rule_after_a_result_waits_for_it_and_then_runs() -> None:
    follower = rule("r", after=After("triage", 'result.finding("x").present'))
    routing = decide([follower], CHEST)
    assert (only_trace(routing).outcome, routing.decisions) == (Outcome.AFTER, ())
    assert only_trace(routing).reason == 'follows the result of triage where result.finding("x").present'
    [decision] = decide([follower], CHEST, followed={"r"}).decisions
    assert decision.model == "model"


def test_rule_after_a_result_that_its_inputs_do_not_fit_says_so_at_once() -> None:
    follower = rule("r", after=After("triage"), inputs=(slot("image", min_instances=9),))
    assert only_trace(decide([follower], CHEST)).outcome is Outcome.UNFIT


ID, ISSUER = "PatientID", "IssuerOfPatientID"


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ({ID: "A"}, {ID: "A "}, ""),
        ({ID: "A", ISSUER: "X"}, {ID: "A", ISSUER: "X"}, ""),
        ({ID: "A", ISSUER: "X"}, {ID: "A"}, ""),
        ({ID: "A"}, {ID: "B"}, "PatientID (2 values)"),
        ({ID: "A"}, {ID: "a"}, "PatientID (2 values)"),
        ({ID: "A"}, {ID: ""}, "PatientID (2 values)"),
        ({ID: "A", ISSUER: "X"}, {ID: "A", ISSUER: "Y"}, "IssuerOfPatientID (2 values)"),
        ({ID: "A", ISSUER: "X"}, {ID: "B", ISSUER: "Y"}, "PatientID (2 values) and IssuerOfPatientID (2 values)"),
    ],
)
def test_study_that_mixes_patients_is_quarantined(first: dict, second: dict, reason: str) -> None:
    mixed = study(series("1", 2, **first), series("2", 2, **second))
    expected = f"the study mixes patients: its instances differ in {reason}" if reason else ""
    assert patients_agree(mixed) == expected
    routing = decide([rule("hold", is_("Modality", "MR"), hold=True), rule("r")], mixed, {"r": Standing(due=False)})
    assert routing.quarantined_because == expected
    if reason:
        assert outcomes(routing) == [Outcome.QUARANTINED, Outcome.QUARANTINED]
        assert routing.decisions == ()


def test_patients_mixed_within_a_series_are_seen() -> None:
    one = series("1", 2, PatientID="A")
    other = replace(one.instances[0], sop_instance_uid="x", attributes={**one.instances[0].attributes, "PatientID": ("B",)})
    assert decide([rule("r")], study(replace(one, instances=(*one.instances, other)))).quarantined_because


def test_reasons_of_rules_show_no_patient_data() -> None:
    secret = {ID: "SECRET-ID", "PatientName": "SECRET^NAME", "AccessionNumber": "SECRET-ACC", "PatientBirthDate": "19600229"}
    conditions = [is_(keyword, "other") for keyword in secret]
    routings = [
        decide([rule("r", *conditions), rule("one"), rule("hold", is_(ID, "SECRET-ID"), hold=True)], study(series("1", 2, **secret))),
        decide([rule("r")], study(series("1", 2, **secret), series("2", 2, PatientID="SECRET-2"))),
    ]
    for routing in routings:
        said = [t.reason for t in routing.traces] + [i.reason for t in routing.traces for i in t.inputs] + [routing.quarantined_because]
        assert not [text for text in said if "SECRET" in text or "19600229" in text]


def test_study_without_instances_matches_nothing() -> None:
    assert only_trace(decide([rule("r")], study())).reason == "the study has no instances"
    assert only_trace(decide([rule("r")], study(replace(series("1", 1), instances=())))).outcome is Outcome.NO_MATCH


def test_rule_set_decides_as_its_rules_do_and_serves_study_after_study() -> None:
    rules = (rule("a"), rule("b", is_("Modality", "MR")), rule("c", is_("CallingAET", "PACS")))
    ready = RuleSet(rules)
    for other in (CHEST, study(series("1", 3, Modality="MR")), study(series("1", 3), series("2", 3, Modality="MR")), CHEST):
        assert decide(ready, other) == decide(rules, other) == decide(list(rules), other)


@pytest.mark.parametrize(
    ("when", "takes", "seen"),
    [
        ("SliceThickness < 3.0", ["1"], ("the expression is false",)),
        ("present('SliceThickness') && Modality == 'CT'", ["1", "2"], ("the expression is false",)),
        ("'PACS' in CallingAET && SliceThickness >= 3.0", ["2"], ("the expression is false",)),
    ],
)
def test_when_is_asked_of_each_instance_beside_match(when: str, takes: list[str], seen: tuple[str, ...]) -> None:
    found = study(series("1", 3, SliceThickness="1"), series("2", 2, SliceThickness="5"), series("3", 9))
    routing = decide([rule("r", when=when)], found)
    [trace] = only_trace(routing).inputs
    assert [s.series_instance_uid for s in trace.series if s.selected_instances] == takes
    unmet = [c for s in trace.series for c in s.conditions if c.keyword == "when" and not c.matched_instances]
    assert all(c.wanted == when for c in unmet)
    assert {text for c in unmet for text in c.seen} <= {*seen, "SliceThickness has no value"}


def test_when_selects_single_instances_of_a_series() -> None:
    thin, thick = series("1", 3, SliceThickness="1"), series("x", 2, SliceThickness="5")
    routing = decide([rule("r", when="SliceThickness < 3.0")], study(replace(thin, instances=thin.instances + thick.instances)))
    assert routing.decisions[0].inputs[0].sop_instance_uids == ("1.0", "1.1", "1.2")


def test_when_over_several_elements_that_vary_asks_each_instance_for_its_own() -> None:
    made = [series(f"1.{n}", 1, SliceThickness=str(n), EchoTime=str(9 - n), Rows="512").instances[0] for n in range(10)]
    found = study(replace(series("1", 1), instances=tuple(made)))
    routing = decide([rule("r", when="SliceThickness > EchoTime && Rows == 512 && 'PACS' in CallingAET")], found)
    assert routing.decisions[0].inputs[0].sop_instance_uids == tuple(f"1.{n}.0" for n in range(5, 10))
