"""Jobs that a worker prepares before they are its own."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dicom_node.domain.jobs import Job, JobState
from dicom_node.domain.rules import Priority
from dicom_node.errors import TransitionError
from dicom_node.jobs import ahead, queue
from dicom_node.storage import Database
from tests.integration.test_queue import LEASE, MINUTE, NOW, ORDER, create, state_of


def peek(database: Database, worker: str = "a") -> int | None:
    with database.reading() as session:
        job = ahead.next_job(session, worker, NOW + MINUTE, ORDER)
    return None if job is None else job.id


def reserve(database: Database, job_id: int, worker: str) -> bool:
    with database.transaction() as session:
        return ahead.reserve(session, job_id, worker)


def begin(database: Database, job_id: int, worker: str) -> bool:
    with database.transaction() as session:
        return ahead.begin(session, job_id, worker, NOW + 2 * MINUTE)


def claim(database: Database, worker: str, at: timedelta = MINUTE) -> Job | None:
    with database.transaction() as session:
        return queue.claim(session, worker, NOW + at, LEASE, ORDER)


def test_two_workers_read_different_jobs_ahead(database: Database) -> None:
    first, second = create(database, study="1.1"), create(database, study="1.2")
    assert reserve(database, first, "a")
    assert not reserve(database, first, "b")
    assert (peek(database, "a"), peek(database, "b")) == (first, second)


def test_job_read_ahead_is_taken_by_whoever_is_free_first(database: Database) -> None:
    job_id = create(database)
    assert reserve(database, job_id, "a")
    taken = claim(database, "b")
    assert taken is not None
    assert (taken.id, taken.attempt, taken.ahead_by) == (job_id, 1, None)
    assert not begin(database, job_id, "a")


def test_begun_job_is_left_to_its_worker_and_costs_no_attempt_until_it_is_claimed(database: Database) -> None:
    job_id = create(database)
    assert reserve(database, job_id, "a")
    assert begin(database, job_id, "a")
    assert claim(database, "b") is None
    with database.transaction() as session:
        assert queue.claim_begun(session, "b", job_id, NOW, LEASE) is None
        waiting = queue.get(session, job_id)
        assert waiting is not None
        assert (waiting.state, waiting.attempt) == (JobState.QUEUED, 0)
        taken = queue.claim_begun(session, "a", job_id, NOW, LEASE)
    assert taken is not None
    assert taken.attempt == 1


def test_begun_job_of_a_dead_worker_comes_back_by_its_successor_or_by_time(database: Database) -> None:
    jobs = [create(database, study=f"1.{n}") for n in range(2)]
    for job_id in jobs:
        assert reserve(database, job_id, "a")
        assert begin(database, job_id, "a")
    assert claim(database, "b") is None
    with database.transaction() as session:
        ahead.release(session, "a", jobs[1])
    released, by_time = claim(database, "b"), claim(database, "c", 3 * MINUTE)
    assert [job and job.id for job in (released, by_time)] == [jobs[1], jobs[0]]


def test_stat_job_that_arrives_goes_before_the_one_read_ahead(database: Database) -> None:
    normal = create(database, study="1.1")
    assert reserve(database, normal, "a")
    stat = create(database, study="1.2", priority=Priority.STAT)
    assert peek(database) == stat
    taken = claim(database, "a")
    assert taken is not None
    assert taken.id == stat


def test_begun_jobs_count_in_the_turns_of_stat_jobs(database: Database) -> None:
    create(database, NOW - timedelta(hours=1), study="2.1")
    for number in range(5):
        create(database, study=f"1.{number}", priority=Priority.STAT)
    taken = []
    for _ in range(6):
        with database.transaction() as session:
            job = ahead.next_job(session, "a", NOW + MINUTE, ORDER)
            assert job is not None
            assert ahead.reserve(session, job.id, "a")
            assert ahead.begin(session, job.id, "a", NOW + 2 * MINUTE)
            begun = queue.claim_begun(session, "a", job.id, NOW, LEASE)
            assert begun is not None
            queue.finish(session, begun, queue.Finished(delivering=False, timings={}), NOW)
            taken.append(begun.priority)
    assert taken == [Priority.STAT] * 3 + [Priority.NORMAL] + [Priority.STAT] * 2


def test_job_cancelled_while_it_runs_cannot_be_finished(database: Database) -> None:
    job_id = create(database)
    job = claim(database, "a")
    assert job is not None
    with database.transaction() as session:
        assert queue.holds(session, job)
        queue.settle(session, job_id, JobState.CANCELLED, "cancelled by an operator", NOW)
    with database.transaction() as session:
        assert not queue.holds(session, job)
    with pytest.raises(TransitionError), database.transaction() as session:
        queue.finish(session, job, queue.Finished(delivering=True, timings={}), NOW)
    assert state_of(database, job_id) is JobState.CANCELLED


def test_companions_are_of_one_model_and_priority_and_nobody_elses(database: Database) -> None:
    jobs = [create(database, study=f"1.{n}") for n in range(4)]
    create(database, study="1.9", priority=Priority.STAT)
    assert reserve(database, jobs[2], "b")
    with database.reading() as session:
        first = queue.get(session, jobs[0])
        assert first is not None
        assert [j.id for j in ahead.companions_of(session, first, "a", NOW + MINUTE, 8)] == [jobs[1], jobs[3]]
        assert [j.id for j in ahead.companions_of(session, first, "b", NOW + MINUTE, 2)] == [jobs[1], jobs[2]]
