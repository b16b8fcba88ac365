from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from dicom_node.domain.queue_order import QueueOrder, Waiting, hours_from_text
from dicom_node.domain.rules import Priority

STAT, NORMAL, OFF_PEAK = Priority.STAT, Priority.NORMAL, Priority.OFF_PEAK
NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)  # a Tuesday
ORDER = QueueOrder((hours_from_text("20:00-06:00"),), UTC)


def waiting(priority: Priority, waited: timedelta = timedelta(0)) -> Waiting:
    return Waiting(1 + list(Priority).index(priority), priority, NOON - waited)


@pytest.mark.parametrize(
    ("waited", "in_a_row", "chosen"),
    [
        ({STAT: 0, NORMAL: 1, OFF_PEAK: 2}, 0, STAT),
        ({NORMAL: 0, OFF_PEAK: 600}, 0, NORMAL),
        ({OFF_PEAK: 600}, 0, None),
        ({OFF_PEAK: 24 * 60}, 0, OFF_PEAK),
        ({STAT: 0, NORMAL: 29}, 99, STAT),
        ({STAT: 0, NORMAL: 30}, 2, STAT),
        ({STAT: 0, NORMAL: 30}, 3, NORMAL),
        ({STAT: 0, NORMAL: 29, OFF_PEAK: 24 * 60}, 3, OFF_PEAK),
        ({NORMAL: 29, OFF_PEAK: 24 * 60}, 0, OFF_PEAK),
        ({NORMAL: 40, OFF_PEAK: 24 * 60 + 9}, 0, NORMAL),
        ({NORMAL: 40, OFF_PEAK: 24 * 60 + 11}, 0, OFF_PEAK),
        ({}, 5, None),
    ],
)
def test_next_job(waited: dict[Priority, int], in_a_row: int, chosen: Priority | None) -> None:
    heads = [waiting(priority, timedelta(minutes=minutes)) for priority, minutes in waited.items()]
    found = ORDER.choose(heads, in_a_row, NOON)
    assert (found.priority if found else None) == chosen


@pytest.mark.parametrize(
    ("text", "local", "inside"),
    [
        ("20:00-06:00", "2024-01-02 20:00", True),
        ("20:00-06:00", "2024-01-02 05:59", True),
        ("20:00-06:00", "2024-01-02 06:00", False),
        ("20:00-06:00", "2024-01-02 19:59", False),
        ("fri 20:00-06:00", "2024-01-06 05:00", True),
        ("fri 20:00-06:00", "2024-01-05 05:00", False),
        ("sat-sun 00:00-24:00", "2024-01-06 00:00", True),
        ("sat-sun 00:00-24:00", "2024-01-07 23:59", True),
        ("sat-sun 00:00-24:00", "2024-01-08 00:00", False),
        ("sat-sun 00:00-24:00", "2024-01-05 23:59", False),
        ("sun-mon 08:00-09:00", "2024-01-08 08:30", True),
        ("mon,wed 08:00-09:00", "2024-01-02 08:30", False),
        ("00:00-24:00", "2024-01-02 12:00", True),
    ],
)
def test_hours(text: str, local: str, inside: bool) -> None:
    assert hours_from_text(text).include(datetime.fromisoformat(local)) is inside


@pytest.mark.parametrize("text", ["", "20-06", "20:00", "24:00-06:00", "20:60-06:00", "20:00-06:0", "someday 20:00-06:00", "20:00 06:00"])
def test_text_that_names_no_hours_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no time of day|names no day"):
        hours_from_text(text)


def test_hours_follow_the_clock_of_their_zone_over_its_change() -> None:
    berlin = QueueOrder((hours_from_text("20:00-06:00"),), ZoneInfo("Europe/Berlin"))
    assert berlin.next_off_peak(datetime(2024, 1, 15, 12, tzinfo=UTC)) == datetime(2024, 1, 15, 19, tzinfo=UTC)
    assert berlin.next_off_peak(datetime(2024, 7, 15, 12, tzinfo=UTC)) == datetime(2024, 7, 15, 18, tzinfo=UTC)
    assert berlin.is_off_peak(datetime(2024, 3, 31, 3, 59, tzinfo=UTC))
    assert not berlin.is_off_peak(datetime(2024, 3, 31, 4, 0, tzinfo=UTC))


def test_hours_of_a_far_day_are_found() -> None:
    monday_only = QueueOrder((hours_from_text("mon 11:00-12:00"),), UTC)
    assert monday_only.next_off_peak(datetime(2024, 1, 1, 12, tzinfo=UTC)) == datetime(2024, 1, 8, 11, tzinfo=UTC)
    assert QueueOrder().next_off_peak(NOON) is None


@pytest.mark.parametrize(
    ("priority", "waited", "words"),
    [
        (STAT, 0, "stat, next"),
        (NORMAL, 10, "normal, after stat jobs; overdue 12:20"),
        (NORMAL, 31, "normal, overdue: has its turn after 3 stat jobs"),
        (OFF_PEAK, 10, "off-peak, runs from 20:00; overdue 2024-01-03 11:50"),
        (OFF_PEAK, -10, "off-peak, next attempt 12:10"),
        (OFF_PEAK, 24 * 60, "off-peak, overdue: has its turn after 3 stat jobs"),
    ],
)
def test_reason_for_waiting_names_the_hour(priority: Priority, waited: int, words: str) -> None:
    assert ORDER.why_waiting(waiting(priority, timedelta(minutes=waited)), NOON) == words
