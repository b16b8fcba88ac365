"""When rules decide on a study, by a clock that the test turns; each story also with a new intake at every step."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import structlog

from dicom_node.domain.availability import Availability
from dicom_node.domain.equipment import NODE_MODEL_NAME
from dicom_node.domain.routing import PriorSearch
from dicom_node.domain.studies import StudyState
from dicom_node.storage import Database, InstanceFiles, index
from dicom_node.storage.visits import BROKEN_OFF, visit_folder
from tests.integration.ward import Made, Ward, at, rules
from tests.phantoms import chest_series

QUICK = "name: quick, complete_when: {quiet: 10s, max_wait: 60s}"
SLOW = "name: slow, complete_when: {quiet: 40s, max_wait: 100s}"

NewWard = Callable[..., Ward]


@pytest.fixture(params=[False, True], ids=["one-intake", "new-intake-each-turn"])
def new_ward(request: pytest.FixtureRequest, tmp_path: Path, database: Database, files: InstanceFiles) -> NewWard:
    def build(*sections: str, defaults: str = "") -> Ward:
        return Ward(tmp_path, database, files, defaults + rules(*sections), restarts=request.param)

    return build


def slices(study: str | None = None, count: int = 6, **elements: object) -> list:  # type: ignore[type-arg]
    return chest_series(study, **elements)[:count]


def uid_of(series: list) -> str:  # type: ignore[type-arg]
    return str(series[0].StudyInstanceUID)


def test_study_in_two_associations_interleaved_with_another_patients_study(new_ward: NewWard) -> None:
    ward = new_ward(QUICK)
    one, other = slices(), slices(PatientID="ANOTHER")
    ward.receive(one[:3], 0)
    ward.receive(other[:2], 1)
    ward.receive(one[3:5], 5)
    assert ward.turns(5, 10) == []
    ward.receive(one[5:], 12, calling="OTHER-AE")
    assert ward.turns(11) == [Made(11, "quick", 1, 2)]  # the other patient's, quiet since second 1
    ward.receive(other[2:], 13)
    assert ward.turns(21) == []
    assert ward.turns(22, 23) == [Made(22, "quick", 1, 6), Made(23, "quick", 2, 6)]
    assert {ward.study(uid_of(s)).state for s in (one, other)} == {StudyState.CLOSED}


def test_series_that_arrives_over_minutes_is_one_revision(new_ward: NewWard) -> None:
    ward = new_ward("name: patient, complete_when: {quiet: 90s, max_wait: 20m}")
    series = slices(count=10)
    for number, ds in enumerate(series):
        ward.receive([ds], number * 60)
        assert ward.turns(number * 60, number * 60 + 59) == []
    assert ward.turns(629) == []
    assert ward.turns(630) == [Made(630, "patient", 1, 10)]


def test_rules_with_different_waits_decide_each_at_its_time_on_the_same_revision(new_ward: NewWard) -> None:
    ward = new_ward(QUICK, SLOW)
    series = slices()
    ward.receive(series, 0)
    assert ward.turns(9) == []
    assert ward.waits(uid_of(series)) == {"quick": "10 s without an instance", "slow": "40 s without an instance"}
    assert ward.turns(10) == [Made(10, "quick", 1, 6)]
    assert ward.outcomes(uid_of(series)) == [{"quick": "run", "slow": "waits"}]
    assert ward.study(uid_of(series)).state is StudyState.RECEIVING
    assert ward.turns(39, 40) == [Made(40, "slow", 1, 6)]
    assert ward.outcomes(uid_of(series)) == [{"quick": "run", "slow": "run"}]
    assert (ward.study(uid_of(series)).state, ward.study(uid_of(series)).waits) == (StudyState.CLOSED, ())


def test_rule_that_is_due_after_more_came_decides_on_a_new_revision(new_ward: NewWard) -> None:
    ward = new_ward(QUICK, SLOW)
    series = slices()
    ward.receive(series[:4], 0)
    assert ward.turns(10) == [Made(10, "quick", 1, 4)]
    ward.receive(series[4:], 20)
    assert ward.turns(20, 30) == [Made(30, "quick", 2, 6)]
    assert ward.turns(59, 60) == [Made(60, "slow", 2, 6)]
    assert ward.outcomes(uid_of(series)) == [{"quick": "run", "slow": "waits"}, {"quick": "run", "slow": "run"}]


def test_longest_wait_counts_from_the_first_instance_that_the_rule_has_not_decided_on(new_ward: NewWard) -> None:
    ward = new_ward(QUICK, "name: slow, complete_when: {quiet: 40s, max_wait: 100s, on_incomplete: skip}")
    series = slices(count=12)
    made: list[Made] = []
    for second in range(181):
        if second % 15 == 0 and second // 15 < len(series):
            ward.receive([series[second // 15]], second)
        made += ward.turn(second)
    assert [m for m in made if m.rule == "slow"] == []
    found = ward.outcomes(uid_of(series))
    assert [outcomes["slow"] for outcomes in found].count("incomplete") == 1  # 100 s after the first
    last = ward.study(uid_of(series)).revision
    assert [m for m in ward.turns(*range(181, 300)) if m.rule == "slow"] == [
        Made(205, "slow", last, 12)
    ]  # quiet 40 s after the last, at 165


@pytest.mark.parametrize(
    ("on_incomplete", "state", "outcome"),
    [("run", StudyState.CLOSED, "run"), ("skip", StudyState.CLOSED, "incomplete"), ("hold", StudyState.HELD, "incomplete")],
)
def test_longest_wait_is_over(new_ward: NewWard, on_incomplete: str, state: StudyState, outcome: str) -> None:
    ward = new_ward(
        f"name: sure, complete_when: {{quiet: 10s, max_wait: 60s, availability: true, on_incomplete: {on_incomplete}}}",
        QUICK,
    )
    series = slices()
    ward.announce(series, 0)
    ward.receive(series[:4], 1)
    made = ward.turns(*range(1, 62))
    assert ward.outcomes(uid_of(series)) == [{"sure": outcome, "quick": "run"}]
    assert [m.rule for m in made] == ["quick", *(["sure"] if on_incomplete == "run" else [])]
    assert ward.study(uid_of(series)).state is state
    assert "4 of 6 announced instances" in ward.reasons(uid_of(series))["sure"]
    if on_incomplete == "hold":
        assert "sure" in ward.study(uid_of(series)).reason


def test_study_held_by_a_rule_that_misses_something_opens_again_when_it_comes(new_ward: NewWard) -> None:
    ward = new_ward("name: sure, complete_when: {quiet: 10s, max_wait: 60s, availability: true, on_incomplete: hold}")
    series = slices()
    ward.announce(series, 0)
    ward.receive(series[:4], 1)
    assert ward.turns(*range(1, 70)) == []
    assert ward.study(uid_of(series)).state is StudyState.HELD
    ward.receive(series[4:], 80)
    assert ward.turns(80) == [Made(80, "sure", 2, 6)]
    assert ward.study(uid_of(series)).state is StudyState.CLOSED


def test_announced_instances_close_at_once_when_the_last_arrives(new_ward: NewWard) -> None:
    ward = new_ward("name: told, complete_when: {quiet: 50s, max_wait: 500s, availability: true}")
    series = slices()
    ward.receive(series[:2], 0)
    assert ward.turns(60) == []
    assert ward.waits(uid_of(series)) == {"told": "no instance is announced"}
    ward.announce(series[:5], 70)
    ward.announce(series[5:], 71, Availability.UNAVAILABLE)
    assert ward.turns(72) == []
    assert ward.waits(uid_of(series)) == {"told": "2 of 5 announced instances"}
    ward.receive(series[2:5], 80)
    assert ward.turns(80) == [Made(80, "told", 1, 5)]


def test_archive_that_counts_closes_when_all_have_come(new_ward: NewWard) -> None:
    ward = new_ward("name: counted, complete_when: {quiet: 10s, max_wait: 500s, expected_count: archive}")
    series = slices()
    ward.archive.counts[uid_of(series)] = 6
    ward.receive(series[:4], 0)
    assert ward.turns(9) == []
    assert ward.archive.asked == []
    assert ward.turns(10, 11) == []
    assert ward.waits(uid_of(series)) == {"counted": "4 of 6 instances that archive counts"}
    assert {(q.source, q.arrived) for q in ward.archive.asked} == {("archive", 4)}
    ward.receive(series[4:], 12)
    assert ward.turns(12, 22) == [Made(22 if ward.restarts else 12, "counted", 1, 6)]  # an answer is asked for anew after a kill


def test_archive_that_does_not_count_lets_the_longest_wait_decide(new_ward: NewWard) -> None:
    ward = new_ward("name: counted, complete_when: {quiet: 10s, max_wait: 60s, expected_count: archive, on_incomplete: run}")
    series = slices()
    ward.receive(series, 0)
    assert ward.turns(*range(61)) == [Made(60, "counted", 1, 6)]
    assert "archive has not said how many instances there are" in ward.reasons(uid_of(series))["counted"]


TWO_INPUTS = (
    "name: pair, match: {Modality: [CT, PT]}, model: chest-ct-densitometry,"
    " inputs: {anatomy: {match: {Modality: CT}}, uptake: {match: {Modality: PT}}},"
    " complete_when: {quiet: 10s, max_wait: 500s, slots: true}"
)


def test_all_inputs_must_be_there_and_quiet(new_ward: NewWard) -> None:
    ward = new_ward(TWO_INPUTS)
    ct = slices()
    pet = slices(uid_of(ct), Modality="PT")
    ward.receive(ct, 0)
    assert ward.turns(10, 60) == []
    assert "uptake" in ward.waits(uid_of(ct))["pair"]
    ward.receive(pet, 61)
    assert ward.turns(61, 70) == []
    assert ward.turns(71) == [Made(71, "pair", 1, 6)]


def test_release_completes_before_quiet(new_ward: NewWard) -> None:
    ward = new_ward("name: fast, complete_when: {quiet: 50s, max_wait: 500s, release: 2s}", SLOW)
    series = slices()
    ward.receive(series[:3], 0)
    ward.leave(1, uid_of(series))
    folder = visit_folder(ward.files.run)
    known = set(folder.iterdir())
    other = ward.book.open()
    other.brings(uid_of(series))
    assert ward.turns(1, 3, 5) == []  # another association is open
    ward.receive(series[3:], 6)
    [file_of_other] = set(folder.iterdir()) - known
    other.end(released=True)
    file_of_other.unlink()  # it ended today; in the story, it does so at second 7
    ward.leave(7, uid_of(series))
    assert ward.turns(8) == []
    assert ward.turns(9) == [Made(9, "fast", 1, 6)]
    assert ward.turns(45, 46) == [Made(46, "slow", 1, 6)]


def test_association_that_broke_off_is_no_release(new_ward: NewWard) -> None:
    ward = new_ward("name: fast, complete_when: {quiet: 50s, max_wait: 500s, release: 2s}")
    series = slices()
    ward.receive(series, 0)
    ward.leave(1, uid_of(series), word=BROKEN_OFF)
    assert ward.turns(3, 49) == []
    assert ward.turns(50) == [Made(50, "fast", 1, 6)]


def test_notes_of_visits_go_when_nobody_waits_for_them(new_ward: NewWard) -> None:
    ward = new_ward("name: fast, complete_when: {quiet: 50s, max_wait: 500s, release: 2s}")
    series = slices()
    ward.receive(series, 0)
    ward.leave(1, uid_of(series))
    ward.turns(2)
    assert len(list(visit_folder(ward.files.run).iterdir())) == 1
    assert len(ward.turns(3, 4)) == 1
    assert list(visit_folder(ward.files.run).iterdir()) == []


@pytest.mark.parametrize(("on_late", "outcome", "replaces"), [("ignore", "late", None), ("run", "run", False), ("replace", "run", True)])
def test_late_slice_after_the_run(new_ward: NewWard, on_late: str, outcome: str, replaces: bool | None) -> None:
    ward = new_ward(f"{QUICK}, on_late: {on_late}")
    series = slices()
    ward.receive(series[:5], 0)
    assert ward.turns(10) == [Made(10, "quick", 1, 5)]
    ward.receive(series[5:], 20)
    made = ward.turns(*range(20, 120))
    assert ward.outcomes(uid_of(series)) == [{"quick": "run"}, {"quick": outcome}]
    assert [(job.key.revision, job.replaces) for job in ward.jobs()] == [(1, False)] + ([] if replaces is None else [(2, replaces)])
    assert made == ([] if replaces is None else [Made(30, "quick", 2, 6)])
    assert ward.study(uid_of(series)).state is StudyState.CLOSED


def test_own_results_never_count_and_never_trigger(new_ward: NewWard) -> None:
    ward = new_ward("name: counted, complete_when: {quiet: 10s, max_wait: 500s, expected_count: archive}")
    series = slices()
    own = slices(uid_of(series), ManufacturerModelName=NODE_MODEL_NAME)
    ward.archive.counts[uid_of(series)] = 6
    ward.receive(series[:4], 0)
    ward.receive(own, 1)
    assert ward.turns(*range(30)) == []
    assert ward.waits(uid_of(series)) == {"counted": "4 of 6 instances that archive counts"}
    ward.receive(series[4:], 31)
    assert len(ward.turns(*range(31, 62))) == 1
    ward.receive(slices(uid_of(series), ManufacturerModelName=NODE_MODEL_NAME), 70)
    assert ward.turns(*range(70, 130)) == []
    assert ward.study(uid_of(series)).state is StudyState.CLOSED


def test_another_rule_changes_nothing_of_what_a_rule_does(tmp_path: Path) -> None:
    story = [(0, 0, 3), (4, 3, 4), (30, 4, 6)]

    def lived(folder: str, *sections: str) -> list[Made]:
        place = tmp_path / folder
        place.mkdir()
        database = Database(f"sqlite:///{place / 'node.db'}")
        database.migrate()
        files = InstanceFiles(place / "data")
        files.prepare()
        ward, series, made = Ward(place, database, files, rules(*sections)), slices(), []
        for second in range(0, 120, 2):
            for moment, first, last in story:
                if moment == second:
                    ward.receive(series[first:last], second)
            made += ward.turns(second)
        database.close()
        return [m for m in made if m.rule == "quick"]

    alone = lived("alone", QUICK)
    beside = lived("beside", QUICK, SLOW, "name: told, complete_when: {quiet: 2s, max_wait: 30s, availability: true, on_incomplete: skip}")
    assert [(m.second, m.instances) for m in alone] == [(m.second, m.instances) for m in beside] == [(14, 4), (40, 6)]


def test_study_of_no_rule_closes_by_the_waits_of_its_modality(new_ward: NewWard) -> None:
    ward = new_ward(QUICK, defaults="defaults: {MR: {quiet: 15s}, other: {quiet: 5s, max_wait: 6s}}\n")
    mr, other = slices(Modality="MR"), slices(Modality="ZZ")
    ward.receive([*mr, *other], 0)
    assert ward.turns(4) == []
    assert ward.waits(uid_of(mr)) == {"": "15 s without an instance"}
    assert ward.turns(5, 14) == []
    assert (ward.study(uid_of(other)).state, ward.study(uid_of(mr)).state) == (StudyState.CLOSED, StudyState.RECEIVING)
    assert ward.turns(15) == []
    assert ward.study(uid_of(mr)).state is StudyState.CLOSED
    assert "no rule takes it" in ward.study(uid_of(mr)).reason
    assert ward.outcomes(uid_of(mr)) == [{"quick": "no-match"}]


def test_rule_without_complete_when_takes_the_waits_of_the_modality(new_ward: NewWard) -> None:
    ward = new_ward("name: plain", "name: half, complete_when: {quiet: 5s}")
    series = slices()
    ward.receive(series, 0)
    assert ward.turns(5, 59) == [Made(5, "half", 1, 6)]
    assert ward.turns(60) == [Made(60, "plain", 1, 6)]


def test_study_of_two_patients_is_quarantined_at_the_first_decision_and_waits_for_nobody(new_ward: NewWard) -> None:
    ward = new_ward(QUICK, SLOW)
    series = slices()
    series[3].PatientID = "SOMEBODY ELSE"
    ward.receive(series, 0)
    with structlog.testing.capture_logs() as logs:
        assert ward.turns(*range(60)) == []
    study = ward.study(uid_of(series))
    assert (study.state, study.waits) == (StudyState.QUARANTINED, ())
    assert "mixes patients" in study.reason
    [line] = [line for line in logs if line["event"] == "study_quarantined"]
    assert line["study_uid"] == uid_of(series)
    assert not any("SOMEBODY" in str(value) or "PH-4711" in str(value) for entry in logs for value in entry.values())
    assert ward.by_hand(uid_of(series), 70) == []
    assert ward.study(uid_of(series)).state is StudyState.QUARANTINED


HOLD = "name: phantoms, match: {PatientID: PH-4711}, hold: true"


def test_held_study_is_released_by_hand_only(new_ward: NewWard) -> None:
    ward = new_ward(HOLD, QUICK, SLOW)
    series = slices()
    ward.receive(series, 0)
    assert ward.turns(*range(60)) == []
    assert (ward.study(uid_of(series)).state, ward.study(uid_of(series)).waits) == (StudyState.HELD, ())
    assert ward.by_hand(uid_of(series), 60) == []
    assert ward.study(uid_of(series)).state is StudyState.HELD
    made = ward.by_hand(uid_of(series), 70, even_held=True)
    assert sorted((m.rule, m.revision) for m in made) == [("quick", 1), ("slow", 1)]
    assert ward.study(uid_of(series)).state is StudyState.CLOSED
    ward.receive(slices(uid_of(series), count=1), 80)
    assert ward.turns(*range(80, 130)) == []
    assert ward.study(uid_of(series)).state is StudyState.HELD


def test_run_by_hand_closes_what_waits_and_never_runs_a_revision_twice(new_ward: NewWard) -> None:
    ward = new_ward(QUICK, SLOW)
    series = slices()
    ward.receive(series[:4], 0)
    assert ward.by_hand(uid_of(series), 2, "slow") == [Made(2, "slow", 1, 4)]
    assert ward.outcomes(uid_of(series)) == [{"quick": "waits", "slow": "run"}]
    assert ward.by_hand(uid_of(series), 3) == [Made(3, "quick", 1, 4)]
    assert ward.study(uid_of(series)).state is StudyState.CLOSED
    assert ward.by_hand(uid_of(series), 4) == []
    assert ward.by_hand(uid_of(series), 5, "quick") == []
    assert ward.outcomes(uid_of(series)) == [{"quick": "run", "slow": "run"}]
    ward.receive(series[4:], 6)
    assert sorted(ward.by_hand(uid_of(series), 7), key=lambda m: m.rule) == [Made(7, "quick", 2, 6), Made(7, "slow", 2, 6)]
    assert ward.turns(*range(8, 120)) == []


def test_run_by_hand_runs_a_rule_that_skipped_the_incomplete_study(new_ward: NewWard) -> None:
    ward = new_ward("name: sure, complete_when: {quiet: 10s, max_wait: 20s, availability: true, on_incomplete: skip}")
    series = slices()
    ward.receive(series, 0)
    assert ward.turns(*range(30)) == []
    assert ward.by_hand(uid_of(series), 30, "sure") == [Made(30, "sure", 1, 6)]
    assert ward.outcomes(uid_of(series)) == [{"sure": "run"}]


def test_request_for_a_study_or_rule_that_is_gone_is_told_and_dropped(new_ward: NewWard) -> None:
    ward = new_ward(QUICK)
    with structlog.testing.capture_logs() as logs:
        assert ward.by_hand("1.2.3", 0) == []
        assert ward.turn(1) == []
    assert [line["event"] for line in logs].count("run_request_dropped") == 1


WITH_PRIOR = (
    "name: growth, match: {Modality: CT}, model: chest-ct-densitometry,"
    " inputs: {now: {}, before: {match: {Modality: CT}, prior: {within: 5y, source: archive, on_missing: MISSING}}},"
    " complete_when: {quiet: 10s, max_wait: 60s}"
)


def found_prior(ward: Ward, *, finished: bool = True) -> PriorSearch:
    earlier = slices(StudyDate="20230102")
    ward.receive(earlier, -1000)
    ward.intake.index_pending(lambda: True)
    with ward.database.transaction() as session:
        study = index.load_present_study(session, uid_of(earlier))
    return PriorSearch("growth", "before", (study,), finished, "fetched")


def test_rule_waits_for_the_search_of_a_prior_and_runs_with_it(new_ward: NewWard) -> None:
    ward = new_ward(WITH_PRIOR.replace("MISSING", "run"))
    series = slices()
    ward.receive(series, 0)
    assert ward.turns(10, 20) == []
    assert ward.waits(uid_of(series)) == {"growth": "prior before: being fetched"}
    ward.priors.found["before"] = found_prior(ward)
    assert Made(21, "growth", 1, 6) in ward.turns(21)
    [job] = [j for j in ward.jobs() if j.key.study_instance_uid == uid_of(series)]
    assert [i.name for i in job.inputs] == ["now", "before"]


@pytest.mark.parametrize(("on_missing", "second"), [("run", 30), ("wait", 60), ("skip", None)])
def test_prior_that_is_not_found(new_ward: NewWard, on_missing: str, second: int | None) -> None:
    ward = new_ward(WITH_PRIOR.replace("MISSING", on_missing))
    series = slices()
    ward.receive(series, 0)
    assert ward.turns(*range(30)) == []
    ward.priors.found["before"] = PriorSearch("growth", "before", (), True, "archive has none")
    made = ward.turns(*range(30, 100))
    assert made == ([] if second is None else [Made(second, "growth", 1, 6)])
    assert ward.study(uid_of(series)).state is StudyState.CLOSED
    assert len(ward.outcomes(uid_of(series))) == 1


def test_prior_that_fits_no_input_is_waited_for_without_a_busy_loop(new_ward: NewWard) -> None:
    ward = new_ward(WITH_PRIOR.replace("MISSING", "wait").replace("before: {match: {Modality: CT}", "before: {match: {Modality: PT}"))
    series = slices()
    ward.receive(series, 0)
    ward.priors.found["before"] = found_prior(ward)
    with structlog.testing.capture_logs() as logs:
        made = ward.turns(*range(61))
    assert [m for m in made if m.rule == "growth" and m.second >= 60] == [Made(60, "growth", 1, 6)]
    decisions = [line for line in logs if line["event"].startswith("study_") and line["study_uid"] == uid_of(series)]
    assert len(decisions) == 1


def test_search_that_never_ends_ends_with_the_longest_wait(new_ward: NewWard) -> None:
    ward = new_ward(WITH_PRIOR.replace("MISSING", "run"))
    series = slices()
    ward.receive(series, 0)
    assert ward.turns(*range(61)) == [Made(60, "growth", 1, 6)]
    assert ward.study(uid_of(series)).state is StudyState.CLOSED


def test_new_rules_take_over_at_once(new_ward: NewWard, tmp_path: Path) -> None:
    ward = new_ward(SLOW)
    series = slices()
    ward.receive(series, 0)
    assert ward.turns(5) == []
    ward.configuration = Ward(tmp_path, ward.database, ward.files, rules(QUICK)).configuration
    ward.intake.reconfigure(ward.configuration, {"chest-ct-densitometry": ward.intake._closing._models["chest-ct-densitometry"]})
    assert ward.turns(10) == [Made(10, "quick", 1, 6)]


def test_what_is_waited_for_is_written_down_with_the_time(new_ward: NewWard) -> None:
    ward = new_ward(SLOW)
    series = slices()
    ward.receive(series, 0)
    ward.turn(1)
    [wait] = ward.study(uid_of(series)).waits
    assert datetime.fromisoformat(wait["until"]) == at(40)
