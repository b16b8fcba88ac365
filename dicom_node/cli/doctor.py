"""`doctor`: is everything there that the node needs?"""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import typer

from dicom_node.app import close_ports, open_ports
from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from dicom_node.cli.output import print_json
from dicom_node.config import Configuration, load_configuration
from dicom_node.config.tls_files import CertificateInUse, certificates_in_use
from dicom_node.delivery.channel import channel_to
from dicom_node.delivery.notices import email
from dicom_node.domain.commitments import CommitmentState
from dicom_node.domain.destinations import Destination, TheSender
from dicom_node.errors import ConfigError, DicomNodeError, ModelError, StorageError
from dicom_node.inference import find_bundles, open_model
from dicom_node.ops.expiry import STEPS_DAYS, URGENT_DAYS
from dicom_node.pipeline.committing import is_overdue as commit_is_overdue
from dicom_node.pipeline.reporter import is_overdue
from dicom_node.pipeline.running_node import LOCK
from dicom_node.pipeline.settling import is_made_good
from dicom_node.pipeline.sources import opened
from dicom_node.scp.accelerator import accelerator
from dicom_node.storage import Database, InstanceFiles, commitments, deliveries, delivery_commitments, notices
from dicom_node.storage.circuits import read_circuits

_GIVEN_UP_SHOWN_FOR = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; `hint` says what to do about a fault, or what would be better.

    Attributes:
        days_left: Of a certificate, whole days until it expires.
    """

    check: str
    ok: bool
    message: str
    hint: str = ""
    days_left: int | None = None


def doctor(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Check port, disk, database, models, receive path, certificates, destinations, query sources, mail. Exit status 1 on a fault."""
    findings = examine(load_configuration(config))
    if as_json:
        print_json(findings)
    else:
        for finding in findings:
            typer.echo(f"{'ok   ' if finding.ok else 'FAULT'} {finding.check}: {finding.message}")
            if finding.hint:
                typer.echo(f"      {finding.hint}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def examine(configuration: Configuration) -> list[Finding]:
    """Run every check; none stops the others."""
    checks: list[tuple[str, Callable[[Configuration], str]]] = [
        ("port", _port),
        ("disk", _disk),
        ("database", _database),
        ("commitments", _commitments),
        ("deliveries", _deliveries),
        ("models", _models),
        ("notices", _notices),
    ]
    findings = [_run(name, configuration, check) for name, check in checks]
    found = accelerator()
    findings.append(Finding("receive path", True, f"accelerator {found.words}", found.hint))
    now = datetime.now(UTC)
    findings += [_certificate(certificate, now) for certificate in certificates_in_use(configuration.node)]
    for destination in configuration.destinations.values():
        if isinstance(destination, TheSender):
            continue  # each peer that it may be is asked by itself

        def answer(c: Configuration, destination: Destination = destination) -> str:
            return channel_to(c.ae_title, destination).probe()

        findings.append(_run(f"destination {destination.name}", configuration, answer))
    for name in configuration.query_sources:
        findings.append(_run(f"query source {name}", configuration, lambda c, name=name: opened(c, name).check()))  # type: ignore[misc]
    if (smtp := configuration.smtp) is not None:
        findings.append(_run("mail server", configuration, lambda _: email.check(smtp)))
    return findings


def _run(name: str, configuration: Configuration, check: Callable[[Configuration], str]) -> Finding:
    try:
        return Finding(name, True, check(configuration))
    except DicomNodeError as error:
        return Finding(name, False, str(error), error.hint)


def _certificate(certificate: CertificateInUse, now: datetime) -> Finding:
    days_left = certificate.days_left(now)
    urgent = days_left < URGENT_DAYS
    hint = "replace the file (docs/tls.md); it is taken over without a restart" if days_left <= STEPS_DAYS[0] else ""
    return Finding(f"certificate {certificate.option}", not urgent, expiry_text(certificate, now), hint, days_left)


def expiry_text(certificate: CertificateInUse, now: datetime) -> str:
    """Say whose certificate it is and how long it lasts."""
    moment = f"{certificate.expires_at:%Y-%m-%d %H:%M} UTC"
    if certificate.expires_at <= now:
        return f"{certificate.subject} has expired, at {moment}: handshakes that need it fail"
    return f"{certificate.subject} expires in {certificate.days_left(now)} day(s), at {moment}"


def _port(configuration: Configuration) -> str:
    port = configuration.node.dicom.port
    if _is_running(configuration):
        return f"{port} is served by the running node"
    close_ports(open_ports(configuration))
    return f"{port} is free"


def _deliveries(configuration: Configuration) -> str:
    now = datetime.now(UTC)
    database = Database(configuration.node.database)
    try:
        with database.transaction() as session:
            waiting = delivery_commitments.unreported(session)
            given_up = delivery_commitments.given_up(session, now - _GIVEN_UP_SHOWN_FOR)
            failed = [d for d in given_up if not is_made_good(d, deliveries.of_job(session, d.job_id))]
    finally:
        database.close()
    overdue_after = configuration.node.delivery.commit_overdue
    circuits = read_circuits(InstanceFiles(configuration.data_dir).run)
    faults = [f"{name}: left alone after {c.failures} failures in a row: {c.reason}" for name, c in circuits.items()]
    if overdue := [d for d in waiting if commit_is_overdue(d, now, overdue_after)]:
        names = ", ".join(sorted({d.destination for d in overdue}))
        faults.append(f"{len(overdue)} object(s) whose commitment is overdue at {names}")
    if failed:
        faults.append(f"{len(failed)} delivery(ies) refused or given up")
    if faults:
        raise StorageError("; ".join(faults), hint="see `dicom-node deliveries list`; `deliveries retry JOB` sends again")
    return f"none refused or given up, {len(waiting)} waiting for commitment"


def _notices(configuration: Configuration) -> str:
    receivers = len(configuration.receivers)
    database = Database(configuration.node.database)
    found, newest = database.schema_version()
    if found != newest:
        return f"{receivers} receiver(s), nobody told yet"
    now = datetime.now(UTC)
    with database.reading() as session:
        dead, next_due = notices.dead(session, now - _GIVEN_UP_SHOWN_FOR), notices.next_due(session)
    database.close()
    if dead:
        raise StorageError(f"{dead} notice(s) given up", hint="see `dicom-node notices list --state DEAD`; `notices retry` sends again")
    return f"{receivers} receiver(s), none given up" + (", some waiting" if next_due else "")


def _is_running(configuration: Configuration) -> bool:
    path = InstanceFiles(configuration.data_dir).run / LOCK
    if not path.exists():
        return False
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _disk(configuration: Configuration) -> str:
    files = InstanceFiles(configuration.data_dir)
    files.prepare()
    free, least = files.free_bytes(), configuration.node.dicom.min_free
    if free < least:
        raise StorageError(
            f"{free >> 20} MiB free in {files.data_dir}, below min_free ({least >> 20} MiB)",
            hint="instances are refused with A700: free some space",
        )
    aside = f", {len(files.aside())} set aside in {files.unreadable}" if files.aside() else ""
    return f"{free >> 20} MiB free, {len(files.pending())} instance(s) waiting to be indexed{aside}"


def _database(configuration: Configuration) -> str:
    found, newest = Database(configuration.node.database).schema_version()
    if found is None:
        return "no tables yet; the first start creates them"
    if found != newest:
        raise StorageError(f"schema is {found}, this program needs {newest}", hint="start the node: it migrates the database")
    return f"schema {found}"


def _commitments(configuration: Configuration) -> str:
    database = Database(configuration.node.database)
    if database.schema_version()[0] is None:
        return "none asked for yet"
    now = datetime.now(UTC)
    with database.transaction() as session:
        owed = [*commitments.in_state(session, CommitmentState.REQUESTED), *commitments.in_state(session, CommitmentState.VERIFIED)]
        given_up = commitments.in_state(session, CommitmentState.UNREPORTABLE)
    late = [c for c in owed if is_overdue(c, now)]
    lost = [c for c in given_up if now - c.requested_at < _GIVEN_UP_SHOWN_FOR]
    if late or lost:
        peers = ", ".join(sorted({c.peer.calling_ae_title for c in (*late, *lost)}))
        raise StorageError(
            f"{len(late)} result(s) overdue, {len(lost)} given up; asked for by {peers}",
            hint="`dicom-node commitments list` says why; commitment.report_to names where results go; then `commitments retry`",
        )
    return f"{len(owed)} result(s) owed, none overdue"


def _models(configuration: Configuration) -> str:
    bundles = find_bundles(configuration.node.models_dir, configuration.bundles_dir)
    for bundle in bundles.values():
        open_model(bundle, threads=1).close()
    wanted = {rule.model for rule in configuration.rules if rule.model}
    if wanted - bundles.keys():
        raise ModelError(f"rules name models that are not there: {', '.join(sorted(wanted - bundles.keys()))}")
    if not wanted:
        raise ConfigError("no rule names a model", hint="add a rule to rules.yaml")
    return f"{', '.join(sorted(bundles))} load"
