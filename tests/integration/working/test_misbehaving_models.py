"""Models that hang, crash, eat memory, leave and raise, in a real worker: each costs its own job, with the reason, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dicom_node.domain.jobs import Job, JobState
from tests.integration.working.worker_house import WorkerHouse

SHORT = {"resources": {"time_limit": "600ms", "memory": "256MiB"}}
SMALL = {"resources": {"time_limit": "30s", "memory": "256MiB"}}
REASONS = {
    "odd-loop": "model-stopped: the model took longer than 0.6 s and was stopped",
    "odd-block": "model-stopped: the model took longer than 0.6 s and was stopped",
    "odd-eat": "out-of-memory: the model needed more than the 256 MiB that it may take",
    "odd-leave": "model-stopped: the model ended its process with exit status 3",
    "odd-crash": "model-stopped: the model's process was killed by signal 11 (SIGSEGV)",
    "odd-raise": "model-error: the model raised ValueError in Odd._raise:",
    "odd-quit": "model-error: the model raised SystemExit in Odd._quit:",
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerHouse]:
    names = ["odd-good", "odd-refuse", *REASONS]
    house = WorkerHouse(tmp_path_factory.mktemp("odd"), {name: SHORT if name in ("odd-loop", "odd-block") else SMALL for name in names})
    study = house.study()
    for name in REASONS:
        house.order(name, study)
        house.order("odd-good", study, rule=f"after-{name}")
    house.order("odd-refuse", study)
    house.order("odd-good", house.study(slices=1), rule="one-slice")
    house.start()
    house.wait_until_all_ended()
    assert house.stop() == 0
    yield house
    house.close()


def by_rule(house: WorkerHouse) -> dict[str, Job]:
    return {job.key.rule: job for job in house.jobs()}


@pytest.mark.parametrize(("name", "reason"), REASONS.items())
def test_job_fails_with_the_reason_and_the_next_one_is_done_at_its_first_attempt(house: WorkerHouse, name: str, reason: str) -> None:
    failed, after = by_rule(house)[name], by_rule(house)[f"after-{name}"]
    assert (failed.state, failed.attempt) == (JobState.FAILED, 1)
    assert failed.reason.startswith(reason), failed.reason
    assert house.results(failed.id) == []
    assert (after.state, after.attempt) == (JobState.DONE, 1)
    assert "SR-1" in house.results(after.id)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("odd-refuse", "The series has 3 slices, the model needs 20 or more."),
        ("one-slice", "Input images: a volume needs at least 2 slices"),
    ],
)
def test_images_that_cannot_be_analysed_have_a_result_that_says_why(house: WorkerHouse, rule: str, reason: str) -> None:
    job = by_rule(house)[rule]
    assert (job.state, job.attempt) == (JobState.DONE, 1)
    assert job.reason.startswith(f"not analysed: {reason}")
    assert "SR-1" in house.results(job.id)
    assert house.trace(job.id)["inputs"]


def test_nothing_of_the_patient_is_in_the_log(house: WorkerHouse) -> None:
    assert "Phantom" not in house.log()
    assert "PH-4711" not in house.log()


def test_trace_names_what_was_read_and_how_it_was_computed(house: WorkerHouse) -> None:
    trace = house.trace(by_rule(house)["after-odd-eat"].id)
    [images] = trace["inputs"]
    assert len(images["instances"]) == 3
    assert {len(sha256) for sha256 in images["instances"].values()} == {64}
    assert [step["name"] for step in trace["steps"]] == ["infer"]
    assert trace["versions"].keys() >= {"dicom-node", "numpy", "onnxruntime"}
    assert (trace["backend"], trace["precision"], trace["fallback"]) == ("onnxruntime", "fp32", "")
