from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep

import pytest

from dicom_node.domain.jobs import Job, JobStage
from dicom_node.jobs import queue
from dicom_node.pipeline.working.lease import LeaseKeeper
from dicom_node.storage import Database
from tests.integration.test_queue import new_job

LEASE = timedelta(seconds=0.9)


@pytest.fixture
def keeper(database: Database, request: pytest.FixtureRequest) -> Iterator[LeaseKeeper]:
    keeper = LeaseKeeper(database, getattr(request, "param", LEASE))
    yield keeper
    keeper.close()


def claimed(database: Database) -> Job:
    with database.transaction() as session:
        queue.create(session, new_job(), datetime.now(UTC) - timedelta(seconds=1))
        job = queue.claim(session, "w", datetime.now(UTC), LEASE)
    assert job is not None
    return job


def seen(database: Database, job: Job) -> Job:
    with database.reading() as session:
        found = queue.get(session, job.id)
    assert found is not None
    return found


def wait_for(condition: object, limit_s: float = 5.0) -> None:
    deadline = monotonic() + limit_s
    while not condition():  # type: ignore[operator]
        assert monotonic() < deadline
        sleep(0.01)


@pytest.mark.parametrize("keeper", [timedelta(seconds=60)], indirect=True)
def test_stage_is_written_at_once_and_progress_once_a_second(database: Database, keeper: LeaseKeeper) -> None:
    job = claimed(database)
    keeper.hold(job)
    keeper.note(JobStage.INFERRING)
    wait_for(lambda: seen(database, job).stage is JobStage.INFERRING, 0.9)
    written = set()
    begin = monotonic()
    for step in range(1, 60):
        keeper.note(JobStage.INFERRING, step / 100)
        written.add(seen(database, job).progress)
        sleep(0.01)
    assert len(written) <= 2 + int(monotonic() - begin)
    wait_for(lambda: seen(database, job).progress == 0.59, 2)


def test_lease_is_extended_until_it_is_let_go(database: Database, keeper: LeaseKeeper) -> None:
    job = claimed(database)
    keeper.hold(job)
    assert job.lease_until is not None
    first = job.lease_until
    wait_for(lambda: (until := seen(database, job).lease_until) is not None and until > first + LEASE / 4)
    keeper.let_go()
    last = seen(database, job).lease_until
    sleep(LEASE.total_seconds() / 2)
    assert seen(database, job).lease_until == last
