"""Crontab lines mean what crontab says, whatever APScheduler makes of their numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from dicom_node.config.schedules import Schedule, check_cron, cron_of_time

SUNDAY = datetime(2026, 3, 1, 0, 0, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def days(cron: str) -> list[str]:
    """The days of one week on which a schedule comes."""
    found, moment = [], SUNDAY - timedelta(seconds=1)
    while (moment := Schedule(cron, ZoneInfo("UTC")).next_after(moment)) < SUNDAY + timedelta(days=7):
        found.append(f"{moment:%a}")
    return found


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("0", ["Sun"]),
        ("7", ["Sun"]),
        ("1", ["Mon"]),
        ("6", ["Sat"]),
        ("sun", ["Sun"]),
        ("1-5", ["Mon", "Tue", "Wed", "Thu", "Fri"]),
        ("mon-fri", ["Mon", "Tue", "Wed", "Thu", "Fri"]),
        ("0-2", ["Sun", "Mon", "Tue"]),
        ("5-7", ["Sun", "Fri", "Sat"]),
        ("fri-mon", ["Sun", "Mon", "Fri", "Sat"]),
        ("0,3", ["Sun", "Wed"]),
        ("*/2", ["Sun", "Tue", "Thu", "Sat"]),
        ("1-5/2", ["Mon", "Wed", "Fri"]),
        ("*", ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]),
    ],
)
def test_zero_and_seven_are_sunday(field: str, wanted: list[str]) -> None:
    assert days(f"0 7 * * {field}") == wanted


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 7 * *", "five fields"),
        ("0 7 1 * 1", "either the day of the month or the day of the week"),
        ("0 7 * * 8", "no schedule|no day|8"),
        ("0 7 * * monday", "monday"),
        ("60 7 * * *", "no schedule"),
        ("0 7 30 2 *", "never comes"),
        ("x", "five fields"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(cron: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_cron(cron)


def test_time_of_the_day() -> None:
    assert cron_of_time("07:05") == "5 7 * * *"
    for wrong in ("7:00", "24:00", "0700", ""):
        with pytest.raises(ValueError, match="07:00"):
            cron_of_time(wrong)


def test_what_was_missed_comes_once() -> None:
    schedule = Schedule("0 7 * * *", BERLIN)
    since = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
    assert schedule.last_due(since, since + timedelta(hours=23, minutes=59)) is None
    assert schedule.last_due(since, since + timedelta(days=1)) == since + timedelta(days=1)
    assert schedule.last_due(since, since + timedelta(days=5, hours=3)) == since + timedelta(days=5)


def test_seven_in_the_morning_stays_seven_when_the_clocks_change() -> None:
    schedule = Schedule("0 7 * * *", BERLIN)
    before = datetime(2026, 3, 28, 6, 0, tzinfo=UTC)  # the clocks go forward on the 29th
    assert schedule.next_after(before) == datetime(2026, 3, 29, 5, 0, tzinfo=UTC)
