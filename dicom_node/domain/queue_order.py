"""In which order jobs run, in four rules.

1. Stat jobs first, then normal ones, then off-peak ones; within a priority the one that has been due for longest.
2. An off-peak job runs in its hours only. Hours over midnight belong to the day on which they begin.
3. A job that has been due for too long is overdue: a normal one after `normal_overdue`, an off-peak one after `off_peak_overdue`, then at
   any hour. Overdue jobs go before all others but stat ones, first the one that became overdue first.
4. After `stat_in_a_row` stat jobs in a row the next job is an overdue one, if there is any.

So a stat job with no other before it waits for one other at most, one with n before it for n // stat_in_a_row + 1; and no job waits
for ever, whatever comes in: once overdue it only waits for what was overdue before it, and overdue jobs get their turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo

from dicom_node.domain.rules import Priority

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY_DAY = frozenset(range(7))


@dataclass(frozen=True, slots=True)
class Hours:
    """A span of the day, local time.

    Attributes:
        begin: First minute of the span.
        end: First minute after it; not after `begin`: of the next day. Midnight ends the day.
        days: The days on which it begins, 0 is Monday.
    """

    begin: time
    end: time
    days: frozenset[int] = EVERY_DAY

    def include(self, local: datetime) -> bool:
        """Say whether a local moment lies in the span."""
        at, today, yesterday = local.time(), local.weekday(), (local.weekday() - 1) % 7
        if self.begin < self.end:
            return today in self.days and self.begin <= at < self.end
        return (today in self.days and at >= self.begin) or (yesterday in self.days and at < self.end)


@dataclass(frozen=True, slots=True)
class Waiting:
    """The job of a priority that has been due for longest.

    Attributes:
        due_at: When it was made, or is to be tried again.
    """

    job_id: int
    priority: Priority
    due_at: datetime


@dataclass(frozen=True, slots=True)
class QueueOrder:
    """The order of jobs, as configured.

    Attributes:
        off_peak: Hours of off-peak jobs; empty: any.
        zone: Time zone of the hours; None: the machine's.
        normal_overdue: How long a normal job lets stat ones go before it.
        off_peak_overdue: How long an off-peak job waits for its hours and for the others.
        stat_in_a_row: Stat jobs after which an overdue one has its turn.
        leave: Digests of models whose jobs are left to other workers.
    """

    off_peak: tuple[Hours, ...] = ()
    zone: tzinfo | None = None
    normal_overdue: timedelta = timedelta(minutes=30)
    off_peak_overdue: timedelta = timedelta(hours=24)
    stat_in_a_row: int = 3
    leave: frozenset[str] = frozenset()

    def choose(self, waiting: Sequence[Waiting], stat_in_a_row: int, now: datetime) -> Waiting | None:
        """Choose the next job.

        Args:
            waiting: At most one of each priority, all due.
            stat_in_a_row: How many stat jobs were taken since the last other one.
            now: Aware.

        Returns:
            None if nothing may run now.
        """
        stat = next((w for w in waiting if w.priority is Priority.STAT), None)
        overdue = min((w for w in waiting if self.is_overdue(w, now)), key=lambda w: (self.overdue_at(w), w.due_at, w.job_id), default=None)
        if stat is not None and (overdue is None or stat_in_a_row < self.stat_in_a_row):
            return stat
        if overdue is not None:
            return overdue
        by_priority: Mapping[Priority, Waiting] = {w.priority: w for w in waiting}
        if Priority.NORMAL in by_priority:
            return by_priority[Priority.NORMAL]
        return by_priority.get(Priority.OFF_PEAK) if self.is_off_peak(now) else None

    def overdue_at(self, job: Waiting) -> datetime:
        """Say from when on a job is overdue; stat jobs never are, and give the end of time."""
        try:
            return job.due_at + {Priority.NORMAL: self.normal_overdue, Priority.OFF_PEAK: self.off_peak_overdue}[job.priority]
        except (KeyError, OverflowError):
            return datetime.max.replace(tzinfo=job.due_at.tzinfo)

    def is_overdue(self, job: Waiting, now: datetime) -> bool:
        """Say whether a job has been due for too long."""
        return job.priority is not Priority.STAT and self.overdue_at(job) <= now

    def is_off_peak(self, now: datetime) -> bool:
        """Say whether off-peak jobs may run."""
        local = now.astimezone(self.zone)
        return not self.off_peak or any(hours.include(local) for hours in self.off_peak)

    def next_off_peak(self, now: datetime) -> datetime | None:
        """Say when off-peak jobs may run next; None if they may now, or never by the hour."""
        if self.is_off_peak(now):
            return None
        today = now.astimezone(self.zone).date()
        starts = [
            self._local(datetime.combine(today + timedelta(days=day), hours.begin))
            for day in range(8)
            for hours in self.off_peak
            if (today + timedelta(days=day)).weekday() in hours.days
        ]
        return min((start for start in starts if start > now), default=None)

    def why_waiting(self, job: Waiting, now: datetime) -> str:
        """Say why a job that nobody has taken waits, in words for an operator.

        Args:
            job: Queued; its time may not have come.
            now: Aware.
        """
        if job.due_at > now:
            return f"{job.priority}, next attempt {self._text(job.due_at, now)}"
        if job.priority is Priority.STAT:
            return "stat, next"
        if self.is_overdue(job, now):
            return f"{job.priority}, overdue: has its turn after {self.stat_in_a_row} stat jobs"
        overdue = self._text(self.overdue_at(job), now)
        if job.priority is Priority.NORMAL:
            return f"normal, after stat jobs; overdue {overdue}"
        opening = self.next_off_peak(now)
        if opening is not None:
            return f"off-peak, runs from {self._text(opening, now)}; overdue {overdue}"
        return f"off-peak, after stat and normal jobs; overdue {overdue}"

    def _local(self, naive: datetime) -> datetime:
        return naive.astimezone() if self.zone is None else naive.replace(tzinfo=self.zone)

    def _text(self, moment: datetime, now: datetime) -> str:
        local = moment.astimezone(self.zone)
        return local.strftime("%H:%M" if local.date() == now.astimezone(self.zone).date() else "%Y-%m-%d %H:%M")


def hours_from_text(text: str) -> Hours:
    """Read `20:00-06:00`, `sat-sun 00:00-24:00` or `mon,wed 18:30-07:00`.

    Raises:
        ValueError: not such a text.
    """
    days, _, span = text.strip().lower().rpartition(" ")
    begin, _, end = span.partition("-")
    return Hours(_time(begin), time(0) if end == "24:00" else _time(end), _days(days) if days else EVERY_DAY)


def _time(text: str) -> time:
    hour, colon, minute = text.partition(":")
    if not (colon and hour.isdecimal() and minute.isdecimal() and len(minute) == 2 and int(hour) < 24 and int(minute) < 60):
        raise ValueError(f"{text!r} is no time of day; hours are written as 20:00-06:00 or sat-sun 00:00-24:00")
    return time(int(hour), int(minute))


def _days(text: str) -> frozenset[int]:
    days: set[int] = set()
    for part in text.replace(" ", "").split(","):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last or first) not in _DAYS:
            raise ValueError(f"{part!r} names no day; days are {', '.join(_DAYS)}, as in mon-fri or sat,sun")
        begin, end = _DAYS.index(first), _DAYS.index(last or first)
        days.update((begin + n) % 7 for n in range((end - begin) % 7 + 1))
    return frozenset(days)
