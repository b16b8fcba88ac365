"""Which rules follow a result: every way a rule can fare."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicom_node.domain.routing import Outcome
from dicom_node.domain.rules import After, CompleteWhen, Condition, Equals, OnLate, Priority, Rule
from dicom_node.domain.studies import ClosedBecause, Series, Study, StudyInstance
from dicom_node.routing.follow import FinishedRun, Sending, follow, followers

NOW = datetime(2024, 1, 2, tzinfo=UTC)
MET, UNMET = 'result.measurements["score"].value > 0.5', 'result.measurements["score"].value > 0.9'
RULE = Rule(
    name="follower",
    match=(Condition("Modality", (Equals("CT"),)),),
    complete_when=CompleteWhen(timedelta(seconds=1), timedelta(minutes=1)),
    hold=False,
    model="second",
    send_to=("ward",),
    checks=(),
    priority=Priority.STAT,
    after=After("first", MET),
)
SENDS = replace(RULE, model="")
RUN = FinishedRun(7, "first", shadow=False, findings={"measurements": {"score": {"value": 0.7, "unit": "1"}}})


def study(modality: str = "CT") -> Study:
    header = {"Modality": (modality,), "PatientID": ("P",)}
    instances = tuple(StudyInstance(f"1.2.3.{n}", "1.2.840.10008.5.1.4.1.1.2", Path(), header) for n in range(3))
    return Study("1.2", 2, NOW, ClosedBecause.QUIET, ("CT1",), (Series("1.2.3", instances),), ("AINODE",))


def test_rule_with_a_model_becomes_a_job_with_its_own_priority() -> None:
    following = follow([RULE], RUN, study(), {})
    [decision] = following.decisions
    assert (decision.rule, decision.model, decision.priority, decision.send_to) == ("follower", "second", Priority.STAT, ("ward",))
    assert len(decision.inputs[0].sop_instance_uids) == 3
    assert following.sendings == ()
    assert following.traces[0].reason == "after job 7: runs second on 3 instances"


def test_rule_without_a_model_sends_the_results_of_the_run() -> None:
    following = follow([SENDS], RUN, study(), {})
    assert (following.decisions, following.sendings) == ((), (Sending("follower", ("ward",)),))
    assert (following.traces[0].outcome, following.traces[0].reason) == (Outcome.RUN, "after job 7: sends the result of first to ward")


def test_rule_that_follows_may_forward_the_images_beside_or_without_the_results() -> None:
    both, images = replace(SENDS, forward_to=("neuro",)), replace(SENDS, name="images", send_to=(), forward_to=("neuro",))
    following = follow([both, images], RUN, study(), {})
    assert (following.decisions, following.sendings) == ((), (Sending("follower", ("ward",)),))
    assert [(d.rule, d.forward_to, len(d.forward[0].sop_instance_uids)) for d in following.forwardings] == [
        ("follower", ("neuro",), 3),
        ("images", ("neuro",), 3),
    ]
    assert [t.reason for t in following.traces] == [
        "after job 7: sends the result of first to ward and forwards 3 instances of 1 series to neuro",
        "after job 7: forwards 3 instances of 1 series to neuro",
    ]


@pytest.mark.parametrize(
    ("rule", "run", "ran_on", "outcome", "words"),
    [
        (replace(RULE, after=After("first", UNMET)), RUN, 0, Outcome.NO_MATCH, "did not meet `after.when`: the expression is false"),
        (replace(RULE, after=After("first", UNMET.replace("score", "x"))), RUN, 0, Outcome.NO_MATCH, 'the result has no "x"'),
        (replace(RULE, match=(Condition("Modality", (Equals("MR"),)),)), RUN, 0, Outcome.NO_MATCH, "Modality"),
        (RULE, replace(RUN, shadow=True), 0, Outcome.HELD_BACK, "shadow run, which starts shadow rules only"),
        (SENDS, replace(RUN, shadow=True), 0, Outcome.HELD_BACK, "shadow run, which starts shadow rules only"),
        (replace(SENDS, shadow=True), RUN, 0, Outcome.HELD_BACK, "shadow: the results of job 7 would go to ward"),
        (replace(RULE, on_late=OnLate.IGNORE), RUN, 1, Outcome.LATE, "ran on revision 1"),
        (replace(RULE, active_until=NOW), RUN, 0, Outcome.INACTIVE, "after job 7"),
    ],
)
def test_rule_that_does_not_follow_says_why(rule: Rule, run: FinishedRun, ran_on: int, outcome: Outcome, words: str) -> None:
    following = follow([rule], run, study(), {"follower": ran_on} if ran_on else {})
    assert (following.decisions, following.sendings) == ((), ())
    assert following.traces[0].outcome is outcome
    assert words in following.traces[0].reason


NOTHING = replace(RUN, findings={"outcome": "not-analysed", "measurements": {}})
ASKS = 'result.outcome == "not-analysed"'


@pytest.mark.parametrize(
    ("when", "follows"),
    [
        ("", False),
        ("true", False),
        ('!result.finding("Bleeding").present', False),
        ('result.model != "result.outcome"', False),  # in quotes it is a text like any other
        (ASKS, True),
        ('result.outcome=="analysed"', False),
        ('result . outcome != "analysed" || result.finding("x").present', True),
    ],
)
@pytest.mark.parametrize("rule", [RULE, SENDS])
def test_run_that_analysed_nothing_is_followed_only_by_rules_that_ask_for_it(rule: Rule, when: str, follows: bool) -> None:
    following = follow([replace(rule, after=After("first", when))], NOTHING, study(), {})
    assert bool(following.decisions or following.sendings) is follows
    assert following.traces[0].outcome is (Outcome.RUN if follows else Outcome.NO_MATCH)
    if not follows and "outcome" not in when:
        assert following.traces[0].reason == "job 7 analysed nothing, and `after.when` does not ask for that"


@pytest.mark.parametrize(("on_late", "ran_on", "replaces"), [(OnLate.REPLACE, 0, False), (OnLate.REPLACE, 1, True), (OnLate.RUN, 1, False)])
def test_rule_that_replaces_does_so_only_after_an_earlier_run(on_late: OnLate, ran_on: int, replaces: bool) -> None:
    [decision] = follow([replace(RULE, on_late=on_late)], RUN, study(), {"follower": ran_on} if ran_on else {}).decisions
    assert decision.replaces is replaces


def test_shadow_rule_follows_a_shadow_run_and_any_other() -> None:
    shadow = replace(RULE, shadow=True)
    for run in (RUN, replace(RUN, shadow=True)):
        [decision] = follow([shadow], run, study(), {}).decisions
        assert decision.shadow


def test_only_rules_after_this_model_are_asked() -> None:
    rules = [RULE, replace(RULE, name="other", after=After("third")), replace(RULE, name="plain", after=None)]
    assert [r.name for r in followers(rules, "first")] == ["follower"]
    assert [t.rule for t in follow(rules, RUN, study(), {}).traces] == ["follower"]
