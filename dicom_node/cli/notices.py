"""`notices list`, `show`, `retry`, `test` and `preview`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated
from uuid import uuid4

import typer

from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath, Limit, opened
from dicom_node.cli.output import print_json, print_table, text
from dicom_node.config import Configuration, load_configuration
from dicom_node.config.faults import known
from dicom_node.delivery.notices.message import Message
from dicom_node.delivery.notices.samples import sample
from dicom_node.delivery.notices.webhook import body_of
from dicom_node.delivery.notices.wording import Templates
from dicom_node.delivery.outcomes import Verdict
from dicom_node.domain.notices import Mailbox, Notice, NoticeEvent, NoticeState, Receiver
from dicom_node.errors import ConfigError, DeliveryError
from dicom_node.ops.wakeup import ring
from dicom_node.pipeline.notifying.telling import Telling, surroundings_of
from dicom_node.storage import Database, InstanceFiles
from dicom_node.storage import notices as stored

app = typer.Typer(no_args_is_help=True, help="What people and programs are told.")


@app.command("list")
def list_notices(
    config: ConfigPath = DEFAULT_CONFIG,
    limit: Limit = 50,
    state: Annotated[NoticeState | None, typer.Option("--state", help="Only those in this state.")] = None,
    as_json: AsJson = False,
) -> None:
    """List notices, newest first."""
    _, database = opened(config)
    with database.reading() as session:
        found = stored.recent(session, limit, state)
    if as_json:
        print_json(found)
        return
    columns = ("notice", "receiver", "event", "job", "state", "attempts", "made", "sent", "next attempt", "reason")
    rows = [
        (n.id, n.receiver, n.event, n.job_id, n.state, n.attempt, n.created_at, n.sent_at, _next(n), " ".join(n.reason.split()))
        for n in found
    ]
    print_table(columns, rows, nothing="Nobody was to be told anything yet.")


@app.command("show")
def show_notice(notice_id: int, config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show a notice: what it says, its attempts, and who was refused."""
    _, database = opened(config)
    with database.reading() as session:
        found, attempts = stored.get(session, notice_id), stored.attempts(session, notice_id)
    if found is None:
        raise DeliveryError(f"there is no notice {notice_id}", hint="see `dicom-node notices list`")
    if as_json:
        print_json({"notice": found, "attempts": attempts})
        return
    typer.echo(f"Notice {found.id} ({found.uuid}): {found.state}, {found.event} to {found.receiver}, made {text(found.created_at)}")
    if found.state is NoticeState.OWED:
        typer.echo(f"  next attempt {text(found.next_attempt_at)}" + (f": {found.reason}" if found.reason else ""))
    for attempt in attempts:
        typer.echo(f"  {text(attempt.at)}  {attempt.to_state}" + (f": {attempt.reason}" if attempt.reason else ""))
    for address in found.taken:
        typer.echo(f"  taken: {address}")
    for address, words in found.refused.items():
        typer.echo(f"  refused: {address}: {words}")
    typer.echo(json.dumps(found.facts, indent=2, ensure_ascii=False))


@app.command("retry")
def retry_notice(notice_id: int, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Send a notice again that was given up or waits, to those who have not taken it."""
    configuration, database = opened(config)
    with database.transaction() as session:
        notice = stored.retry(session, notice_id, datetime.now(UTC))
    ring(InstanceFiles(configuration.data_dir).run, "sender")
    typer.echo(f"Notice {notice_id} to {notice.receiver} is due now.")


@app.command("test")
def send_sample(
    receiver: str,
    event: Annotated[NoticeEvent, typer.Option("--event", help="What the sample is about.")] = NoticeEvent.TEST,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be sent, and send nothing.")] = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Send a made-up notice to a receiver and say what came of it. Exit status 1 if it was not taken."""
    configuration = load_configuration(config)
    found = _receiver(configuration, receiver)
    message = _sample(configuration, found, event)
    if dry_run:
        for line in _written(configuration, found, message):
            typer.echo(line)
        return
    database = Database(configuration.node.database)  # which a sample does not need: nothing is recorded
    telling = Telling(configuration, database, Templates(configuration.node.notifications.templates))
    told = telling.send(found, message, datetime.now(UTC))
    for address in told.taken:
        typer.echo(f"taken: {address}")
    for address, words in told.refused.items():
        typer.echo(f"refused: {address}: {words}")
    if told.verdict is not Verdict.STORED or told.refused:
        raise DeliveryError(f"{receiver}: {told.reason}", hint="docs/notifications.md says what the answers mean")
    typer.echo(f"{receiver} took the sample.")


@app.command("preview")
def preview(
    event: NoticeEvent,
    receiver: Annotated[str, typer.Option("--receiver", help="For whom it is written.")],
    html: Annotated[bool, typer.Option("--html", help="Print the HTML part of the e-mail.")] = False,
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Print what a receiver would get, with made-up values."""
    configuration = load_configuration(config)
    found = _receiver(configuration, receiver)
    message = _sample(configuration, found, event)
    if html and isinstance(found.way, Mailbox):
        typer.echo(Templates(configuration.node.notifications.templates).write(message).html)
        return
    for line in _written(configuration, found, message):
        typer.echo(line)


def _receiver(configuration: Configuration, name: str) -> Receiver:
    found = configuration.receivers.get(name)
    if found is None:
        raise ConfigError(f"no receiver is named {name!r}", hint=known(name, list(configuration.receivers)))
    return found


def _sample(configuration: Configuration, receiver: Receiver, event: NoticeEvent) -> Message:
    message = sample(event, receiver.language, surroundings_of(configuration), identified=receiver.include_identifiers)
    return replace(message, uuid=str(uuid4()), at=datetime.now(UTC))


def _written(configuration: Configuration, receiver: Receiver, message: Message) -> Iterator[str]:
    if not isinstance(receiver.way, Mailbox):
        yield json.dumps(body_of(message), indent=2, ensure_ascii=False)
        return
    mail = Templates(configuration.node.notifications.templates).write(message)
    yield f"From: {configuration.smtp.sender if configuration.smtp else ''}"
    yield f"To: {', '.join(receiver.way.addresses)}"
    yield f"Subject: {mail.subject}"
    yield ""
    yield mail.text


def _next(notice: Notice) -> datetime | None:
    return notice.next_attempt_at if notice.state is NoticeState.OWED else None
