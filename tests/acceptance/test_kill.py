"""kill -9 of receivers, pipeline and node, ten times each at random moments: the acknowledged is there, results arrive once."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import psutil
import pytest

from tests.acceptance.daemon import Daemon
from tests.acceptance.interrupted import ROUNDS, House, Pushed, check_outcome, pause
from tests.acceptance.orthanc import Orthanc

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]


def is_running(pid: int) -> bool:
    """A dead process that nobody has waited for yet, as a slow process 1 leaves it, runs no more."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


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
    assert daemon.process is not None
    supervisor = psutil.Process(daemon.process.pid)
    assert supervisor.num_threads() == 1, "it forks, and locks of other threads would stay locked in its children"
    shown = {"dicom-node receiver-0", "dicom-node worker-0"}  # by `ps`
    Orthanc.wait_until(lambda: shown <= {child.cmdline()[0] for child in supervisor.children()}, 20)
    daemon.kill()
    Orthanc.wait_until(lambda: not [pid for pid in children if is_running(pid)], 10)
