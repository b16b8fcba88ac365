from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dicom_node.domain.jobs import JobKey, JobState
from dicom_node.domain.routing import JobInput, RouteDecision
from dicom_node.errors import TransitionError
from dicom_node.jobs import queue
from dicom_node.storage import Database, queries

NOW = datetime(2024, 1, 2, tzinfo=UTC)
LEASE = timedelta(seconds=60)


def new_job(revision: int = 1, max_attempts: int = 3) -> queue.NewJob:
    decision = RouteDecision("rule", "model", (JobInput("image", "1.2", "1.2.3", ("1.2.3.4",)),), ("pacs",))
    return queue.NewJob(JobKey("1.2", revision, "rule", "digest"), decision, "1.0", max_attempts)


def create(database: Database, **kwargs: int) -> int:
    with database.transaction() as session:
        job = queue.create(session, new_job(**kwargs), NOW)
        assert job is not None
        return job.id


def state_of(database: Database, job_id: int) -> JobState:
    with database.transaction() as session:
        job = queue.get(session, job_id)
        assert job is not None
        return job.state


def test_same_key_makes_one_job(database: Database) -> None:
    create(database)
    with database.transaction() as session:
        assert queue.create(session, new_job(), NOW) is None
    create(database, revision=2)


def test_job_is_claimed_once(database: Database) -> None:
    job_id = create(database)
    with database.transaction() as session:
        job = queue.claim(session, "a", NOW, LEASE)
        assert job is not None
        assert job.id == job_id
    with database.transaction() as session:
        assert queue.claim(session, "b", NOW, LEASE) is None


def test_every_change_leaves_an_event(database: Database) -> None:
    job_id = create(database)
    with database.transaction() as session:
        queue.claim(session, "a", NOW, LEASE)
    with database.transaction() as session:
        queue.fail_attempt(session, job_id, "why", retryable=True, now=NOW)
        states = [(e.from_state, e.to_state) for e in queries.job_events(session, job_id)]
    assert states == [(None, "QUEUED"), ("QUEUED", "RUNNING"), ("RUNNING", "QUEUED")]


def test_dead_workers_job_returns_until_its_attempts_are_spent(database: Database) -> None:
    job_id = create(database, max_attempts=2)
    now = NOW
    for expected in (JobState.QUEUED, JobState.FAILED):
        with database.transaction() as session:
            queue.claim(session, "a", now, LEASE)
        with database.transaction() as session:
            assert queue.recover(session, now + LEASE / 2) == []
            now += LEASE * 2
            assert queue.recover(session, now) == [job_id]
        assert state_of(database, job_id) is expected


def test_own_leases_are_taken_back_at_once_after_a_restart(database: Database) -> None:
    job_id = create(database)
    with database.transaction() as session:
        queue.claim(session, "worker-0", NOW, LEASE)
    with database.transaction() as session:
        assert queue.recover(session, NOW, owner="worker-1") == []
        assert queue.recover(session, NOW, owner="worker-0") == [job_id]


def test_worker_that_lost_its_lease_cannot_finish(database: Database) -> None:
    create(database)
    with database.transaction() as session:
        stale = queue.claim(session, "worker-0", NOW, LEASE)
        assert stale is not None
    with database.transaction() as session:
        queue.recover(session, NOW, owner="worker-0")
    with database.transaction() as session:
        assert queue.claim(session, "worker-0", NOW, LEASE)
    with pytest.raises(TransitionError), database.transaction() as session:
        queue.finish(session, stale, delivering=True, timings={}, now=NOW)


def test_heartbeat_of_a_lost_job_says_so(database: Database) -> None:
    job_id = create(database)
    with database.transaction() as session:
        queue.claim(session, "a", NOW, LEASE)
        assert queue.heartbeat(session, job_id, "a", NOW + 2 * LEASE)
        assert not queue.heartbeat(session, job_id, "b", NOW + 2 * LEASE)
