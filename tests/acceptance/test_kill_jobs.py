"""kill -9 of worker and sender at every stage of a job, ten times each: results arrive exactly once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.acceptance.interrupted import ROUNDS, House, Pushed, check_outcome, job_of, pause
from tests.acceptance.orthanc import Orthanc

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]


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
