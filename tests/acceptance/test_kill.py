"""kill -9 at every stage, ten times each at random moments: what was acknowledged is there, and results arrive exactly once."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from dicom_node.delivery import scu
from dicom_node.delivery.outcomes import Outcome, Verdict
from dicom_node.domain.destinations import Destination
from dicom_node.errors import DeliveryError
from dicom_node.jobs import queue
from dicom_node.storage import Database, queries
from tests.acceptance.daemon import Daemon
from tests.acceptance.orthanc import Orthanc
from tests.phantoms import chest_series, write

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]
EXPECTED = {"SR": 1, "SEG": 1, "OT": 6}
ROUNDS = 10
House = tuple[Daemon, Orthanc]
pause = threading.Event()


class Pushed:
    """A study on its way into the node."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        series = chest_series()
        self.study = str(series[0].StudyInstanceUID)
        self.paths = write(series, folder)
        self.acknowledged: set[int] = set()
        self._destination = Destination("node", "AINODE", "127.0.0.1", daemon.port, "generic-pacs", 10)

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


def job_of(daemon: Daemon, study: str):  # type: ignore[no-untyped-def]
    database = Database(f"sqlite:///{daemon.folder / 'data' / 'node.db'}")
    try:
        with database.transaction() as session:
            ids = queries.job_ids(session, 10, study_instance_uid=study)
            assert len(ids) <= 1
            return queue.get(session, ids[0]) if ids else None
    finally:
        database.close()


def is_running(pid: int) -> bool:
    """A dead process that nobody has waited for yet, as a slow process 1 leaves it, runs no more."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def check_outcome(house: House, pushed: list[Pushed]) -> None:
    daemon, pacs = house
    for item in pushed:
        pacs.wait_until(lambda item=item: pacs.results(item.study) == EXPECTED, 120)
        Orthanc.wait_until(lambda item=item: job_of(daemon, item.study).state == "DONE", 30)
        assert pacs.results(item.study) == EXPECTED
        kept = list((daemon.folder / "data" / "studies" / item.study).rglob("*.dcm"))
        assert len(kept) == len(item.paths)
    assert not list((daemon.folder / "data" / "incoming").glob("*.dcm"))


def test_receiver_killed_while_receiving(patient_house: House, tmp_path: Path) -> None:
    daemon, _ = patient_house
    pushed = []
    for number in range(ROUNDS):
        item = Pushed(daemon, tmp_path / str(number))
        kill_after, seen = random.randrange(1, 24), [0]

        def count(seen: list[int] = seen, kill_after: int = kill_after) -> None:
            seen[0] += 1
            if seen[0] == kill_after:
                daemon.kill_receivers()

        item.push_until_all_are_acknowledged(count)
        pushed.append(item)
    check_outcome(patient_house, pushed)


def test_pipeline_killed_while_indexing(house: House, tmp_path: Path) -> None:
    daemon, _ = house
    pushed = []
    for number in range(ROUNDS):
        item = Pushed(daemon, tmp_path / str(number))
        timer = threading.Timer(random.uniform(0, 0.4), daemon.kill_child, ["pipeline-0"])
        timer.start()
        item.push_until_all_are_acknowledged()
        timer.join()
        pushed.append(item)
    check_outcome(house, pushed)


@pytest.mark.parametrize(
    ("stage", "child"), [("reading", "worker-0"), ("inferring", "worker-0"), ("writing", "worker-0"), ("delivering", "sender-0")]
)
def test_process_killed_at_a_stage_of_a_job(house: House, tmp_path: Path, stage: str, child: str) -> None:
    daemon, _ = house
    pushed = []
    for number in range(ROUNDS):
        item = Pushed(daemon, tmp_path / str(number))
        item.push_until_all_are_acknowledged()

        def reached(item: Pushed = item) -> bool:
            job = job_of(daemon, item.study)
            if job is None:
                return False
            where = job.stage or job.state.lower()
            return str(where) == stage or job.state in ("DELIVERING", "DONE")

        Orthanc.wait_until(reached, 60, every_s=0.002)
        pause.wait(random.uniform(0, 0.05))
        daemon.kill_child(child)
        pushed.append(item)
    check_outcome(house, pushed)


def test_whole_node_killed_at_any_moment(house: House, tmp_path: Path) -> None:
    daemon, _ = house
    pushed = []
    for number in range(ROUNDS):
        item = Pushed(daemon, tmp_path / str(number))
        item.push_until_all_are_acknowledged()
        pause.wait(random.uniform(0, 2.0))
        daemon.kill()
        daemon.start()
        pushed.append(item)
    check_outcome(house, pushed)


def test_children_die_with_their_supervisor(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "node")
    daemon.start()
    children = [daemon.child(name) for name in ("receiver-0", "pipeline-0", "worker-0", "sender-0")]
    daemon.kill()
    Orthanc.wait_until(lambda: not [pid for pid in children if is_running(pid)], 10)
