"""Which earlier studies an input gets, and what happens without."""

from __future__ import annotations

import pytest

from dicom_node.domain.routing import Outcome, PriorSearch, Standing
from dicom_node.domain.rules import OnMissing
from dicom_node.domain.studies import Study
from dicom_node.routing import decide
from tests.unit.rule_studies import evenly, is_, of_prior, only_trace, prior_slot, rule, series, slices, slot, study

NOW = study(series("1", 3, StudyDate="20240102", StudyTime="101500", BodyPartExamined="CHEST"))


def before(uid: str, *more: object, **header: str) -> Study:
    return study(series(f"{uid}.1", 4, **({"StudyDate": "20230501", "BodyPartExamined": "CHEST"} | header)), uid=uid)


def search(*studies: Study, finished: bool = True, reason: str = "") -> list[PriorSearch]:
    return [PriorSearch("r", "before", studies, finished, reason)]


def with_prior(**options: object) -> object:
    return rule("r", inputs=(slot("now"), prior_slot(**options)))


def taken(routing: object) -> list[str]:
    [decision] = routing.decisions
    assert decision.inputs[0].name == "now"
    return [i.study_instance_uid for i in decision.inputs[1:]]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({}, "chosen"),
        ({"StudyDate": "20230102", "StudyTime": "101500"}, "chosen"),
        ({"StudyDate": "2023.05.01"}, "chosen"),
        ({"StudyDate": "20230102", "StudyTime": "101459"}, "too old: 365 days before the current study, 365 days allowed"),
        ({"StudyDate": "20221201"}, "too old: 397 days before the current study, 365 days allowed"),
        ({"StudyDate": "20240102"}, "chosen"),
        ({"StudyDate": "20240102", "StudyTime": "101501"}, "it is later than the current study"),
        ({"StudyDate": "20240103"}, "it is later than the current study"),
        ({"StudyDate": ""}, "it has no Study Date"),
        ({"StudyDate": "20231345"}, "it has no Study Date"),
        ({"Modality": "MR"}, "not met: Modality"),
        ({"BodyPartExamined": "ABDOMEN"}, "differs from the current study in BodyPartExamined"),
        ({"BodyPartExamined": " CHEST"}, "chosen"),
        ({"BodyPartExamined": ""}, "differs from the current study in BodyPartExamined"),
        ({"PatientID": "P2"}, "it is of another patient: PatientID differs from the current study's"),
        ({"PatientID": ""}, "it is of another patient: PatientID differs from the current study's"),
        ({"PatientID": "p1"}, "it is of another patient: PatientID differs from the current study's"),
        ({"PatientID": "P1 "}, "chosen"),
        ({"IssuerOfPatientID": "ELSEWHERE"}, "it is of another patient: IssuerOfPatientID differs from the current study's"),
    ],
)
def test_prior_is_taken_if_it_fits_and_otherwise_told_why_not(header: dict, reason: str) -> None:
    routing = decide([with_prior(same=("BodyPartExamined",))], NOW, priors=search(before("9", **header)))
    [_, trace] = only_trace(routing).inputs
    assert of_prior(trace.series, "9") == [reason]
    assert taken(routing) == (["9"] if reason == "chosen" else [])
    assert routing.quarantined_because == ""


def test_birth_dates_differ_only_where_both_are_named() -> None:
    current = study(series("1", 3, StudyDate="20240102", PatientBirthDate="19600229"))
    for birth, expected in (("19600229", ["9"]), ("", ["9"]), ("19610228", [])):
        assert taken(decide([with_prior()], current, priors=search(before("9", PatientBirthDate=birth)))) == expected


def test_issuer_that_only_some_instances_name_counts() -> None:
    header = {"StudyDate": "20240102"}
    current = study(series("1", 3, IssuerOfPatientID="HERE", **header), series("2", 2, **header))
    for issuer, expected in (("HERE", ["9"]), ("", []), ("ELSEWHERE", [])):
        assert taken(decide([with_prior()], current, priors=search(before("9", IssuerOfPatientID=issuer)))) == expected


def test_study_without_patient_id_has_no_priors() -> None:
    current = study(series("1", 3, StudyDate="20240102", PatientID=""))
    routing = decide([with_prior()], current, priors=search(before("9", PatientID="")))
    assert of_prior(only_trace(routing).inputs[1].series, "9") == ["the current study has no PatientID"]
    assert taken(routing) == []


def test_prior_that_mixes_patients_is_not_taken() -> None:
    mixed = study(series("a", 2, StudyDate="20230501"), series("b", 2, StudyDate="20230501", PatientID="P2"), uid="9")
    routing = decide([with_prior()], NOW, priors=search(mixed))
    assert of_prior(only_trace(routing).inputs[1].series, "9") == ["it mixes patients", "it mixes patients"]
    assert taken(routing) == []


def test_current_study_is_no_prior_of_itself() -> None:
    assert taken(decide([with_prior()], NOW, priors=search(NOW))) == []


@pytest.mark.parametrize(("most", "expected"), [(1, ["7"]), (2, ["7", "9"]), (5, ["7", "9", "8"])])
def test_newest_priors_are_taken_in_any_order_of_the_answer(most: int, expected: list[str]) -> None:
    found = [before("8", StudyDate="20230601"), before("9", StudyDate="20231101"), before("7", StudyDate="20231201")]
    for order in (found, found[::-1]):
        routing = decide([with_prior(most=most)], NOW, priors=search(*order))
        assert taken(routing) == expected
        assert [i.name for i in routing.decisions[0].inputs[1:]] == ["before"] * len(expected)
    if most == 1:
        assert of_prior(only_trace(routing).inputs[1].series, "8") == ["not needed: 1 newer study was taken"]


def test_prior_that_does_not_fit_leaves_its_place_to_an_older_one() -> None:
    found = [before("9", StudyDate="20231201", Modality="MR"), before("8", StudyDate="20230601")]
    assert taken(decide([with_prior()], NOW, priors=search(*found))) == ["8"]


def test_prior_gives_the_series_it_prefers_and_its_faults_count() -> None:
    prior = study(
        evenly("a", 5, 1, StudyDate="20230501"),
        evenly("b", 6, 1, StudyDate="20230501"),
        slices("c", [0, 1, 2, 3, 4, 5, 9, 10], StudyDate="20230501"),
        uid="9",
    )
    routing = decide([with_prior()], NOW, priors=search(prior))
    assert routing.decisions[0].inputs[1].series_instance_uid == "b"
    assert of_prior(only_trace(routing).inputs[1].series, "9") == [
        "another series has more instances: 6 against 5",
        "chosen",
        "3 slices missing between 5.0 and 9.0 mm",
    ]


def test_same_is_asked_of_the_series_that_was_chosen() -> None:
    current = study(
        series("1", 3, StudyDate="20240102", BodyPartExamined="CHEST"), series("2", 9, StudyDate="20240102", BodyPartExamined="ABDOMEN")
    )
    taker = rule("r", inputs=(slot("now", is_("BodyPartExamined", "CHEST")), prior_slot(same=("BodyPartExamined",))))
    assert taken(decide([taker], current, priors=search(before("9", BodyPartExamined="ABDOMEN")))) == []
    assert taken(decide([taker], current, priors=search(before("9")))) == ["9"]


def test_prior_is_asked_its_own_match_and_not_the_rules() -> None:
    taker = rule("r", is_("BodyPartExamined", "CHEST"), inputs=(slot("now"), prior_slot("before", is_("Modality", "MR"))))
    assert taken(decide([taker], NOW, priors=search(before("9", BodyPartExamined="HEAD", Modality="MR")))) == ["9"]


RUN, SKIP, WAIT = OnMissing.RUN, OnMissing.SKIP, OnMissing.WAIT
NONE_FITS = search(before("9", PatientID="P2"))
WRONG_PATIENT = "prior before: none of 1 earlier study fits: it is of another patient: PatientID differs from the current study's"


@pytest.mark.parametrize(
    ("on_missing", "searches", "complete", "outcome", "reason"),
    [
        (RUN, [], True, Outcome.WAITS, "prior before: earlier studies have not been looked for yet"),
        (RUN, search(finished=False, reason="asking pacs"), True, Outcome.WAITS, "prior before: asking pacs"),
        (RUN, search(before("9"), finished=False), True, Outcome.WAITS, "prior before: earlier studies have not been looked for yet"),
        (RUN, search(), True, Outcome.RUN, "runs model on now 3 instances, without before"),
        (RUN, NONE_FITS, True, Outcome.RUN, "runs model on now 3 instances, without before"),
        (SKIP, search(reason="pacs knows none"), True, Outcome.UNFIT, "prior before: pacs knows none"),
        (SKIP, search(), True, Outcome.UNFIT, "prior before: no earlier study was found"),
        (SKIP, NONE_FITS, True, Outcome.UNFIT, WRONG_PATIENT),
        (WAIT, search(), True, Outcome.WAITS, "prior before: no earlier study was found"),
        (WAIT, NONE_FITS, True, Outcome.WAITS, WRONG_PATIENT),
        (WAIT, search(), False, Outcome.RUN, "runs model on now 3 instances, without before (incomplete: waited 30 min)"),
    ],
)
def test_rule_without_its_prior_does_what_it_says(
    on_missing: OnMissing, searches: list, complete: bool, outcome: Outcome, reason: str
) -> None:
    standing = Standing(due=True, complete=complete, reason="" if complete else "waited 30 min")
    trace = only_trace(decide([with_prior(on_missing=on_missing)], NOW, {"r": standing}, searches))
    assert (trace.outcome, trace.reason) == (outcome, reason)


def test_search_for_another_rule_or_input_is_not_mine() -> None:
    other = [
        PriorSearch("other", "before", (before("9"),), finished=True, reason=""),
        PriorSearch("r", "other", (), finished=True, reason=""),
    ]
    assert only_trace(decide([with_prior()], NOW, priors=other)).outcome is Outcome.WAITS


def test_rule_that_would_not_run_anyway_does_not_wait_for_a_prior() -> None:
    taker = rule("r", inputs=(slot("now", min_instances=9), prior_slot()))
    assert only_trace(decide([taker], NOW)).outcome is Outcome.UNFIT
