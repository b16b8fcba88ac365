"""Results are removed when nothing needs them any more, and not before."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from sqlmodel import Session, select
from typer.testing import CliRunner

from dicom_node.cli.results import app
from dicom_node.domain.jobs import CommitPolicy, DeliveryState, JobKey, JobState, StoredResult
from dicom_node.domain.routing import JobInput, RouteDecision
from dicom_node.jobs import queue
from dicom_node.pipeline.pipeline_process import _remove_old_results
from dicom_node.pipeline.process import Process
from dicom_node.pipeline.results.folder_lock import held_alone
from dicom_node.pipeline.results.retention import old_results, prune_results
from dicom_node.pipeline.settling import settle
from dicom_node.storage import Database, InstanceFiles, deliveries, queries
from dicom_node.storage.deliveries import Attempt
from dicom_node.storage.tables import DeliveryRow
from tests.unit.test_config import NODE, load

ENDED = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEEP = timedelta(days=30)
LATER = ENDED + KEEP + timedelta(hours=1)
Change = Callable[[Session, int], None]


def job_with_results(database: Database, files: InstanceFiles, *, rule: str = "rule", attempt: Attempt | None = None) -> int:
    """A job that ended with two objects, sent or not."""
    with database.transaction() as session:
        decision = RouteDecision(rule, "model", (JobInput("image", "1.2", "1.2.3", ("1.2.3.4",)),), ("pacs",))
        job = queue.create(session, queue.NewJob(JobKey("1.2", 1, rule, "digest"), decision, "1.0", 3), ENDED)
        claimed = queue.claim(session, "w", ENDED, timedelta(seconds=60))
        assert job is not None
        assert claimed is not None
        folder = files.results_of(job.id)
        folder.mkdir()
        results = [StoredResult("SC", n, "1.2.9", f"1.2.{job.id}.{n}", "1.3", folder / f"SC-{n}.dcm") for n in (1, 2)]
        for result in results:
            result.path.write_bytes(b"x" * 1000)
        deliveries.record_results(session, job.id, results, {"pacs": {"SC": ""}}, ENDED)
        queue.finish(session, claimed, queue.Finished(delivering=True, timings={}), ENDED)
        for delivery in deliveries.of_job(session, job.id):
            deliveries.record_attempt(session, delivery.id, attempt or Attempt(DeliveryState.SENT, 0, "", ENDED), ENDED)
        settle(session, job.id, ENDED)
    return job.id


def test_old_results_go_and_what_is_on_record_stays(database: Database, files: InstanceFiles) -> None:
    job_id = job_with_results(database, files)
    assert old_results(database, files, KEEP, LATER - timedelta(hours=2)) == []
    [old] = old_results(database, files, KEEP, LATER)
    assert (old.job_id, old.ended_at, old.files, old.size_bytes) == (job_id, ENDED, 2, 2000)
    assert files.results_of(job_id).exists()
    assert prune_results(database, files, KEEP, LATER) == [old]
    assert list(files.results.iterdir()) == []
    with database.transaction() as session:
        assert len(deliveries.results_of(session, job_id)) == 2
        assert queries.job_events(session, job_id)[-1].reason == "results removed from disk, results.keep is over"
    assert prune_results(database, files, KEEP, LATER) == []


@pytest.mark.parametrize(
    ("state", "values"),
    [
        ("OWED", {"sent_at": None}),
        ("HELD", {"sent_at": None, "held_reason": "second reader"}),
        ("DEAD", {"sent_at": None}),
        ("REFUSED", {"sent_at": None, "state_at": LATER - timedelta(days=1)}),
        ("SENT", {"commit_policy": CommitPolicy.REQUIRE}),
        ("COMMITTED", {"committed_at": LATER, "state_at": LATER - timedelta(days=1)}),
    ],
)
def test_one_delivery_that_may_need_them_keeps_them(
    database: Database, files: InstanceFiles, state: str, values: dict[str, object]
) -> None:
    job_id = job_with_results(database, files)
    with database.transaction() as session:
        row = session.exec(select(DeliveryRow).where(DeliveryRow.job_id == job_id)).first()
        assert row is not None
        row.state = state
        for name, value in values.items():
            setattr(row, name, value)
    assert prune_results(database, files, KEEP, LATER) == []
    assert len(list(files.results_of(job_id).glob("*.dcm"))) == 2


@pytest.mark.parametrize(
    "attempt",
    [
        Attempt(DeliveryState.SENT, 0, "", ENDED, commit=CommitPolicy.WAIT),
        Attempt(DeliveryState.REFUSED, 0xA900, "no", ENDED),
    ],
    ids=["not committed where nobody waits for it", "refused long ago"],
)
def test_what_is_over_for_long_goes(database: Database, files: InstanceFiles, attempt: Attempt) -> None:
    job_with_results(database, files, attempt=attempt)
    assert len(prune_results(database, files, KEEP, LATER)) == 1


def test_job_that_delivers_again_or_is_being_rebuilt_keeps_them(database: Database, files: InstanceFiles) -> None:
    job_id = job_with_results(database, files)
    with held_alone(files.results_of(job_id)):
        assert prune_results(database, files, KEEP, LATER) == []
    with database.transaction() as session:
        queue.settle(session, job_id, JobState.DELIVERING, "sent to another destination", ENDED)
    assert prune_results(database, files, KEEP, LATER) == []


def test_what_a_killed_process_had_taken_away_is_removed(database: Database, files: InstanceFiles) -> None:
    left = files.results / ".removing-job-7"
    left.mkdir()
    (left / "SC-1.dcm").write_bytes(b"x")
    other = files.results / "notes"
    other.mkdir()
    prune_results(database, files, KEEP, LATER)
    assert list(files.results.iterdir()) == [other]


def test_command_says_what_would_go_and_removes_nothing_before_it_is_told(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    job_id = job_with_results(database, files)
    load(tmp_path, NODE.replace("sqlite:///node.db", database.url))
    runner, config = CliRunner(), ["--config", str(tmp_path / "node.yaml")]
    assert "kept for ever" in str(runner.invoke(app, ["prune", *config]).exception)
    assert "at least 1h" in str(runner.invoke(app, ["prune", "--keep", "5m", *config]).exception)
    load(tmp_path, NODE.replace("sqlite:///node.db", database.url) + "results: {keep: 1d}\n")
    said = runner.invoke(app, ["prune", "--dry-run", *config]).output
    assert "1 job(s), 0.0 MiB would be removed; nothing was changed." in said
    assert files.results_of(job_id).exists()
    assert '"job_id": 1' in runner.invoke(app, ["prune", "--json", *config]).output
    assert not files.results_of(job_id).exists()


def test_node_does_so_by_itself_as_configured_at_that_moment(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    job_id = job_with_results(database, files)
    node = NODE.replace("sqlite:///node.db", database.url)
    kept, limited = load(tmp_path, node), load(tmp_path, node + "results: {keep: 1h}\n")
    now = [kept]
    scheduler = BackgroundScheduler()  # not started: what it would call is called here
    _remove_old_results(Process("pipeline-0", kept, lambda: now[0]), scheduler, database)
    [planned] = scheduler.get_jobs()
    planned.func()
    assert files.results_of(job_id).exists()
    now[0] = limited
    planned.func()
    assert not files.results_of(job_id).exists()
