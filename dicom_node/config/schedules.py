"""Times of the week as crontab has them; APScheduler computes, this module reads.

APScheduler counts the days of the week from Monday, crontab from Sunday, so days are handed to it by name. Crontab takes a day that
either the day of the month or the day of the week names, APScheduler one that both name: a line with both is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

from apscheduler.triggers.cron import CronTrigger

_FIELDS = ("minute", "hour", "day", "month", "day_of_week")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAY_ITEM = re.compile(r"(\*|[0-7a-z]+)(?:-([0-7a-z]+))?(?:/([1-7]))?")
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_MOST_MISSED = 100_000


@dataclass(frozen=True, slots=True)
class Schedule:
    """Moments that come again.

    Attributes:
        cron: Five fields as in crontab.
        zone: Time zone of the fields; None: the machine's.
    """

    cron: str
    zone: tzinfo | None = None

    def next_after(self, moment: datetime) -> datetime:
        """Return the first moment after one, UTC.

        Raises:
            ValueError: there is none, for example for February 30.
        """
        found = _trigger(self.cron, self.zone).get_next_fire_time(moment, moment)
        if found is None:
            raise ValueError(f"{self.cron!r} never comes")
        return _utc(found)

    def last_due(self, since: datetime, now: datetime) -> datetime | None:
        """Return the latest moment after `since` that is not later than now, UTC; None if there is none."""
        trigger, last, found = _trigger(self.cron, self.zone), None, since
        for _ in range(_MOST_MISSED):
            found = trigger.get_next_fire_time(found, found)
            if found is None or found > now:
                break
            last = found
        return None if last is None else _utc(last)


def check_cron(value: str) -> str:
    """Check five fields of a crontab line; empty stays empty.

    Raises:
        ValueError: what is wrong with it.
    """
    if value:
        Schedule(value).next_after(datetime(2024, 1, 1, tzinfo=UTC))
    return value


def cron_of_time(value: str) -> str:
    """Turn `07:00` into a crontab line for every day.

    Raises:
        ValueError: no such time.
    """
    match = _TIME.fullmatch(value)
    if match is None:
        raise ValueError("a time of the day is written as 07:00, in quotes")
    return f"{int(match[2])} {int(match[1])} * * *"


def _trigger(cron: str, zone: tzinfo | None) -> Any:
    values = dict(zip(_FIELDS, cron.split(), strict=False))
    if len(cron.split()) != len(_FIELDS):
        raise ValueError("a schedule has five fields, as crontab: minute hour day-of-month month day-of-week")
    if values["day"] != "*" and values["day_of_week"] != "*":
        raise ValueError("name either the day of the month or the day of the week, the other is *")
    values["day_of_week"] = _day_names(values["day_of_week"])
    try:
        return CronTrigger(**values, timezone=zone)
    except ValueError as error:
        raise ValueError(f"{cron!r} is no schedule: {error}") from None


def _day_names(field: str) -> str:
    """Write the days of the week by name; 0 and 7 are Sunday, and ranges may cross the week's end."""
    if field == "*":
        return field
    chosen: list[str] = []
    for item in field.lower().split(","):
        match = _DAY_ITEM.fullmatch(item)
        if match is None:
            raise ValueError(f"{item!r} is no day of the week: 0 or 7 is Sunday, 1 is Monday; or mon, tue, wed, thu, fri, sat, sun")
        first, last, step = match.groups()
        begin = 0 if first == "*" else _day(first)
        end = 6 if first == "*" else _day(last) if last else begin if step is None else 6
        end += 7 if end < begin else 0
        chosen += [_DAYS[day % 7] for day in range(begin, end + 1, int(step or 1))]
    return ",".join(dict.fromkeys(chosen))


def _day(text: str) -> int:
    if text.isdigit():
        return int(text)
    if text not in _DAYS:
        raise ValueError(f"{text!r} is no day of the week: {', '.join(_DAYS)}")
    return _DAYS.index(text)


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
