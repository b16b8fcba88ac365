"""`jobs list`, `show`, `retry`, `cancel`, `prioritize` and `send`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from sqlmodel import Session

from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath, Limit, opened
from dicom_node.cli.output import print_json, print_table, text
from dicom_node.config import Configuration
from dicom_node.domain.destinations import TheSender
from dicom_node.domain.jobs import IMAGE, Job, JobState
from dicom_node.domain.queue_order import Waiting
from dicom_node.domain.rules import Priority
from dicom_node.errors import ResultError, StorageError, StudyError
from dicom_node.jobs import claiming, queue
from dicom_node.ops.wakeup import ring
from dicom_node.pipeline.result_files import found_program_output
from dicom_node.pipeline.results.rebuild import Rebuilder
from dicom_node.pipeline.results.report import read_report
from dicom_node.pipeline.results.report_schema import result_json_schema
from dicom_node.pipeline.results.report_text import report_text
from dicom_node.pipeline.returning import return_address
from dicom_node.pipeline.wanted import wanted_by
from dicom_node.storage import Database, InstanceFiles, deliveries, delivery_operations, queries

app = typer.Typer(no_args_is_help=True, help="Model runs.")
_WAITING = (JobState.QUEUED, JobState.DELIVERING)


@app.command("list")
def list_jobs(config: ConfigPath = DEFAULT_CONFIG, limit: Limit = 50, state: JobState | None = None, as_json: AsJson = False) -> None:
    """List jobs, newest first, and why one waits."""
    configuration, database = opened(config)
    with database.transaction() as session:
        found = [job for job_id in queries.job_ids(session, limit, state) if (job := queue.get(session, job_id))]
        reasons = {job.id: _reason(session, job, configuration) for job in found}
    if as_json:
        print_json([{**dataclasses.asdict(job), "waits": reasons[job.id]} for job in found])
        return
    columns = ("job", "state", "priority", "stage", "model", "attempt", "next attempt", "study", "reason")
    rows = [(j.id, j.state, j.priority, _stage(j), j.model, j.attempt, _next(j), j.key.study_instance_uid, reasons[j.id]) for j in found]
    print_table(columns, rows, nothing="No job yet.")


@app.command("show")
def show_job(job_id: int, config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show a job: why it waits, how far it is, history, timings, what was found, how it was computed, results, deliveries."""
    configuration, database = opened(config)
    job = _get(database, job_id)
    with database.transaction() as session:
        events = queries.job_events(session, job_id)
        timings = queries.job_timings(session, job_id)
        findings = queries.job_findings(session, job_id)
        trace = queries.job_trace(session, job_id)
        results = deliveries.results_of(session, job_id)
        owed = deliveries.of_job(session, job_id)
        reason = _reason(session, job, configuration)
    output = found_program_output(InstanceFiles(configuration.data_dir), job_id)
    if as_json:
        parts = {"events": events, "timings": timings, "findings": findings, "trace": trace, "results": results, "deliveries": owed}
        print_json({"job": job, "waits": reason, "program_output": output, **parts})
        return
    kinds = [word for word, holds in (("shadow", job.shadow), ("replaces earlier results", job.replaces)) if holds]
    model = f"{job.model} {job.model_version}".rstrip()
    about = f"{model}, rule {job.key.rule}, {', '.join([job.priority, *kinds])}, study {job.key.study_instance_uid}"
    typer.echo(f"Job {job.id}: {job.state}, {about}, revision {job.key.revision}")
    if job.state in _WAITING and reason:
        typer.echo(f"  next attempt {text(job.next_attempt_at)}: {reason}")
    if job.stage:
        typer.echo(f"  now: {_stage(job)}, by {job.lease_owner}")
    for event in events:
        typer.echo(f"  {text(event.at)}  {event.to_state}: {event.reason}")
    for name, seconds in timings.items():
        typer.echo(f"  {name.removesuffix('_s')}: {seconds:.2f} s")
    for line in (*_found(findings), *_computed(trace)):
        typer.echo(f"  {line}")
    if not owed:
        for result in results:
            typer.echo(f"  kept, not sent: {result.path}" + ("" if result.path.exists() else " (removed)"))
    if output is not None:
        typer.echo(f"  what the model's program wrote: {output}")
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
            delivery_operations.reopen(session, job_id, now)
        queue.settle(session, job_id, JobState.DELIVERING if again else JobState.QUEUED, "retried by an operator", now)
    ring(InstanceFiles(configuration.data_dir).run, "sender" if again else "worker")
    typer.echo(f"Job {job_id} is {'DELIVERING' if again else 'QUEUED'} again.")


@app.command("cancel")
def cancel_job(job_id: int, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Cancel a job that waits or runs; the model of a running one is stopped."""
    configuration, database = opened(config)
    _get(database, job_id)
    with database.transaction() as session:
        job = queue.get(session, job_id)
        if job is None or job.state not in (JobState.QUEUED, JobState.RUNNING):
            raise StorageError(f"job {job_id} is {job.state if job else 'gone'}: only a QUEUED or RUNNING job can be cancelled")
        queue.settle(session, job_id, JobState.CANCELLED, "cancelled by an operator", datetime.now(UTC))
    ring(InstanceFiles(configuration.data_dir).run, "worker")
    typer.echo(f"Job {job_id} is CANCELLED.")


@app.command("prioritize")
def prioritize_job(job_id: int, priority: Priority, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Give a job that waits another priority: stat, normal or off-peak."""
    configuration, database = opened(config)
    _get(database, job_id)
    with database.transaction() as session:
        job = queue.get(session, job_id)
        if not queue.prioritize(session, job_id, priority, datetime.now(UTC)):
            raise StorageError(f"job {job_id} is {job.state if job else 'gone'}: only a QUEUED job waits for its turn")
    ring(InstanceFiles(configuration.data_dir).run, "worker")
    typer.echo(f"Job {job_id} is {priority} now.")


@app.command("send")
def send_results(job_id: int, destination: str, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Send the results of a job that is done to a destination of node.yaml, in its own form; those of a shadow run as well."""
    configuration, database = opened(config)
    job = _get(database, job_id)
    wanted = wanted_by(configuration, destination)
    if wanted is None:
        raise StorageError(f"no destination is named {destination!r}", hint=f"known: {', '.join(configuration.destinations) or 'none'}")
    files = InstanceFiles(configuration.data_dir)
    with database.reading() as session:
        has_results = _check_there(session, job)
    profile = configuration.profile_of(destination)
    if profile is None and job.key.forwards:
        raise StorageError(f"{destination} takes messages, and job {job_id} has images only", hint="name a destination of another type")
    if has_results and profile is not None and not job.key.forwards:
        try:
            Rebuilder(configuration.ae_title, database, files).rebuild(job, profile)
        except (ResultError, StudyError) as error:
            typer.echo(f"Its own form cannot be built ({error}); what another profile wanted goes instead.", err=True)
    now = datetime.now(UTC)
    with database.transaction() as session:
        _check_there(session, job)
        if isinstance(configuration.destinations[destination], TheSender):
            destination = return_address(session, configuration, job, destination)
        if job.key.forwards:
            wanted = {IMAGE: ""}
        count = deliveries.owe_further(session, job_id, destination, wanted, now)
        if not count:
            hint = "a message is built when the job runs, for destinations that a rule names in send_to"
            raise StorageError(f"job {job_id} has no result that {destination} was not sent or owed already", hint=hint)
        if job.state is not JobState.DELIVERING:
            queue.settle(session, job_id, JobState.DELIVERING, f"an operator sends the results to {destination}", now)
    ring(files.run, "sender")
    typer.echo(f"{count} object{'' if count == 1 else 's'} of job {job_id} due to {destination} now.")


@app.command("result")
def show_result(
    job_id: Annotated[int | None, typer.Argument(metavar="JOB")] = None,
    config: ConfigPath = DEFAULT_CONFIG,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of result.json instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what a job found, as result.json beside its result objects says it."""
    if schema:
        print_json(result_json_schema())
        return
    if job_id is None:
        raise StorageError("which job?", hint="dicom-node jobs result JOB; see `dicom-node jobs list`")
    configuration, database = opened(config)
    _get(database, job_id)
    report = read_report(InstanceFiles(configuration.data_dir).results_of(job_id))
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
        return
    for line in report_text(report):
        typer.echo(line)


def _check_there(session: Session, job: Job) -> bool:
    """Say whether a job has results; those that were removed cannot be sent."""
    results = deliveries.results_of(session, job.id)
    if results and not any(r.path.exists() for r in results):
        raise StorageError(f"the results of job {job.id} are no longer on disk", hint="results.keep removed them; run the study again")
    return bool(results)


def _get(database: Database, job_id: int) -> Job:
    with database.transaction() as session:
        job = queue.get(session, job_id)
    if job is None:
        raise StorageError(f"there is no job {job_id}", hint="see `dicom-node jobs list`")
    return job


def _stage(job: Job) -> str:
    if job.state is JobState.QUEUED and job.ahead_by:
        return f"read ahead by {job.ahead_by}"
    share = "" if job.progress is None else f" {job.progress:.0%}"
    return f"{job.stage}{share}" if job.stage else ""


def _next(job: Job) -> datetime | None:
    return job.next_attempt_at if job.state in _WAITING and job.reason else None


def _reason(session: Session, job: Job, configuration: Configuration) -> str:
    """Say why a job waits: what kept its last attempt, the earlier run whose results it replaces, or its priority."""
    if job.state is not JobState.QUEUED:
        return job.reason
    earlier = claiming.blocked_by(session, job.id)
    if earlier is not None:
        return f"waits for job {earlier.id} on revision {earlier.revision}, whose results it replaces"
    waiting = Waiting(job.id, job.priority, job.next_attempt_at)
    order = configuration.workers.to_queue_order().why_waiting(waiting, datetime.now(UTC))
    return f"{order}; {job.reason}" if job.reason else order


def _found(findings: Mapping[str, Any]) -> Iterator[str]:
    for label, finding in findings.get("findings", {}).items():
        yield f"found: {label}" if finding["present"] else f"not found: {label}"
    for name, measurement in findings.get("measurements", {}).items():
        yield f"measured: {name} {measurement['value']:.6g} {measurement['unit']}"


def _computed(trace: Mapping[str, Any] | None) -> Iterator[str]:
    """Say how a result was computed."""
    if trace is None:
        return
    yield f"engine: {trace['backend']} {trace['precision']} on {trace['device']}" + (f"; {trace['fallback']}" if trace["fallback"] else "")
    if trace["verified"]:
        yield f"let serve by gate record {trace['verified'][:12]}"
    yield "computed by " + ", ".join(f"{name} {number}" for name, number in trace["versions"].items())
    for one in trace["inputs"]:
        yield f"input {one['name']}: {len(one['instances'])} instances of series {one['series_instance_uid']}"
    for step in trace["steps"]:
        yield f"step {step['name']}: {step['seconds']:.2f} s" + (f" ({', '.join(step['parameters'])})" if step["parameters"] else "")
