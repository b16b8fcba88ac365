from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import event

from dicom_node.domain.jobs import JobKey, JobState
from dicom_node.domain.queue_order import QueueOrder, hours_from_text
from dicom_node.domain.routing import JobInput, RouteDecision
from dicom_node.domain.rules import Priority
from dicom_node.errors import TransitionError
from dicom_node.jobs import claiming, queue
from dicom_node.storage import Database, queries
from dicom_node.storage.tables import JobRow

NOW = datetime(2024, 1, 2, 12, tzinfo=UTC)
LEASE = timedelta(seconds=60)
MINUTE = timedelta(minutes=1)
WORKERS = count()
ORDER = QueueOrder((hours_from_text("20:00-06:00"),), UTC)


def new_job(
    revision: int = 1, max_attempts: int = 3, study: str = "1.2", priority: Priority = Priority.NORMAL, replaces: bool = False
) -> queue.NewJob:
    inputs = (JobInput("image", study, "1.2.3", ("1.2.3.4",)),)
    decision = RouteDecision("rule", "model", inputs, ("pacs",), priority, replaces=replaces)
    return queue.NewJob(JobKey(study, revision, "rule", "digest"), decision, "1.0", max_attempts)


def create(database: Database, now: datetime = NOW, **kwargs: Any) -> int:
    with database.transaction() as session:
        job = queue.create(session, new_job(**kwargs), now)
        assert job is not None
        return job.id


def claim(database: Database, now: datetime = NOW) -> int | None:
    """Take the next job in the order of the hours of the night; several workers, one each."""
    with database.transaction() as session:
        job = queue.claim(session, f"worker-{next(WORKERS)}", now, LEASE, ORDER)
        return None if job is None else job.id


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
        queue.finish(session, stale, queue.Finished(delivering=True, timings={}), NOW)


def test_heartbeat_of_a_lost_job_says_so(database: Database) -> None:
    job_id = create(database)
    with database.transaction() as session:
        queue.claim(session, "a", NOW, LEASE)
        assert queue.heartbeat(session, job_id, "a", NOW + 2 * LEASE)
        assert not queue.heartbeat(session, job_id, "b", NOW + 2 * LEASE)


def test_jobs_run_by_priority_and_then_by_age(database: Database) -> None:
    names = [Priority.OFF_PEAK, Priority.NORMAL, Priority.STAT, Priority.NORMAL, Priority.STAT]
    made = [create(database, NOW + timedelta(seconds=n), study=f"1.{n}", priority=p) for n, p in enumerate(names)]
    at = NOW + MINUTE
    assert [claim(database, at) for _ in range(5)] == [made[2], made[4], made[1], made[3], None]
    assert claim(database, NOW.replace(hour=20)) == made[0]


def test_overdue_job_has_its_turn_after_three_stat_jobs_and_the_turn_survives_a_restart(database: Database) -> None:
    waiting = [create(database, study="2.1", priority=Priority.NORMAL), create(database, study="2.2", priority=Priority.OFF_PEAK)]
    at = NOW + timedelta(days=2)
    stat = [create(database, at, study=f"1.{n}", priority=Priority.STAT) for n in range(8)]
    first = [claim(database, at) for _ in range(2)]
    reopened = Database(database.url)
    rest = [claim(reopened, at) for _ in range(8)]
    reopened.close()
    assert first + rest == [*stat[:3], waiting[0], *stat[3:6], waiting[1], *stat[6:]]


def test_job_that_takes_the_place_of_results_waits_for_the_earlier_run_to_end(database: Database) -> None:
    early = create(database, revision=1)
    late = create(database, revision=2, replaces=True)
    other = create(database, study="1.9", revision=2, replaces=True)
    assert [claim(database) for _ in range(3)] == [early, other, None]
    with database.transaction() as session:
        blocker = claiming.blocked_by(session, late)
        assert blocker is not None
        assert blocker.id == early
        queue.fail_attempt(session, early, "why", retryable=False, now=NOW)
    assert claim(database) == late
    with database.transaction() as session:
        assert claiming.blocked_by(session, late) is None


def test_job_given_another_priority_goes_by_it_with_an_event(database: Database) -> None:
    create(database, study="1.1")
    promoted = create(database, NOW + MINUTE, study="1.2", priority=Priority.OFF_PEAK)
    with database.transaction() as session:
        assert queue.prioritize(session, promoted, Priority.STAT, NOW)
        assert "off-peak changed to stat" in queries.job_events(session, promoted)[-1].reason
    assert claim(database, NOW + MINUTE) == promoted
    with database.transaction() as session:
        assert not queue.prioritize(session, promoted, Priority.NORMAL, NOW)


@pytest.mark.parametrize("priority", Priority)
def test_claim_looks_into_the_index_and_sorts_nothing(database: Database, priority: Priority) -> None:
    plan: list[str] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.startswith("SELECT job."):
            plan.extend(row[3] for row in cursor.connection.execute("EXPLAIN QUERY PLAN " + statement, parameters))

    with database.transaction() as session:
        session.add_all(_row(n) for n in range(500))
        session.flush()
        engine = session.connection().engine
        event.listen(engine, "before_cursor_execute", explain)
        session.exec(claiming.due_statement(priority, NOW)).first()
        event.remove(engine, "before_cursor_execute", explain)
    assert plan[0] == "SEARCH job USING INDEX job_claimable (priority=? AND next_attempt_at<?)"
    assert not [line for line in plan if line.startswith(("SCAN", "USE TEMP"))]


def _row(number: int) -> JobRow:
    return JobRow(
        study_instance_uid=f"1.{number}",
        revision=1,
        rule="rule",
        model_digest="digest",
        model="model",
        model_version="1",
        state=JobState.QUEUED,
        max_attempts=3,
        inputs=[],
        send_to=[],
        next_attempt_at=NOW,
        priority=list(Priority)[number % 3],
        created_at=NOW,
    )
