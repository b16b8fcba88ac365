"""Laws of the order of jobs, for any stream of jobs and any length of runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dicom_node.domain.queue_order import Hours, QueueOrder, Waiting, hours_from_text
from dicom_node.domain.rules import Priority

START = datetime(2024, 1, 2, 7, tzinfo=UTC)
NIGHT = hours_from_text("20:00-06:00")

orders = st.builds(
    QueueOrder,
    off_peak=st.sampled_from([(), (NIGHT,), (hours_from_text("sat-sun 00:00-24:00"),)]),
    zone=st.just(UTC),
    normal_overdue=st.timedeltas(timedelta(0), timedelta(hours=4)),
    off_peak_overdue=st.timedeltas(timedelta(0), timedelta(hours=48)),
    stat_in_a_row=st.integers(1, 5),
)
steps = st.lists(
    st.tuples(st.lists(st.sampled_from(Priority), max_size=4), st.timedeltas(timedelta(seconds=1), timedelta(hours=3))), max_size=60
)


@dataclass
class Line:
    """A queue as the database keeps it, with one worker."""

    order: QueueOrder
    now: datetime = START
    jobs: list[Waiting] = field(default_factory=list)
    in_a_row: int = 0
    made: int = 0

    def add(self, priority: Priority) -> Waiting:
        self.made += 1
        self.jobs.append(Waiting(self.made, priority, self.now))
        return self.jobs[-1]

    def take(self) -> Waiting | None:
        heads = {w.priority: w for w in reversed(self.jobs)}
        chosen = self.order.choose(list(heads.values()), self.in_a_row, self.now)
        if chosen is not None:
            self.jobs.remove(chosen)
            self.in_a_row = self.in_a_row + 1 if chosen.priority is Priority.STAT else 0
        return chosen

    def overdue(self) -> list[Waiting]:
        return [w for w in self.jobs if self.order.is_overdue(w, self.now)]


@settings(deadline=None)
@given(orders, steps)
def test_stat_job_waits_for_few_others(order: QueueOrder, stream: list[tuple[list[Priority], timedelta]]) -> None:
    line, allowed = Line(order), {}
    for arrivals, run in stream:
        for priority in arrivals:
            job = line.add(priority)
            if priority is Priority.STAT:
                before = sum(w.priority is Priority.STAT for w in line.jobs) - 1
                allowed[job.job_id] = before // order.stat_in_a_row + 1
        taken = line.take()
        if taken is not None and taken.priority is not Priority.STAT:
            for job in line.jobs:
                if job.priority is Priority.STAT:
                    allowed[job.job_id] -= 1
                    assert allowed[job.job_id] >= 0
        line.now += run


@settings(deadline=None)
@given(orders, steps)
def test_off_peak_job_runs_in_its_hours_or_overdue(order: QueueOrder, stream: list[tuple[list[Priority], timedelta]]) -> None:
    line = Line(order)
    for arrivals, run in stream:
        for priority in arrivals:
            line.add(priority)
        taken = line.take()
        if taken is not None and taken.priority is Priority.OFF_PEAK:
            assert order.is_off_peak(line.now) or order.is_overdue(taken, line.now)
        line.now += run


@settings(deadline=None)
@given(orders, steps)
def test_worker_is_idle_only_while_nothing_may_run(order: QueueOrder, stream: list[tuple[list[Priority], timedelta]]) -> None:
    line = Line(order)
    for arrivals, run in stream:
        for priority in arrivals:
            line.add(priority)
        if line.take() is None:
            assert {w.priority for w in line.jobs} <= {Priority.OFF_PEAK}
            assert not line.jobs or (not order.is_off_peak(line.now) and not line.overdue())
        line.now += run


@settings(deadline=None)
@given(orders, steps, st.timedeltas(timedelta(seconds=1), timedelta(hours=3)))
@example(
    QueueOrder(zone=UTC, normal_overdue=timedelta(0), off_peak_overdue=timedelta(seconds=1), stat_in_a_row=1),
    [([Priority.OFF_PEAK], timedelta(seconds=1))],
    timedelta(seconds=1),
)  # one that becomes overdue in the moment in which another comes that is overdue at once
def test_no_job_waits_for_ever_under_a_constant_stream_of_stat_jobs(
    order: QueueOrder, stream: list[tuple[list[Priority], timedelta]], run: timedelta
) -> None:
    """From the moment at which it is overdue a job waits for those overdue before it, each with its turn of stat jobs, and no more."""
    line = Line(order)
    for arrivals, length in stream:
        for priority in arrivals:
            line.add(priority)
        line.now += length
    last_overdue = max((order.overdue_at(w) for w in line.jobs if w.priority is not Priority.STAT), default=line.now)
    line.now = max(line.now, last_overdue)
    victims = line.overdue()
    for _ in range(len(victims) * (order.stat_in_a_row + 1)):
        line.add(Priority.STAT)
        line.add(Priority.NORMAL)  # and of normal ones, which become overdue in their turn
        assert line.take() is not None
        line.now += run
    assert not set(victims) & set(line.jobs)


@settings(deadline=None)
@given(st.times(), st.times(), st.datetimes(datetime(2024, 1, 1), datetime(2024, 12, 31)))  # noqa: DTZ001 - wall clock
def test_span_and_the_span_between_its_ends_share_the_day(begin: datetime, end: datetime, moment: datetime) -> None:
    if begin == end:
        assert Hours(begin, end).include(moment)  # type: ignore[arg-type]
    else:
        assert Hours(begin, end).include(moment) != Hours(end, begin).include(moment)  # type: ignore[arg-type]
