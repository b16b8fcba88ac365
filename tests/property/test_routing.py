"""Laws of the decision, for any rules and studies."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from dicom_node.domain.routing import Outcome, PriorSearch, Routing, Standing
from dicom_node.domain.rules import After, CompleteWhen, Condition, Equals, InputSlot, OnIncomplete, OnLate, Orientation, Preference, Rule
from dicom_node.domain.studies import Series, Study
from dicom_node.routing import RuleSet, StudyView, decide, missing_inputs, render, trace_from_record
from dicom_node.routing.inputs import assign
from tests.unit.rule_studies import AXIAL, CORONAL, prior_slot, rule, series, slices, study

letters = st.sampled_from("abc")
conditions = st.builds(
    Condition, st.sampled_from(["Modality", "ImageType"]), st.lists(letters.map(Equals), min_size=1, max_size=2).map(tuple)
) | st.builds(Condition, st.sampled_from(["Modality", "ImageType"]), st.just(()), letters.map(lambda x: (Equals(x),)))


@st.composite
def slots(draw: st.DrawFn) -> tuple[InputSlot, ...]:
    found = [
        InputSlot(
            f"input{number}",
            tuple(draw(st.lists(conditions, max_size=1))),
            min_instances=draw(st.integers(1, 3)),
            orientation=draw(st.sampled_from([None, Orientation.AXIAL])),
            prefer=tuple(draw(st.lists(st.sampled_from(Preference), max_size=2, unique=True))),
            optional=draw(st.booleans()),
        )
        for number in range(draw(st.integers(1, 3)))
    ]
    if draw(st.booleans()):
        found.append(prior_slot("prior", *draw(st.lists(conditions, min_size=1, max_size=1))))
    return tuple(found)


@st.composite
def rules(draw: st.DrawFn, holding: bool = True) -> tuple[Rule, ...]:
    return tuple(
        rule(
            f"rule{number}",
            *draw(st.lists(conditions, min_size=1, max_size=2)),
            hold=holding and draw(st.integers(0, 5)) == 0,
            inputs=draw(slots()),
            on_late=draw(st.sampled_from(OnLate)),
            after=draw(st.sampled_from([None, None, After("model")])),
            complete_when=CompleteWhen(timedelta(1), timedelta(2), on_incomplete=draw(st.sampled_from(OnIncomplete))),
        )
        for number in range(draw(st.integers(1, 4)))
    )


@st.composite
def studies(draw: st.DrawFn, uid: str = "1.2") -> Study:
    found = []
    for number in range(draw(st.integers(0, 4))):
        header = {"Modality": draw(letters), "StudyDate": "20240101", "SeriesNumber": str(draw(st.integers(0, 2)))}
        header["SeriesDate"] = draw(st.sampled_from(["20240101", "20240102"]))
        if draw(st.booleans()):
            places = draw(st.lists(st.integers(0, 6), min_size=1, max_size=5))
            one = slices(f"{uid}.{number}", places, draw(st.sampled_from([AXIAL, CORONAL])), **header)
        else:
            one = series(f"{uid}.{number}", draw(st.integers(1, 5)), **header)
        kinds = [replace(i, attributes={**i.attributes, "ImageType": (draw(letters),)}) for i in one.instances]
        found.append(replace(one, instances=tuple(kinds)))
    return study(*found, uid=uid)


standings = st.dictionaries(
    st.sampled_from(["rule0", "rule1", "rule2", "rule3"]),
    st.builds(Standing, st.booleans(), st.booleans(), st.sampled_from(["", "a reason"]), st.integers(0, 2)),
)


def searches(of: tuple[Rule, ...], prior: Study) -> list[PriorSearch]:
    return [PriorSearch(r.name, "prior", (prior,), finished=True, reason="") for r in of]


@given(rules(), studies(), standings, studies("3.4"))
def test_every_rule_has_exactly_one_trace_and_runs_exactly_if_it_says_so(
    of: tuple[Rule, ...], found: Study, known: dict[str, Standing], prior: Study
) -> None:
    routing = decide(of, found, known, searches(of, prior))
    assert [t.rule for t in routing.traces] == [r.name for r in of]
    assert [d.rule for d in routing.decisions] == [t.rule for t in routing.traces if t.outcome is Outcome.RUN]
    assert all(trace.reason for trace in routing.traces)
    assert all(s.reason for t in routing.traces for i in t.inputs for s in i.series)
    for decision in routing.decisions:
        own = [i.series_instance_uid for i in decision.inputs if i.study_instance_uid == found.study_instance_uid]
        assert own
        assert len(own) == len(set(own))


@given(rules(holding=False), rules(holding=False), studies(), standings)
def test_adding_rules_never_changes_what_another_does(
    of: tuple[Rule, ...], more: tuple[Rule, ...], found: Study, known: dict[str, Standing]
) -> None:
    added = tuple(replace(r, name=f"added-{r.name}") for r in more)
    alone = decide(of, found, known)
    for together in (of + added, added + of):
        routing = decide(together, found, known)
        assert tuple(d for d in routing.decisions if not d.rule.startswith("added-")) == alone.decisions
        assert tuple(t for t in routing.traces if not t.rule.startswith("added-")) == alone.traces


def parts(routing: Routing) -> object:
    return routing.decisions, [(t.rule, t.outcome, t.reason) for t in routing.traces], routing.held_by, routing.hold_reason


@given(rules(), studies(), standings, st.randoms(use_true_random=False))
def test_order_of_series_and_instances_never_changes_the_decision(
    of: tuple[Rule, ...], found: Study, known: dict[str, Standing], random: object
) -> None:
    def shuffled(items: tuple[object, ...]) -> tuple[object, ...]:
        mixed = list(items)
        random.shuffle(mixed)  # type: ignore[attr-defined]
        return tuple(mixed)

    mixed = [Series(s.series_instance_uid, shuffled(s.instances)) for s in found.series]  # type: ignore[arg-type]
    other = replace(found, series=shuffled(tuple(mixed)))  # type: ignore[arg-type]
    assert parts(decide(of, other, known)) == parts(decide(of, found, known))


@given(rules(), st.lists(studies(), max_size=4))
def test_a_rule_set_remembers_nothing_of_one_study_in_the_next(of: tuple[Rule, ...], found: list[Study]) -> None:
    ready = RuleSet(of)
    assert [decide(ready, one) for one in found] == [decide(RuleSet(of), one) for one in found]


@given(rules(), rules(), studies())
def test_a_view_serves_one_set_of_rules_after_another(first: tuple[Rule, ...], second: tuple[Rule, ...], found: Study) -> None:
    view = StudyView(found)
    assert [decide(of, view) for of in (first, second, first)] == [decide(of, found) for of in (first, second, first)]


@given(rules(holding=False), studies())
def test_rule_without_priors_runs_only_with_all_its_inputs(of: tuple[Rule, ...], found: Study) -> None:
    plain = tuple(replace(r, inputs=tuple(i for i in r.inputs if i.prior is None), after=None) for r in of)
    missing = missing_inputs(plain, found)
    for decision in decide(plain, found).decisions:
        assert missing[decision.rule] == ""


@given(rules(), studies())
def test_explanation_of_a_stored_trace_is_that_of_the_decision(of: tuple[Rule, ...], found: Study) -> None:
    routing = decide(of, found)
    stored = tuple(trace_from_record(asdict(trace)) for trace in routing.traces)
    assert stored == routing.traces
    assert render(replace(routing, traces=stored)) == render(routing)


candidates = st.lists(st.lists(letters | st.sampled_from("de"), max_size=4, unique=True), max_size=4)


@given(candidates, st.data())
def test_assignment_fills_all_required_inputs_whenever_any_assignment_does(found: list[list[str]], data: st.DataObject) -> None:
    required = data.draw(st.lists(st.booleans(), min_size=len(found), max_size=len(found)))
    places = assign(found, required)
    given_away = [uid for uid in places if uid is not None]
    assert len(given_away) == len(set(given_away))
    assert all(uid is None or uid in own for uid, own in zip(places, found, strict=True))
    possible = any(all(uid is not None or not must for uid, must in zip(one, required, strict=True)) for one in all_assignments(found))
    assert all(uid is not None or not must for uid, must in zip(places, required, strict=True)) is possible


def all_assignments(found: list[list[str]], taken: frozenset[str] = frozenset()) -> list[list[str | None]]:
    if not found:
        return [[]]
    choices: list[str | None] = [uid for uid in found[0] if uid not in taken]
    return [[uid, *rest] for uid in [*choices, None] for rest in all_assignments(found[1:], taken | ({uid} if uid else frozenset()))]
