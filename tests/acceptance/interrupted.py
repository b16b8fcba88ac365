"""Studies on their way into a node that dies now and then, and what must have come of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from dicom_node.delivery import scu
from dicom_node.delivery.outcomes import Outcome, Verdict
from dicom_node.domain.destinations import StorageScp
from dicom_node.domain.jobs import Job
from dicom_node.errors import DeliveryError
from dicom_node.jobs import queue
from dicom_node.storage import Database, queries
from tests.acceptance.daemon import Daemon
from tests.acceptance.orthanc import Orthanc
from tests.phantoms import chest_series, write

EXPECTED = {"SR": 1, "SEG": 1, "OT": 7}
ROUNDS = 10
House = tuple[Daemon, Orthanc]
pause = threading.Event()


class Pushed:
    """A study on its way into the node."""

    def __init__(self, daemon: Daemon, folder: Path, slices: int | None = None) -> None:
        series = chest_series()[:slices]
        self.study = str(series[0].StudyInstanceUID)
        self.paths = write(series, folder)
        self.acknowledged: set[int] = set()
        self._destination = StorageScp("node", "AINODE", "127.0.0.1", daemon.port, "generic-pacs", 10)

    def push_until_all_are_acknowledged(self, begun: Callable[[], None] = lambda: None) -> None:
        """Send as a careful PACS does: what got no Success is sent again."""
        while len(self.acknowledged) < len(self.paths):
            waiting = [n for n in range(len(self.paths)) if n not in self.acknowledged]

            def answered(position: int, outcome: Outcome, waiting: list[int] = waiting) -> None:
                if outcome.verdict is Verdict.STORED:
                    self.acknowledged.add(waiting[position])
                begun()

            try:
                scu.send("CT", self._destination, [self.paths[n] for n in waiting], answered)
            except DeliveryError:
                pause.wait(0.2)


def job_of(daemon: Daemon, study: str) -> Job | None:
    database = Database(f"sqlite:///{daemon.folder / 'data' / 'node.db'}")
    try:
        with database.transaction() as session:
            ids = queries.job_ids(session, 10, study_instance_uid=study)
            assert len(ids) <= 1
            return queue.get(session, ids[0]) if ids else None
    finally:
        database.close()


def check_outcome(house: House, pushed: list[Pushed], expected: dict[str, int] = EXPECTED) -> None:
    daemon, pacs = house
    for item in pushed:
        pacs.wait_until(lambda item=item: pacs.results(item.study) == expected, 120)
        Orthanc.wait_until(lambda item=item: (job := job_of(daemon, item.study)) is not None and job.state == "DONE", 30)
        assert pacs.results(item.study) == expected
        kept = list((daemon.folder / "data" / "studies" / item.study).rglob("*.dcm"))
        assert len(kept) == len(item.paths)
    assert not list((daemon.folder / "data" / "incoming").glob("*.dcm"))
