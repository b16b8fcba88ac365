"""Laws of completeness, for any times of arrival, any rules and any order in which things are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from dicom_node.assembly import NOBODY, Announced, Assembly, Due, InputsQuestion
from dicom_node.domain.inquiries import CountAnswer, CountQuestion
from dicom_node.domain.rules import CompleteWhen, Rule
from dicom_node.domain.studies import ClosedBecause
from dicom_node.domain.visits import Visit
from dicom_node.domain.waits import DEFAULT_WAITS, Wait, wait_for

START = datetime(2024, 1, 1, tzinfo=UTC)
STUDY = "1.2"
arrivals = st.lists(st.integers(0, 200), min_size=1, max_size=30)
SECOND = timedelta(seconds=1)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def rule(name: str, quiet: float = 10, max_wait: float = 60, **when: object) -> Rule:
    condition = CompleteWhen(timedelta(seconds=quiet), timedelta(seconds=max_wait), **when)  # type: ignore[arg-type]
    return Rule(name, (), condition, hold=False, model="m", send_to=())


conditions = st.builds(
    lambda quiet, extra, release, slots, count, announced: {
        "quiet": quiet,
        "max_wait": quiet + extra,
        "release": None if release is None else timedelta(seconds=release),
        "slots": slots,
        "expected_count": "archive" if count else "",
        "availability": announced,
    },
    st.integers(1, 40),
    st.integers(0, 100),
    st.none() | st.integers(0, 20),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
rules_of = st.lists(conditions, min_size=1, max_size=4).map(lambda found: [rule(f"r{n}", **kw) for n, kw in enumerate(found)])


@dataclass(frozen=True)
class World:
    """Everything that happens to one study, by second."""

    arrivals: Sequence[int]
    visits: Sequence[Visit]
    expected: int
    announced: int
    needed: int


worlds = st.builds(
    World,
    arrivals,
    st.lists(
        st.builds(
            lambda n, end, released: Visit(f"v{n}", frozenset({STUDY}), at(end), released),
            st.integers(0, 3),
            st.integers(0, 220),
            st.booleans(),
        ),
        max_size=3,
        unique_by=lambda v: v.name,
    ),
    st.integers(1, 40),
    st.integers(0, 40),
    st.integers(0, 40),
)


def lived(world: World, rules: Sequence[Rule], until: int = 700) -> list[tuple[int, Due]]:
    """Let time go by second by second; returns what was due, and when."""
    assembly, told, arrived = Assembly(rules), [], 0
    for second in range(until):
        for _ in range(world.arrivals.count(second)):
            arrived += 1
            assembly.received(STUDY, at(second))
            assembly.describe(STUDY, [r.name for r in rules], {"CT"})
        assembly.visited([Visit(v.name, v.study_instance_uids) if v.ended_at and v.ended_at > at(second) else v for v in world.visits])
        if world.announced:
            assembly.announced(STUDY, Announced(world.announced, min(arrived, world.announced), at(second)))
        for question in assembly.questions(at(second)):
            if isinstance(question, InputsQuestion):
                assembly.inputs_seen(question, "" if arrived >= world.needed else "more is needed")
            else:
                assembly.counted(CountAnswer(question, world.expected, at(second)))
        told += [(second, due) for due in assembly.due(at(second))]
    return told


def assembled(seconds: Sequence[int], *rules: Rule) -> Assembly:
    assembly = Assembly(rules)
    for second in seconds:
        assembly.received(STUDY, at(second))
    assembly.describe(STUDY, [r.name for r in rules], {"CT"})
    return assembly


def due_at(found: Sequence[tuple[int, Due]], name: str) -> list[tuple[int, ClosedBecause, bool, str]]:
    return [(second, d.because, d.complete, d.reason) for second, due in found for d in due.rules if d.rule == name]


@given(arrivals)
def test_rule_is_never_due_before_it_was_quiet_or_waited_long_enough(seconds: list[int]) -> None:
    expected = min(at(max(seconds) + 10), at(min(seconds) + 60))
    assert assembled(seconds, rule("r")).next_deadline() == expected
    assert assembled(seconds, rule("r")).due(expected - timedelta(microseconds=1)) == []
    assert [due.study_instance_uid for due in assembled(seconds, rule("r")).due(expected)] == [STUDY]


@given(worlds, rules_of, st.randoms())
def test_order_in_which_things_are_told_does_not_matter(world: World, rules: list[Rule], random: Random) -> None:
    def told(shuffle: bool) -> Assembly:
        assembly = Assembly(rules)
        names, visits = [r.name for r in rules], list(world.visits)
        events: list[Callable[[], None]] = [lambda second=s: assembly.received(STUDY, at(second)) for s in world.arrivals]  # type: ignore[misc]
        if shuffle:
            random.shuffle(events)
            random.shuffle(names)
            random.shuffle(visits)
        early = events[: len(events) // 2 if shuffle else 0]
        for event in early:
            event()
        if shuffle and early:
            assembly.describe(STUDY, names[:1], set())
        if shuffle:
            assembly.visited(visits)
        for event in events[len(early) :]:
            event()
        assembly.describe(STUDY, names, {"CT"})
        if not shuffle:
            assembly.visited(visits)
        return assembly

    one, other = told(shuffle=False), told(shuffle=True)
    assert one.next_deadline() == other.next_deadline()
    assert one.waiting(STUDY, at(0)) == other.waiting(STUDY, at(0))
    assert one.due(at(1000)) == other.due(at(1000))


@given(worlds, rules_of)
def test_every_instance_leaves_exactly_once_for_every_rule(world: World, rules: list[Rule]) -> None:
    found = lived(world, rules)
    for one in rules:
        moments = [second for second, *_ in due_at(found, one.name)]
        batches = [sum(1 for s in world.arrivals if before < s <= moment) for before, moment in zip([-1, *moments], moments, strict=False)]
        assert all(batches), "due without a new instance"
        assert sum(batches) == len(world.arrivals), "an instance that no decision has seen"


@given(worlds, rules_of)
def test_when_a_rule_is_due_does_not_depend_on_other_rules(world: World, rules: list[Rule]) -> None:
    together = lived(world, rules)
    for one in rules:
        assert due_at(together, one.name) == due_at(lived(world, [one]), one.name)


@given(worlds, rules_of)
def test_next_deadline_is_never_later_than_what_is_due_first(world: World, rules: list[Rule]) -> None:
    assembly = assembled(world.arrivals, *rules)
    assembly.visited(world.visits)
    for second in range(max(world.arrivals), 500):
        deadline = assembly.next_deadline()
        asked = assembly.questions(at(second))
        due = assembly.due(at(second))
        assert not (asked or due) or (deadline is not None and deadline <= at(second))
        for question in asked:
            if isinstance(question, InputsQuestion):
                assembly.inputs_seen(question, "")
    assert assembly.next_deadline() is None


@given(worlds, rules_of)
def test_no_rule_waits_longer_than_its_longest_wait(world: World, rules: list[Rule]) -> None:
    found = lived(world, rules)
    for one in rules:
        [first, *_] = due_at(found, one.name)
        assert one.complete_when.max_wait is not None
        assert at(first[0]) <= at(min(world.arrivals)) + one.complete_when.max_wait
        assert first[2] or first[1] is ClosedBecause.MAX_WAIT


@given(arrivals)
def test_study_without_rules_is_waited_for_by_the_waits_of_its_modalities(seconds: list[int]) -> None:
    usual = DEFAULT_WAITS["CT"]
    assembly = assembled(seconds)
    assert assembly.next_deadline() == min(at(max(seconds)) + usual.quiet, at(min(seconds)) + usual.max_wait)
    [due] = assembly.due(at(100_000))
    assert [r.rule for r in due.rules] == [NOBODY]
    assert assembly.due(at(200_000)) == []


@given(st.lists(st.sampled_from([*DEFAULT_WAITS, "ZZ"]), max_size=5))
def test_the_slowest_modality_of_a_study_counts(modalities: list[str]) -> None:
    found = wait_for(modalities)
    for modality in modalities:
        assert found.quiet >= wait_for([modality]).quiet
        assert found.max_wait >= wait_for([modality]).max_wait


def test_steady_stream_is_incomplete_after_the_longest_wait() -> None:
    [due] = assembled(range(0, 100, 5), rule("r")).due(at(60))
    assert (due.rules[0].because, due.rules[0].complete) == (ClosedBecause.MAX_WAIT, False)
    assert due.rules[0].reason == "10 s without an instance within 1 min"


def test_release_completes_when_no_other_association_is_open() -> None:
    assembly = assembled([0, 3], rule("r", quiet=50, release=2 * SECOND))
    open_one = Visit("b", frozenset({STUDY}))
    assembly.visited([Visit("a", frozenset({STUDY}), at(4), released=True), open_one])
    assert assembly.due(at(40)) == []
    assembly.visited([Visit("a", frozenset({STUDY}), at(4), released=True), Visit("b", frozenset({STUDY}), at(41), released=True)])
    assert assembly.next_deadline() == at(43)
    [due] = assembly.due(at(43))
    assert (due.rules[0].because, due.rules[0].complete) == (ClosedBecause.RELEASE, True)


def test_abort_is_no_release_and_blocks_nothing() -> None:
    assembly = assembled([0, 3], rule("r", quiet=50, release=2 * SECOND))
    assembly.visited([Visit("a", frozenset({STUDY}), at(4), released=False)])
    assert assembly.due(at(52)) == []
    [due] = assembly.due(at(53))
    assert due.rules[0].because is ClosedBecause.QUIET


def test_instance_that_came_after_the_release_waits_for_quiet() -> None:
    assembly = assembled([0, 9], rule("r", quiet=50, release=2 * SECOND))
    assembly.visited([Visit("a", frozenset({STUDY}), at(4), released=True)])
    assert assembly.next_deadline() == at(59)


def test_silence_alone_proves_nothing() -> None:
    assembly = assembled([0], rule("r", availability=True))
    assert assembly.due(at(59)) == []
    [due] = assembly.due(at(60))
    assert (due.rules[0].because, due.rules[0].reason) == (ClosedBecause.MAX_WAIT, "no instance is announced within 1 min")


def test_announced_instances_complete_at_once() -> None:
    assembly = assembled([0, 1, 2], rule("r", availability=True))
    assembly.announced(STUDY, Announced(4, 3, at(2)))
    assert assembly.waiting(STUDY, at(2))[0].reason == "3 of 4 announced instances"
    assembly.received(STUDY, at(3))
    assembly.announced(STUDY, Announced(4, 4, at(3)))
    [due] = assembly.due(at(3))
    assert (due.rules[0].because, due.rules[0].complete) == (ClosedBecause.AVAILABILITY, True)


def asked(assembly: Assembly, second: float) -> list[CountQuestion]:
    return [q for q in assembly.questions(at(second)) if isinstance(q, CountQuestion)]


def test_archive_is_asked_in_silence_and_again_after_pauses_that_double() -> None:
    assembly = assembled([0, 5], rule("r", max_wait=3600, expected_count="archive"))
    moments = []
    for second in range(200):
        for question in asked(assembly, second):
            assert (question.source, question.arrived) == ("archive", 2)
            moments.append(second)
            assembly.counted(CountAnswer(question, None if second < 30 else 3, at(second)))
    assert moments == [15, 25, 45, 85, 165]


def test_archive_is_asked_anew_in_the_silence_after_more_came() -> None:
    assembly = assembled([0], rule("r", max_wait=3600, expected_count="archive"))
    [question] = asked(assembly, 10)
    assembly.counted(CountAnswer(question, 4, at(10)))
    assembly.received(STUDY, at(15))
    assert asked(assembly, 24) == []
    assert len(asked(assembly, 25)) == 1
    assembly.received(STUDY, at(26))
    assembly.received(STUDY, at(27))
    [due] = assembly.due(at(27))
    assert (due.rules[0].because, due.rules[0].reason) == (ClosedBecause.EXPECTED_COUNT, "4 of 4 instances that archive counts")


def test_answer_to_an_earlier_wait_says_nothing_of_a_late_instance() -> None:
    assembly = assembled([0], rule("r", max_wait=3600, expected_count="archive"))
    [question] = asked(assembly, 10)
    assembly.counted(CountAnswer(question, 1, at(11)))
    assert len(assembly.due(at(11))) == 1
    assembly.received(STUDY, at(20))
    assembly.counted(CountAnswer(question, 1, at(21)))
    assert assembly.due(at(29)) == []


def test_inputs_are_looked_at_again_only_after_more_came() -> None:
    assembly = assembled([0], rule("r", slots=True))
    assert assembly.questions(at(9)) == []
    [question] = assembly.questions(at(10))
    assert isinstance(question, InputsQuestion)
    assembly.inputs_seen(question, "input flair is missing")
    assert assembly.questions(at(20)) == []
    assert assembly.waiting(STUDY, at(20))[0].reason == "input flair is missing"
    assembly.received(STUDY, at(21))
    [question] = assembly.questions(at(31))
    assert isinstance(question, InputsQuestion)
    assembly.inputs_seen(question, "")
    [due] = assembly.due(at(31))
    assert (due.rules[0].because, due.rules[0].complete) == (ClosedBecause.SLOTS, True)


def test_all_proofs_must_hold() -> None:
    assembly = assembled([0, 1], rule("r", slots=True, availability=True))
    assembly.announced(STUDY, Announced(2, 2, at(1)))
    assert assembly.due(at(10)) == []
    [question] = assembly.questions(at(11))
    assert isinstance(question, InputsQuestion)
    assembly.inputs_seen(question, "")
    assert len(assembly.due(at(11))) == 1


def test_rule_that_waits_for_a_prior_decides_when_it_is_there_or_after_its_longest_wait() -> None:
    for unblocked in (True, False):
        assembly = assembled([0], rule("r"))
        assembly.block(STUDY, "r", "prior old: being fetched")
        assert assembly.due(at(50)) == []
        assert assembly.waiting(STUDY, at(50))[0].reason == "prior old: being fetched"
        if unblocked:
            assembly.block(STUDY, "r", "")
        [due] = assembly.due(at(50 if unblocked else 60))
        assert due.rules[0].complete is unblocked


def test_longest_wait_shorter_than_the_quiet_of_the_modality_gives_way() -> None:
    quick = Rule("r", (), CompleteWhen(max_wait=timedelta(seconds=1)), hold=False, model="m", send_to=())
    assembly = Assembly([quick], {"other": Wait(timedelta(seconds=30), timedelta(seconds=60))})
    assembly.received(STUDY, at(0))
    assembly.describe(STUDY, ["r"], {"CT"})
    assert assembly.next_deadline() == at(30)
