"""Silence and digest, from rows of instances and jobs to what receivers get; a killed process goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicom_node.domain.jobs import DeliveryState
from dicom_node.pipeline.notifying.watching import Watching
from dicom_node.storage import Database
from tests.integration.notices.house import NoticeHouse
from tests.unit.test_config import load

WATCH = """\
  time_zone: UTC
  silence:
    - {peer: pacs, after: 2h, to: [ris]}
    - {after: 3h, to: [ris, ops]}
  digest: {at: "07:00", to: [ops, ris]}
"""
MONDAY = datetime(2026, 3, 2, 5, 0, tzinfo=UTC)
Build = Callable[[str], NoticeHouse]


@pytest.fixture
def build(tmp_path: Path, database: Database) -> Iterator[Build]:
    built: list[NoticeHouse] = []

    def make(more: str) -> NoticeHouse:
        built.append(NoticeHouse(tmp_path, database, more=more))
        return built[-1]

    yield make
    for house in built:
        house.close()


def watch(house: NoticeHouse, begin: datetime, hours: float, watching: Watching | None = None) -> Watching:
    """Look every two minutes."""
    watching = watching or Watching(house.configuration, house.database)
    for step in range(1, int(hours * 30) + 1):
        watching.look(begin + step * timedelta(minutes=2))
    return watching


def test_silent_peer_is_told_and_so_is_its_end(build: Build) -> None:
    house = build(WATCH.partition("  digest")[0])
    house.receive("ORTHANC", MONDAY)  # before the watch began: it is no news
    watching = watch(house, MONDAY, 1.5)
    house.receive("CT", MONDAY + timedelta(hours=1.5))  # somebody else
    watch(house, MONDAY + timedelta(hours=1.5), 1, watching)
    assert house.told() == [("ris", "silence")]
    house.receive("ORTHANC", MONDAY + timedelta(hours=2.6))
    watch(house, MONDAY + timedelta(hours=2.5), 0.25, watching)
    assert house.told() == [("ris", "silence")] * 2
    begun, over = (dict(n.facts)["silence"] for n in house.notices())
    assert begun == {"peer": "pacs", "over": False, "last_received": None, "silent_s": 7200.0, "limit_s": 7200.0}
    assert (over["over"], over["last_received"]) == (True, "2026-03-02T07:36:00+00:00")  # type: ignore[index]
    house.turn()
    assert [p["type"] for p in house.posted()] == ["node.silence"] * 2


def test_silence_of_everybody(build: Build) -> None:
    house = build(WATCH.partition("  digest")[0].replace("{peer: pacs, after: 2h", "{peer: pacs, after: 9h"))
    watch(house, MONDAY, 3.1)
    assert house.told() == [("ris", "silence"), ("ops", "silence")]
    house.turn()
    assert house.mail.taken[0].message["Subject"] == "[AINODE] Nothing received for 3 h"


def test_watch_goes_on_in_another_process(build: Build) -> None:
    house = build(WATCH.partition("  digest")[0])
    watch(house, MONDAY, 1.5)
    watch(house, MONDAY + timedelta(hours=6.5), 0.4)  # five hours without a node, which are not the peer's
    assert house.told() == []
    watch(house, MONDAY + timedelta(hours=6.9), 0.2)
    assert house.told() == [("ris", "silence")]


def test_destination_that_takes_nothing_is_told_once_and_so_is_its_end(build: Build) -> None:
    house = build("  overdue: {after: 1h, to: [ops, ris]}\n")
    jobs = [house.job(revision=n) for n in (1, 2)]
    for job in jobs:
        house.finish(job, objects=3)
    watching, begin = Watching(house.configuration, house.database), datetime.now(UTC)
    watching.look(begin + timedelta(minutes=59))
    assert "overdue" not in [event for _, event in house.told()]
    for minutes in (61, 62, 90):
        watching.look(begin + timedelta(minutes=minutes))
        Watching(house.configuration, house.database).look(begin + timedelta(minutes=minutes))
    assert house.told() == [("ops", "overdue"), ("ris", "overdue")]
    told = dict(house.notices()[0].facts)["overdue"]
    assert isinstance(told, dict)
    assert (told["destination"], told["over"], told["objects"], told["jobs"], told["limit_s"]) == ("pacs", False, 6, 2, 3600.0)
    for job in jobs:
        house.refuse(job, 3)  # told as a failure; nothing is owed any more
    watching.look(begin + timedelta(minutes=100))
    assert [dict(n.facts)["overdue"]["over"] for n in house.notices() if n.event == "overdue"] == [False, False, True, True]  # type: ignore[index]
    house.turn(timedelta(hours=3))
    assert {m.message["Subject"] for m in house.mails_to("ops")} >= {
        "[AINODE] pacs does not take what it is owed: 6 objects",
        "[AINODE] Nothing is overdue for pacs any more",
    }


def test_digest_counts_what_happened_since_the_last_one(build: Build) -> None:
    house = build(WATCH.partition("  silence")[0] + '  digest: {at: "07:00", to: [ops, ris]}\n')
    begin = datetime.now(UTC)
    at_seven = (begin + timedelta(days=1 if begin.hour >= 7 else 0)).replace(hour=7, minute=0, second=0, microsecond=0)
    watching = Watching(house.configuration, house.database)
    watching.look(begin)
    for _ in range(3):
        house.receive("CT", begin)
    good, bad, broken = (house.job(revision=n) for n in (1, 2, 3))
    house.finish(good)
    house.finish(bad, objects=2)
    house.refuse(bad, 2, DeliveryState.DEAD)
    house.fail(broken)
    watching.look(at_seven - timedelta(minutes=1))
    watching.look(at_seven)
    [first, *_] = [n for n in house.notices() if n.event == "digest"]
    digest = dict(first.facts)["digest"]
    assert isinstance(digest, dict)
    assert digest["instances"] == 3
    assert digest["rules"] == [{"rule": "chest", "model": "m", "done": 1, "failed": 2, "cancelled": 0, "median_s": 4.0, "longest_s": 4.0}]
    assert (digest["deliveries_sent"], digest["deliveries_failed"]) == (0, 2)
    later = Watching(house.configuration, house.database)  # another process, at the same moment
    later.look(at_seven)
    assert [r for r, event in house.told() if event == "digest"] == ["ops", "ris"]
    later.look(at_seven + timedelta(days=3, hours=1))  # three were missed: one comes
    told = [n for n in house.notices() if n.event == "digest" and n.receiver == "ris"]
    assert len(told) == 2
    second = dict(told[1].facts)["digest"]
    assert isinstance(second, dict)
    assert (second["since"], second["instances"], second["rules"]) == (digest["until"], 0, [])


def test_digest_that_was_switched_off_begins_anew(build: Build) -> None:
    house = build('  digest: {cron: "0 * * * *", to: [ris]}\n')
    watching = Watching(house.configuration, house.database)
    watching.look(MONDAY + timedelta(minutes=1))
    house.reconfigure('  digest: {cron: "0 * * * *", to: [ris]}\n', "")
    watching.reconfigure(house.configuration)
    watching.look(MONDAY + timedelta(hours=2))
    again = Watching(load(house.folder, house.node_yaml + '  digest: {cron: "0 * * * *", to: [ris]}\n'), house.database)
    again.look(MONDAY + timedelta(hours=5, minutes=30))
    assert house.told() == []
    again.look(MONDAY + timedelta(hours=6))
    [notice] = house.notices()
    assert dict(notice.facts)["digest"]["since"] == "2026-03-02T10:30:00+00:00"  # type: ignore[index]


def test_nothing_is_watched_without_being_asked_for(house: NoticeHouse) -> None:
    watch(house, MONDAY, 0.1)
    house.receive("CT", MONDAY)
    assert house.told() == []
