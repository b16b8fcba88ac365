"""When a peer has been silent for too long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dicom_node.domain.notice_facts import SilenceFacts
from dicom_node.domain.notices import SilenceWatch
from dicom_node.domain.queue_order import hours_from_text
from dicom_node.domain.silence import Silence, look

MONDAY = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
STEP = timedelta(seconds=30)
ALWAYS = SilenceWatch("pacs", "ORTHANC", timedelta(hours=2), (), UTC, ("ops",))
DAYTIME = SilenceWatch("pacs", "ORTHANC", timedelta(hours=2), (hours_from_text("mon-fri 07:00-19:00"),), UTC, ("ops",))


def told(watch: SilenceWatch, begin: datetime, end: datetime, heard: dict[datetime, datetime] | None = None) -> list[tuple[datetime, bool]]:
    """Look every half minute; returns when something was told, and whether it was the end of a silence."""
    state, found, now = Silence(begin), [], begin
    while now < end:
        now += STEP
        state, facts = look(state, watch, (heard or {}).get(now), now)
        if facts is not None:
            found.append((now, facts.over))
    return found


def test_silence_is_told_once_and_so_is_its_end() -> None:
    heard = {MONDAY + timedelta(hours=5): MONDAY + timedelta(hours=4, minutes=59)}
    assert told(ALWAYS, MONDAY, MONDAY + timedelta(hours=8), heard) == [
        (MONDAY + timedelta(hours=2), False),
        (MONDAY + timedelta(hours=5), True),
        (MONDAY + timedelta(hours=7), False),
    ]


def test_a_peer_that_sends_is_not_silent() -> None:
    heard = {MONDAY + n * timedelta(minutes=90): MONDAY + n * timedelta(minutes=90) for n in range(1, 6)}
    assert told(ALWAYS, MONDAY, MONDAY + timedelta(hours=9), heard) == []


def test_only_the_hours_that_are_watched_count() -> None:
    """From six in the morning: two hours are over at nine, not at eight; and Friday evening goes on Monday morning."""
    assert told(DAYTIME, MONDAY, MONDAY + timedelta(hours=12)) == [(MONDAY.replace(hour=9), False)]
    friday = datetime(2026, 3, 6, 18, 0, tzinfo=UTC)
    assert told(DAYTIME, friday, friday + timedelta(days=4)) == [(datetime(2026, 3, 9, 8, 0, tzinfo=UTC), False)]


def test_time_in_which_the_node_was_away_is_not_the_peers_silence() -> None:
    state, _ = look(Silence(MONDAY, silent_s=3600.0), ALWAYS, None, MONDAY + timedelta(days=2))
    assert state.silent_s == 3600.0
    assert state.looked_at == MONDAY + timedelta(days=2)
    state, _ = look(state, ALWAYS, None, MONDAY)  # a clock that was set back
    assert state.silent_s == 3600.0


def test_facts_say_how_long_and_since_when() -> None:
    last = MONDAY - timedelta(minutes=5)
    _, facts = look(Silence(MONDAY, 7190.0, last), ALWAYS, None, MONDAY + STEP)
    assert facts == SilenceFacts("pacs", over=False, last_received="2026-03-02T05:55:00+00:00", silent_s=7220.0, limit_s=7200.0)
