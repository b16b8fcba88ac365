"""`studies list`, `studies show` and `studies run`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import typer

from dicom_node.cli.fetches import wanted
from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath, Limit, opened
from dicom_node.cli.output import print_json, print_table, text
from dicom_node.cli.study_runs import run_study
from dicom_node.domain.studies import StudyState
from dicom_node.errors import StudyError
from dicom_node.jobs import queue
from dicom_node.routing import explain_rule, trace_from_record
from dicom_node.storage import availability, fetches, queries, rule_versions
from dicom_node.storage.availability import AnnouncedInstance

app = typer.Typer(no_args_is_help=True, help="Studies that arrived, and what the rules decided.")
app.command("run")(run_study)


@app.command("list")
def list_studies(config: ConfigPath = DEFAULT_CONFIG, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List studies, newest first."""
    _, database = opened(config)
    with database.transaction() as session:
        found = queries.studies(session, limit)
    if as_json:
        print_json(found)
        return
    columns = ("study", "state", "revision", "series", "instances", "last received", "reason")
    rows = [(s.study_instance_uid, s.state, s.revision, s.series, s.instances, s.last_received_at, _reason(s)) for s in found]
    print_table(columns, rows, nothing="No study has arrived yet.")


@app.command("show")
def show_study(study_instance_uid: str, config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show a study: its history, and for each revision what every rule decided and why."""
    _, database = opened(config)
    with database.transaction() as session:
        found = queries.studies(session, 1, study_instance_uid)
        revisions = queries.revisions(session, study_instance_uid)
        events = queries.study_events(session, study_instance_uid)
        versions = {r.revision: rule_versions.in_force(session, r.rules_digest, r.closed_at) for r in revisions}
        announced = availability.announced_instances(session, study_instance_uid)
        arrived = availability.arrived_instances(session, study_instance_uid)
        fetched = fetches.recent(session, 1000, study_instance_uid)
        jobs = [queue.get(session, job_id) for job_id in queries.job_ids(session, 1000, study_instance_uid=study_instance_uid)]
    if not found:
        hint = f"{len(announced)} instances of it are announced" if announced else "see `dicom-node studies list`"
        raise StudyError("no such study has arrived", hint=hint)
    if as_json:
        print_json(
            {
                "study": found[0],
                "events": events,
                "revisions": revisions,
                "rules_versions": versions,
                "jobs": jobs,
                "announced": announced,
                "fetches": fetched,
            }
        )
        return
    typer.echo(f"Study {study_instance_uid}: {found[0].state}, {found[0].instances} instances in {found[0].series} series")
    if announced:
        typer.echo(f"  {_announcement(announced, arrived)}")
    if found[0].state is not StudyState.RECEIVING:
        typer.echo(f"  {found[0].reason}")
    for waiting in _waiting(found[0]):
        typer.echo(f"  {waiting}")
    for event in events:
        typer.echo(f"  {text(event.at)}  {event.to_state}: {event.reason}")
    for fetch in reversed(fetched):
        typer.echo(f"  asked for {wanted(fetch)} ({fetch.source or 'the node'}): {fetch.state}, {fetch.reason}")
    _print_revisions(revisions, versions)
    for job in jobs:
        if job is not None:
            typer.echo(f"Job {job.id}: {job.state}, {job.model} {job.model_version} {job.reason}")


def _reason(summary: queries.StudySummary) -> str:
    return "; ".join(_waiting(summary)) or summary.reason


def _waiting(summary: queries.StudySummary) -> list[str]:
    """Say per rule what is waited for, and until when."""
    return [
        f"{wait['rule'] or 'no rule so far'} waits: {wait['reason']}, until {text(datetime.fromisoformat(wait['until']))}"
        for wait in summary.waits
    ]


def _print_revisions(revisions: Sequence[queries.RevisionSummary], versions: Mapping[int, int | None]) -> None:
    for revision in revisions:
        version = versions[revision.revision]
        rules = f"rules version {version}" if version else f"rules {revision.rules_digest[:12]}"
        typer.echo(f"Revision {revision.revision}, closed {text(revision.closed_at)} by {revision.closed_because}, {rules}")
        for line in (line for trace in revision.traces for line in explain_rule(trace_from_record(trace))):
            typer.echo(f"  {'' if line.depth else 'rule '}{line}")


def _announcement(announced: Sequence[AnnouncedInstance], arrived: Collection[str]) -> str:
    words = ", ".join(f"{count} {word}" for word, count in sorted(Counter(str(a.availability) for a in announced).items()))
    by = ", ".join(sorted({a.announced_by for a in announced}))
    here = sum(a.sop_instance_uid in arrived for a in announced)
    series = len({a.series_instance_uid for a in announced})
    newest = max(a.announced_at for a in announced)
    return f"announced by {by}, last {text(newest)}: {len(announced)} instances in {series} series ({words}); {here} of them have arrived"
