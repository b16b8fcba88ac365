"""`deliveries list` and `deliveries retry`."""

from __future__ import annotations

from datetime import UTC, datetime

import typer

from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath, Limit, opened
from dicom_node.cli.output import print_json, print_table
from dicom_node.domain.jobs import DeliveryState, JobState
from dicom_node.errors import StorageError
from dicom_node.jobs import queue
from dicom_node.ops.wakeup import ring
from dicom_node.storage import InstanceFiles
from dicom_node.storage import deliveries as stored

app = typer.Typer(no_args_is_help=True, help="Result objects on their way to destinations.")


@app.command("list")
def list_deliveries(config: ConfigPath = DEFAULT_CONFIG, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List deliveries, newest first."""
    _, database = opened(config)
    with database.transaction() as session:
        found = stored.recent(session, limit)
    if as_json:
        print_json(found)
        return
    columns = ("delivery", "job", "object", "destination", "state", "attempts", "next attempt", "sent", "reason")
    rows = [
        (
            d.id,
            d.job_id,
            f"{d.result.kind} {d.result.number}",
            d.destination,
            d.state,
            d.attempt,
            d.next_attempt_at if d.state is DeliveryState.OWED else None,
            d.sent_at,
            d.reason,
        )
        for d in found
    ]
    print_table(columns, rows, nothing="Nothing was to deliver yet.")


@app.command("retry")
def retry_deliveries(job_id: int, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Send at once what a job's destinations have not accepted."""
    configuration, database = opened(config)
    now = datetime.now(UTC)
    with database.transaction() as session:
        job = queue.get(session, job_id)
        if job is None or job.state not in (JobState.DELIVERING, JobState.FAILED) or not stored.of_job(session, job_id):
            raise StorageError(f"job {job_id} has nothing left to deliver", hint="see `dicom-node deliveries list`")
        count = stored.reopen(session, job_id, now)
        if job.state is JobState.FAILED:
            queue.settle(session, job_id, JobState.DELIVERING, "retried by an operator", now)
    ring(InstanceFiles(configuration.data_dir).run, "sender")
    typer.echo(f"{count} deliver{'y' if count == 1 else 'ies'} of job {job_id} due now.")
