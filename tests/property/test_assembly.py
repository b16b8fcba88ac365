"""Laws of completeness, for any times of arrival."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from dicom_node.assembly import Assembly
from dicom_node.domain.rules import CompleteWhen
from dicom_node.domain.studies import ClosedBecause

START = datetime(2024, 1, 1, tzinfo=UTC)
QUIET, MAX_WAIT = timedelta(seconds=10), timedelta(seconds=60)
arrivals = st.lists(st.integers(0, 200), min_size=1, max_size=30)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def assembled(seconds: list[int]) -> Assembly:
    assembly = Assembly()
    for second in seconds:
        assembly.received("1.2", at(second))
    assembly.set_condition("1.2", CompleteWhen(QUIET, MAX_WAIT))
    return assembly


@given(arrivals)
def test_study_is_never_due_before_it_was_quiet_or_waited_long_enough(seconds: list[int]) -> None:
    expected = min(at(max(seconds)) + QUIET, at(min(seconds)) + MAX_WAIT)
    assert assembled(seconds).next_deadline() == expected
    assert assembled(seconds).due(expected - timedelta(microseconds=1)) == []
    assert [uid for uid, _ in assembled(seconds).due(expected)] == ["1.2"]


@given(arrivals, st.randoms())
def test_order_in_which_arrivals_are_told_does_not_matter(seconds: list[int], random) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(seconds)
    random.shuffle(shuffled)
    assert assembled(seconds).next_deadline() == assembled(shuffled).next_deadline()


@given(arrivals)
def test_study_leaves_exactly_once(seconds: list[int]) -> None:
    assembly = assembled(seconds)
    assert len(assembly.due(at(1000))) == 1
    assert assembly.due(at(2000)) == []
    assert assembly.next_deadline() is None


def test_steady_stream_is_closed_by_max_wait() -> None:
    assembly = assembled(list(range(0, 100, 5)))
    assert assembly.due(at(60)) == [("1.2", ClosedBecause.MAX_WAIT)]


def test_study_without_condition_waits() -> None:
    assembly = Assembly()
    assembly.received("1.2", START)
    assert assembly.due(at(10_000)) == []
