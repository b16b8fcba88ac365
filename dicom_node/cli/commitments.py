"""`commitments list`, `commitments show` and `commitments retry`."""

from __future__ import annotations

from datetime import UTC, datetime

import typer

from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath, Limit, opened
from dicom_node.cli.output import print_json, print_table, text
from dicom_node.domain.commitments import CommitmentState
from dicom_node.errors import StorageError
from dicom_node.ops.wakeup import ring
from dicom_node.pipeline.reporter import is_overdue
from dicom_node.storage import InstanceFiles
from dicom_node.storage import commitments as stored

app = typer.Typer(no_args_is_help=True, help="What peers asked the node to keep, and what they were told.")


@app.command("list")
def list_commitments(config: ConfigPath = DEFAULT_CONFIG, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List storage commitments, newest first."""
    _, database = opened(config)
    with database.transaction() as session:
        found = stored.recent(session, limit)
    if as_json:
        print_json(found)
        return
    now = datetime.now(UTC)
    columns = ("transaction", "peer", "state", "instances", "failed", "requested", "reported", "attempts", "reason")
    rows = [
        (
            c.transaction_uid,
            c.peer.calling_ae_title,
            f"{c.state}{', overdue' if is_overdue(c, now) else ''}",
            c.wanted,
            c.failed,
            c.requested_at,
            c.reported_at,
            c.attempt,
            c.reason,
        )
        for c in found
    ]
    print_table(columns, rows, nothing="No peer has asked for storage commitment yet.")


@app.command("show")
def show_commitment(transaction_uid: str, config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show a storage commitment: its history, and every instance that is not committed."""
    _, database = opened(config)
    with database.transaction() as session:
        found = stored.get(session, transaction_uid)
        events = stored.events(session, transaction_uid)
        result = stored.result(session, transaction_uid)
    if found is None:
        raise StorageError("no such transaction", hint="see `dicom-node commitments list`")
    failed = [{"instance": reference, "failure_reason": f"{reason:04X}"} for reference, reason in result.failed]
    if as_json:
        print_json({"commitment": found, "events": events, "failed": failed})
        return
    overdue = ", overdue" if is_overdue(found, datetime.now(UTC)) else ""
    typer.echo(f"Commitment {transaction_uid}: {found.state}{overdue}, {found.wanted} instances, {found.failed} failed")
    typer.echo(f"  asked by {found.peer.calling_ae_title} at {found.peer.address}, calling {found.peer.called_ae_title}")
    for event in events:
        typer.echo(f"  {text(event.at)}  {event.to_state}: {event.reason}")
    if found.state is CommitmentState.VERIFIED:
        typer.echo(f"  next report at {text(found.next_attempt_at)} if no association is open")
    for reference, reason in result.failed:
        typer.echo(f"  {reason:04X} {reason.name.lower().replace('_', ' ')}: {reference.sop_instance_uid}")


@app.command("retry")
def retry_report(transaction_uid: str, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Report a result at once, one that was given up included."""
    configuration, database = opened(config)
    with database.transaction() as session:
        reopened = stored.reopen(session, transaction_uid, datetime.now(UTC))
    if not reopened:
        raise StorageError(f"{transaction_uid} has nothing to report", hint="see `dicom-node commitments list`")
    ring(InstanceFiles(configuration.data_dir).run, "sender")
    typer.echo(f"Report of {transaction_uid} due now.")
