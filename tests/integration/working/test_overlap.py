"""Several jobs at once in a real worker: read ahead, overtaken, shared, cancelled, killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from dicom_node.domain.jobs import Job, JobStage, JobState
from dicom_node.domain.rules import Priority
from dicom_node.storage import queries
from tests.commands import dicom_node
from tests.integration.working.worker_house import WorkerHouse

BATCH = {"steps": {"python": "odd-in-batches"}}
BUNDLES = {"odd-batch": BATCH, "odd-latch": {}, "odd-latch-2": {}, "odd-good": {}, "odd-sleep-1500": {}, "odd-refuse": {}}


@pytest.fixture
def house(houses: WorkerHouse) -> Iterator[WorkerHouse]:
    for note in houses.notes.iterdir():
        note.unlink()
    yield houses
    (houses.notes / "go").touch()
    houses.wait_until_all_ended()


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerHouse]:
    house = WorkerHouse(tmp_path_factory.mktemp("overlap"), BUNDLES, "stat_in_a_row: 3")
    house.start()
    yield house
    house.close()


def go(house: WorkerHouse) -> None:
    (house.notes / "go").touch()


def latched(house: WorkerHouse) -> int:
    """A job whose model waits for `go`."""
    job_id = house.order("odd-latch", house.study())
    house.wait_for(lambda: house.noted("inferring"))
    return job_id


def began_at(house: WorkerHouse, job_id: int) -> float:
    events = house.read(lambda session: queries.job_events(session, job_id))
    return max(e.at.timestamp() for e in events if e.to_state == "RUNNING")


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_next_job_is_read_and_prepared_beside_the_inference_and_a_stat_job_goes_before_it(house: WorkerHouse) -> None:
    study = house.study()
    first = latched(house)
    following = house.order("odd-latch-2", study)
    house.wait_for(lambda: len(house.noted("prepared")) == 2)
    waiting = house.job(following)
    assert (waiting.state, waiting.attempt, waiting.ahead_by) == (JobState.QUEUED, 0, "worker-0")
    stat = house.order("odd-good", study, priority=Priority.STAT)
    house.wait_for(lambda: house.job(stat).ahead_by == "worker-0")
    go(house)
    house.wait_until_all_ended()
    assert {house.job(n).state for n in (first, following, stat)} == {JobState.DONE}
    assert {house.job(n).attempt for n in (first, following, stat)} == {1}
    assert began_at(house, first) < began_at(house, stat) < began_at(house, following)


def test_jobs_of_one_small_model_share_an_inference_and_have_their_own_results(house: WorkerHouse) -> None:
    studies = [house.study(slices) for slices in (3, 4, 5, 3, 3)]
    latched(house)
    jobs = [house.order("odd-batch", study) for study in studies]
    house.wait_for(lambda: len(house.noted("prepared")) == 1 + 4)
    assert sum(house.job(n).ahead_by == "worker-0" for n in jobs) == 4
    go(house)
    house.wait_until_all_ended()
    assert {(house.job(n).state, house.job(n).attempt) for n in jobs} == {(JobState.DONE, 1)}
    assert house.noted("batch-15")
    assert house.noted("batch-3")
    findings = [house.read(lambda session, n=n: queries.job_findings(session, n)) for n in jobs]
    means = [round(f["measurements"]["mean"]["value"], 3) for f in findings]
    assert means[0] == means[3] == means[4] != means[1] != means[2]


def test_progress_of_a_long_inference_is_on_the_job(house: WorkerHouse) -> None:
    job_id = house.order("odd-sleep-1500", house.study())
    house.wait_for(lambda: (job := house.job(job_id)).stage is JobStage.INFERRING and job.progress)
    progress = house.job(job_id).progress
    assert progress is not None
    assert 0 < progress <= 1
    assert "inferring" in dicom_node("jobs", "list", "--config", house.folder / "node.yaml").out


def test_cancelled_job_ends_within_a_second_with_the_process_of_its_model(house: WorkerHouse) -> None:
    job_id = latched(house)
    [host] = house.noted("inferring")
    following = house.order("odd-good", house.study())
    house.wait_for(lambda: house.job(following).ahead_by)
    done = dicom_node("jobs", "cancel", str(job_id), "--config", house.folder / "node.yaml")
    asked = monotonic()
    assert done.code == 0, done.err
    house.wait_for(lambda: not alive(host), 1.0)
    assert monotonic() - asked < 1.0
    house.wait_until_all_ended()
    assert house.job(job_id).state is JobState.CANCELLED
    assert house.results(job_id) == []
    assert (house.job(following).state, house.job(following).attempt) == (JobState.DONE, 1)
    assert "job_cancelled" in house.log()


def test_job_cancelled_while_it_is_read_ahead_never_runs(house: WorkerHouse) -> None:
    study = house.study()
    latched(house)
    ahead = house.order("odd-latch-2", study)
    house.wait_for(lambda: len(house.noted("prepared")) == 2)
    assert dicom_node("jobs", "cancel", str(ahead), "--config", house.folder / "node.yaml").code == 0
    go(house)
    house.wait_until_all_ended()
    assert (house.job(ahead).state, house.job(ahead).attempt) == (JobState.CANCELLED, 0)
    assert len(house.noted("inferring")) == 1


def test_killed_worker_takes_its_host_along_and_costs_one_attempt_of_one_job(house: WorkerHouse) -> None:
    study = house.study()
    held = latched(house)
    [host] = house.noted("inferring")
    ahead = house.order("odd-latch-2", study)
    house.wait_for(lambda: len(house.noted("prepared")) == 2)
    house.kill()
    house.wait_for(lambda: not alive(host), 5)
    go(house)
    house.start()
    house.wait_until_all_ended()
    jobs: list[Job] = [house.job(n) for n in (held, ahead)]
    assert [(job.state, job.attempt) for job in jobs] == [(JobState.DONE, 2), (JobState.DONE, 1)]
    assert all(len(house.results(job.id)) == len(set(house.results(job.id))) for job in jobs)


def test_stopped_worker_finishes_its_job_and_leaves_what_it_read_ahead(house: WorkerHouse) -> None:
    study = house.study()
    held = latched(house)
    ahead = house.order("odd-latch-2", study)
    house.wait_for(lambda: len(house.noted("prepared")) == 2)
    house._workers["worker-0"].terminate()
    house.wait_for(lambda: "process_stopping" in house.log().rsplit("process_started", 1)[-1])
    go(house)
    assert house._workers["worker-0"].wait(20) == 0
    assert house.job(held).state is JobState.DONE
    left = house.job(ahead)
    assert (left.state, left.attempt, left.ahead_by) == (JobState.QUEUED, 0, None)
    assert dicom_node("jobs", "cancel", str(ahead), "--config", house.folder / "node.yaml").code == 0
