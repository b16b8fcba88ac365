"""`studies run`: let rules decide on a study now."""

from __future__ import annotations

import difflib
from datetime import UTC, datetime
from typing import Annotated

import typer

from dicom_node.cli.options import DEFAULT_CONFIG, ConfigPath, opened
from dicom_node.config import Configuration
from dicom_node.domain.studies import StudyState
from dicom_node.errors import ConfigError, StudyError
from dicom_node.jobs import queue
from dicom_node.ops.wakeup import ring
from dicom_node.pipeline.by_hand import Preview, preview
from dicom_node.pipeline.closing import available_models
from dicom_node.storage import InstanceFiles, queries, revisions

RuleName = Annotated[str, typer.Option("--rule", help="Only this rule; without it those that wait, or all.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would come of it, and do nothing.")]
EvenHeld = Annotated[bool, typer.Option("--even-held", help="Release a held study: hold rules are left out this once.")]


def run_study(
    study_instance_uid: str, config: ConfigPath = DEFAULT_CONFIG, rule: RuleName = "", dry_run: DryRun = False, even_held: EvenHeld = False
) -> None:
    """Let rules decide on a study now, complete or not, as if what they wait for had come.

    Pending instances become a revision. A rule that has run on a revision never runs on it a second time.
    """
    configuration, database = opened(config)
    _check_rule(configuration, rule)
    now = datetime.now(UTC)
    with database.transaction() as session:
        found = queries.studies(session, 1, study_instance_uid)
        _check_study(found, even_held=even_held)
        seen = preview(session, configuration, available_models(configuration), found[0], now, rule=rule, even_held=even_held)
        states = {job_id: job.state for job_id in seen.jobs.values() if job_id and (job := queue.get(session, job_id))}
        if not dry_run and seen.changes_something:
            revisions.ask_run(session, study_instance_uid, rule, now, even_held=even_held)
    _print(seen, {job_id: str(state) for job_id, state in states.items()}, dry_run=dry_run)
    if dry_run or not seen.changes_something:
        return
    ring(InstanceFiles(configuration.data_dir).run, "pipeline")
    typer.echo("The running node decides now; `dicom-node studies show` says what came of it.")


def _check_rule(configuration: Configuration, name: str) -> None:
    rules = {rule.name: rule for rule in configuration.rules}
    if name and name not in rules:
        near = difflib.get_close_matches(name, rules, n=1)
        raise ConfigError(f"no rule is named {name!r}", hint=f"did you mean {near[0]!r}?" if near else "known: " + ", ".join(rules))
    if name and rules[name].hold:
        raise ConfigError(f"rule {name!r} keeps studies and runs no model")
    if name and rules[name].after is not None:
        raise ConfigError(f"rule {name!r} follows the result of a model", hint="run the rule whose model makes that result")


def _check_study(found: list[queries.StudySummary], *, even_held: bool) -> None:
    if not found:
        raise StudyError("no such study has arrived", hint="see `dicom-node studies list`")
    if found[0].state is StudyState.QUARANTINED:
        raise StudyError(f"the study is quarantined: {found[0].reason}", hint="correct it at its source and send it again")
    if found[0].state is StudyState.HELD and not even_held:
        raise StudyError(f"the study is HELD: {found[0].reason}", hint="add --even-held to release it")


def _print(seen: Preview, states: dict[int, str], *, dry_run: bool) -> None:
    instances = sum(len(series.instances) for series in seen.study.series)
    what = "is closed now" if seen.is_new_revision else "was closed before"
    typer.echo(f"Revision {seen.study.revision} {'would be closed' if dry_run and seen.is_new_revision else what}: {instances} instances")
    for trace in seen.routing.traces:
        if not seen.is_new_revision and trace.rule not in seen.rules and trace.rule != seen.routing.held_by:
            continue
        typer.echo(f"  rule {trace.rule}: {trace.outcome} - {trace.reason}")
        job_id = seen.jobs.get(trace.rule)
        if job_id is not None:
            again = f"`dicom-node jobs retry {job_id}` repeats a failed one"
            typer.echo(f"    has run on this revision as job {job_id} ({states.get(job_id, '')}); it makes no second one. {again}")
    if seen.routing.quarantined_because:
        typer.echo(f"  quarantined: {seen.routing.quarantined_because}")
    if not seen.changes_something:
        typer.echo("Nothing new would come of it.")
