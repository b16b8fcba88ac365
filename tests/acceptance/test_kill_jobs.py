"""kill -9 of worker, model host and sender at every stage of a job: results arrive exactly once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests import odd_models
from tests.acceptance.daemon import Daemon
from tests.acceptance.interrupted import House, Pushed, check_outcome, job_of, pause
from tests.acceptance.orthanc import Orthanc
from tests.conftest import free_port

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

MODEL = "odd-sleep-300"
EXPECTED = {"SR": 1, "OT": 1}
ROUNDS_BESIDE = 5
ROUNDS_WHILE_INFERRING = 20


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A node whose model does nothing for 0.3 s, and a PACS."""
    folder = tmp_path_factory.mktemp("kill-jobs")
    package = folder / "package"
    package.mkdir()
    odd_models.install(package)
    odd_models.write_bundle(folder / "models", MODEL)
    port = free_port()
    pacs = Orthanc(folder / "pacs", port)
    daemon = Daemon(folder / "node", pacs.dicom_port, "300ms", port)
    daemon.node["models_dir"] = str(folder / "models")
    daemon.rules["rules"][0]["model"] = MODEL
    daemon.write()
    try:
        pacs.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(package), prepend=":")
            daemon.start()
        yield daemon, pacs
    finally:
        daemon.close()
        pacs.close()


def kill_host(daemon: Daemon) -> None:
    """Kill the process that runs the model: the child of the worker's only child."""
    for nursery in psutil.Process(daemon.child("worker-0")).children():
        for host in nursery.children():
            host.kill()


@pytest.mark.parametrize(
    ("stage", "victim", "rounds"),
    [
        ("reading", "worker-0", ROUNDS_BESIDE),
        ("inferring", "worker-0", ROUNDS_WHILE_INFERRING),
        ("inferring", "host", ROUNDS_WHILE_INFERRING),
        ("writing", "worker-0", ROUNDS_BESIDE),
        ("delivering", "sender-0", 2 * ROUNDS_BESIDE),
    ],
)
def test_process_killed_at_a_stage_of_a_job(house: House, tmp_path: Path, stage: str, victim: str, rounds: int) -> None:
    daemon, _ = house
    pushed = []
    for number in range(rounds):
        item = Pushed(daemon, tmp_path / str(number), slices=3)
        item.push_until_all_are_acknowledged()

        def reached(item: Pushed = item) -> bool:
            job = job_of(daemon, item.study)
            if job is None:
                return False
            where = job.stage or job.state.lower()
            return str(where) == stage or job.state in ("DELIVERING", "DONE")

        Orthanc.wait_until(reached, 60, every_s=0.002)
        pause.wait(random.uniform(0, 0.05))
        if victim == "host":
            kill_host(daemon)
        else:
            daemon.kill_child(victim)
        pushed.append(item)
    check_outcome(house, pushed, EXPECTED)
