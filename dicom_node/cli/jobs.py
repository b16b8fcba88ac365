"""`jobs list`, `show`, `retry` and `cancel`."""

from __future__ import annotations

from datetime import UTC, datetime

import typer

from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath, Limit, opened
from dicom_node.cli.output import print_json, print_table, text
from dicom_node.domain.jobs import Job, JobState
from dicom_node.errors import StorageError
from dicom_node.jobs import queue
from dicom_node.ops.wakeup import ring
from dicom_node.storage import Database, InstanceFiles, deliveries, queries

app = typer.Typer(no_args_is_help=True, help="Model runs.")
_WAITING = (JobState.QUEUED, JobState.DELIVERING)


@app.command("list")
def list_jobs(config: ConfigPath = DEFAULT_CONFIG, limit: Limit = 50, state: JobState | None = None, as_json: AsJson = False) -> None:
    """List jobs, newest first."""
    _, database = opened(config)
    with database.transaction() as session:
        found = [job for job_id in queries.job_ids(session, limit, state) if (job := queue.get(session, job_id))]
    if as_json:
        print_json(found)
        return
    columns = ("job", "state", "stage", "model", "attempt", "next attempt", "study", "reason")
    rows = [(j.id, j.state, j.stage, j.model, j.attempt, _next(j), j.key.study_instance_uid, j.reason) for j in found]
    print_table(columns, rows, nothing="No job yet.")


@app.command("show")
def show_job(job_id: int, config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show a job: history, timings, deliveries."""
    _, database = opened(config)
    job = _get(database, job_id)
    with database.transaction() as session:
        events = queries.job_events(session, job_id)
        timings = queries.job_timings(session, job_id)
        owed = deliveries.of_job(session, job_id)
    if as_json:
        print_json({"job": job, "events": events, "timings": timings, "deliveries": owed})
        return
    typer.echo(f"Job {job.id}: {job.state}, {job.model} {job.model_version}, rule {job.key.rule}, study {job.key.study_instance_uid}")
    if _next(job):
        typer.echo(f"  next attempt {text(_next(job))}: {job.reason}")
    for event in events:
        typer.echo(f"  {text(event.at)}  {event.to_state}: {event.reason}")
    for name, seconds in timings.items():
        typer.echo(f"  {name.removesuffix('_s')}: {seconds:.2f} s")
    rows = [(d.result.kind, d.result.number, d.destination, d.state, d.attempt, d.sent_at, d.reason) for d in owed]
    print_table(("object", "number", "destination", "state", "attempts", "sent", "reason"), rows, nothing="  no deliveries")


@app.command("retry")
def retry_job(job_id: int, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Try a failed or cancelled job again: only its deliveries, if its results exist."""
    configuration, database = opened(config)
    job = _get(database, job_id)
    if job.state not in (JobState.FAILED, JobState.CANCELLED):
        raise StorageError(f"job {job_id} is {job.state}: only a FAILED or CANCELLED job can be retried")
    now = datetime.now(UTC)
    with database.transaction() as session:
        again = job.state is JobState.FAILED and bool(deliveries.of_job(session, job_id))
        if again:
            deliveries.reopen(session, job_id, now)
        queue.settle(session, job_id, JobState.DELIVERING if again else JobState.QUEUED, "retried by an operator", now)
    ring(InstanceFiles(configuration.data_dir).run, "sender" if again else "worker")
    typer.echo(f"Job {job_id} is {'DELIVERING' if again else 'QUEUED'} again.")


@app.command("cancel")
def cancel_job(job_id: int, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Cancel a job that has not begun."""
    _, database = opened(config)
    job = _get(database, job_id)
    if job.state is not JobState.QUEUED:
        raise StorageError(f"job {job_id} is {job.state}: only a QUEUED job can be cancelled")
    with database.transaction() as session:
        queue.settle(session, job_id, JobState.CANCELLED, "cancelled by an operator", datetime.now(UTC))
    typer.echo(f"Job {job_id} is CANCELLED.")


def _get(database: Database, job_id: int) -> Job:
    with database.transaction() as session:
        job = queue.get(session, job_id)
    if job is None:
        raise StorageError(f"there is no job {job_id}", hint="see `dicom-node jobs list`")
    return job


def _next(job: Job) -> datetime | None:
    return job.next_attempt_at if job.state in _WAITING and job.reason else None
