"""`deliveries list`, `show`, `retry`, `hold` and `release`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

import typer

from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath, Limit, opened
from dicom_node.cli.output import print_json, print_table, text
from dicom_node.config import Configuration
from dicom_node.domain.jobs import CommitPolicy, Delivery, DeliveryState, JobState
from dicom_node.errors import StorageError
from dicom_node.jobs import queue
from dicom_node.ops.wakeup import ring
from dicom_node.pipeline.committing import is_overdue
from dicom_node.pipeline.settling import is_covered_by_another, settle
from dicom_node.storage import InstanceFiles, delivery_operations
from dicom_node.storage import deliveries as stored
from dicom_node.storage.circuits import read_circuits

app = typer.Typer(no_args_is_help=True, help="Result objects on their way to destinations.")
Destination = Annotated[str, typer.Option("--destination", help="Only what goes to this destination.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and change nothing.")]


@app.command("list")
def list_deliveries(config: ConfigPath = DEFAULT_CONFIG, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List deliveries, newest first, and the destinations that are left alone because they cannot be reached."""
    configuration, database = opened(config)
    with database.transaction() as session:
        found = stored.recent(session, limit)
    if as_json:
        print_json(found)
        return
    for name, circuit in read_circuits(InstanceFiles(configuration.data_dir).run).items():
        typer.echo(
            f"{name} is left alone after {circuit.failures} failures in a row, asked again {text(circuit.probe_at)}: {circuit.reason}"
        )
    columns = ("delivery", "job", "object", "destination", "state", "attempts", "next attempt", "sent", "commitment", "reason")
    rows = [
        (
            d.id,
            d.job_id,
            _object(d),
            d.destination,
            d.state,
            d.attempt,
            d.next_attempt_at if d.state is DeliveryState.OWED else None,
            d.sent_at,
            _commitment(d, configuration),
            d.held_reason or d.reason,
        )
        for d in found
    ]
    print_table(columns, rows, nothing="Nothing was to deliver yet.")


@app.command("show")
def show_delivery(delivery_id: int, config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show a delivery: its state, the destination's status and comment, what went, commitment, history."""
    configuration, database = opened(config)
    with database.transaction() as session:
        found, events = stored.get(session, delivery_id), stored.events(session, delivery_id)
    if found is None:
        raise StorageError(f"there is no delivery {delivery_id}", hint="see `dicom-node deliveries list`")
    if as_json:
        print_json({"delivery": found, "events": events})
        return
    for line in _lines(found, configuration):
        typer.echo(line)
    for event in events:
        typer.echo(f"  {text(event.at)}  {event.to_state}: {event.reason}")


@app.command("retry")
def retry_deliveries(job_id: int, config: ConfigPath = DEFAULT_CONFIG, dry_run: DryRun = False) -> None:
    """Send at once what a job's destinations have not accepted, given up, refused and held objects included."""
    configuration, database = opened(config)
    now = datetime.now(UTC)
    with database.transaction() as session:
        job = queue.get(session, job_id)
        if job is None or job.state not in (JobState.DELIVERING, JobState.FAILED) or not stored.of_job(session, job_id):
            raise StorageError(f"job {job_id} has nothing left to deliver", hint="see `dicom-node deliveries list`")
        if dry_run:
            _say_what_would_go(stored.of_job(session, job_id))
            return
        count = delivery_operations.reopen(session, job_id, now)
        if job.state is JobState.FAILED:
            queue.settle(session, job_id, JobState.DELIVERING, "retried by an operator", now)
        settle(session, job_id, now)
    ring(InstanceFiles(configuration.data_dir).run, "sender")
    typer.echo(f"{_counted(count)} of job {job_id} due now.")


@app.command("hold")
def hold_deliveries(
    job_id: int,
    reason: Annotated[str, typer.Option("--reason", help="Why; shown in lists. No patient data.")],
    destination: Destination = "",
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Keep what a job still owes from being sent, until it is released."""
    _, database = opened(config)
    with database.transaction() as session:
        count = delivery_operations.hold(session, job_id, destination, reason, datetime.now(UTC))
    if not count:
        raise StorageError(f"job {job_id} owes nothing that could be held", hint="what was accepted cannot be called back")
    typer.echo(f"{_counted(count)} of job {job_id} held.")


@app.command("release")
def release_deliveries(job_id: int, destination: Destination = "", config: ConfigPath = DEFAULT_CONFIG, dry_run: DryRun = False) -> None:
    """Send what was held."""
    configuration, database = opened(config)
    with database.transaction() as session:
        if dry_run:
            found = stored.of_job(session, job_id)
            _say_what_would_go([d for d in found if d.state is DeliveryState.HELD and destination in ("", d.destination)])
            return
        count = delivery_operations.release(session, job_id, destination, datetime.now(UTC))
    if not count:
        raise StorageError(f"job {job_id} has nothing that is held", hint="see `dicom-node deliveries list`")
    ring(InstanceFiles(configuration.data_dir).run, "sender")
    typer.echo(f"{_counted(count)} of job {job_id} due now.")


def _lines(found: Delivery, configuration: Configuration) -> Iterator[str]:
    yield f"Delivery {found.id}: {found.state} since {text(found.state_at)}, {_object(found)} of job {found.job_id} to {found.destination}"
    yield f"  object {found.result.sop_instance_uid}, {found.attempt} attempt(s)"
    if found.held_reason:
        yield f"  held: {found.held_reason}"
    if found.status is not None:
        yield f"  status {found.status:04X}{f', comment: {found.comment}' if found.comment else ''}"
    if found.reason:
        yield f"  {found.reason}"
    if found.state is DeliveryState.OWED:
        yield f"  next attempt {text(found.next_attempt_at)}"
    if commitment := _commitment(found, configuration):
        yield f"  commitment: {commitment}"


def _commitment(found: Delivery, configuration: Configuration) -> str:
    if found.committed_at is not None:
        return f"committed {text(found.committed_at)}"
    if found.state is not DeliveryState.SENT or found.commit_policy is CommitPolicy.OFF:
        return ""
    if found.commit_asked_at is None:
        return "not asked for yet"
    overdue = is_overdue(found, datetime.now(UTC), configuration.node.delivery.commit_overdue)
    return f"{'overdue, ' if overdue else ''}asked for {text(found.commit_asked_at)}"


def _object(found: Delivery) -> str:
    how = "covered by" if is_covered_by_another(found) else "went as"
    return f"{found.result.kind} {found.result.number}{f' ({how} {found.went_as})' if found.went_as else ''}"


def _say_what_would_go(found: list[Delivery]) -> None:
    going = [d for d in found if d.state not in (DeliveryState.SENT, DeliveryState.COMMITTED)]
    for d in going:
        typer.echo(f"would send {_object(d)} to {d.destination}, now {d.state}: {d.held_reason or d.reason}")
    typer.echo(f"{_counted(len(going))} would be sent; nothing was changed.")


def _counted(count: int) -> str:
    return f"{count} deliver{'y' if count == 1 else 'ies'}"
