"""A sender that is killed between telling and recording tells once more, with the same identity, and never a third time."""

from __future__ import annotations

import multiprocessing
import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicom_node.config import load_configuration
from dicom_node.domain.notices import NoticeState
from dicom_node.pipeline.notifying import Notifier
from dicom_node.storage import Database
from tests.integration.notices.house import NoticeHouse


def tell(node_yaml: Path) -> None:
    """What the sender's process does, until it is killed."""
    configuration = load_configuration(node_yaml)
    notifier = Notifier(configuration, Database(configuration.node.database), lambda: None)
    notifier.turn(datetime.now(UTC))
    notifier.close()


@pytest.mark.parametrize("way", ["mail", "webhook"])
def test_killed_after_telling_and_before_recording(house: NoticeHouse, way: str) -> None:
    house.fail(house.job("chest" if way == "mail" else "head"))
    server = house.mail.handler if way == "mail" else house.web
    process = multiprocessing.get_context("spawn").Process(target=tell, args=(house.folder / "node.yaml",))

    def kill() -> None:
        """The message is there; its answer is never seen."""
        if process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)

    server.before_answer = kill
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert house.states() == [NoticeState.OWED]
    server.before_answer = lambda: None
    house.turn()
    house.turn()
    assert house.states() == [NoticeState.SENT]
    identities = [m.message["Message-ID"] for m in house.mail.taken] or [p.headers["webhook-id"] for p in house.web.posted]
    assert len(identities) == 2
    assert len(set(identities)) == 1
    assert house.notices()[0].uuid in identities[0]


def test_killed_before_addressing_loses_nothing_and_tells_nothing_twice(house: NoticeHouse) -> None:
    """The event lies in the database until the notices about it do."""
    house.fail(house.job())
    for _ in range(3):
        fresh = Notifier(house.configuration, house.database, lambda: None)
        fresh.turn(datetime.now(UTC))
        fresh.close()
    assert house.told() == [("ops", "failure")]
    assert len(house.mail.taken) == 1
