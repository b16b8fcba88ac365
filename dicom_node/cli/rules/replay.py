"""`rules replay`: what other rules would have made of the studies of the past."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath, open_database
from dicom_node.cli.output import print_json, print_table
from dicom_node.cli.rules.versions import in_force
from dicom_node.config import Configuration, load_configuration, load_draft
from dicom_node.config.rules_schema import RulesFile
from dicom_node.pipeline.replay import ChangeKind, Progress, Replayed, ReplayRequest, Tally, run_replay
from dicom_node.storage import rule_versions

Days = Annotated[int, typer.Option("--days", min=1, help="Studies that closed in the last so many days.")]
Draft = Annotated[Path, typer.Option("--rules", help="The draft.")]
Examples = Annotated[int, typer.Option("--examples", min=0, help="Study Instance UIDs for each kind of change, newest first.")]
IgnoreSchedule = Annotated[bool, typer.Option("--ignore-schedule", help="Take every rule as in force all the time.")]
Processes = Annotated[int | None, typer.Option("--processes", min=1, help="How many work; default: one a core.")]


@dataclass(frozen=True, slots=True)
class Window:
    """Which past, and how much of it is shown."""

    days: int
    examples: int = 5
    ignore_schedule: bool = False
    processes: int | None = None


def replay(  # noqa: PLR0913, PLR0917 - an option each
    rules: Draft,
    days: Days = 30,
    config: ConfigPath = DEFAULT_CONFIG,
    examples: Examples = 5,
    ignore_schedule: IgnoreSchedule = False,
    processes: Processes = None,
    as_json: AsJson = False,
) -> None:
    """Decide on the studies of the past by a draft and by the rules in force, and show what would change.

    Reads the index only: nothing is stored, run or sent, and the node is not kept waiting.
    """
    fresh = load_draft(load_configuration(config), rules)
    show(fresh, Window(days, examples, ignore_schedule, processes), as_json=as_json)


def show(fresh: Configuration, window: Window, *, as_json: bool = False) -> None:
    """Replay and print.

    Args:
        fresh: The configuration with the draft as its rules.
        window: Which past.
        as_json: For programs.
    """
    active = in_force(fresh)
    request = ReplayRequest(
        database=fresh.node.database,
        active=active.rules,
        active_digest=_digest(fresh),
        draft=fresh.rules_file,
        since=datetime.now(UTC) - timedelta(days=window.days),
        ignore_schedule=window.ignore_schedule,
        most_examples=window.examples,
    )
    replayed = _with_bar(request, window.processes)
    notes = list(_notes(request, replayed))
    if as_json:
        print_json({"active": active.name, "days": window.days, **_as_json(replayed), "notes": notes})
        return
    _print(active.name, window, replayed.tally)
    for note in notes:
        typer.echo(f"note: {note}")


def _digest(fresh: Configuration) -> str:
    database = open_database(fresh)
    with database.reading() as session:
        version = rule_versions.latest(session)
    database.close()
    return version.digest if version else ""


def _with_bar(request: ReplayRequest, processes: int | None) -> Replayed:
    if not sys.stderr.isatty():
        return run_replay(request, lambda _total: lambda _done: None, processes)
    columns = (TextColumn("deciding"), BarColumn(), MofNCompleteColumn(), TextColumn("studies"), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def begin(total: int) -> Progress:
            bar.update(task, total=total)
            return lambda done: bar.advance(task, done)

        return run_replay(request, begin, processes)


def _print(active: str, window: Window, tally: Tally) -> None:
    typer.echo(
        f"{tally.studies} studies of the last {window.days} days, decided by {active} and by the draft: {tally.changed} would change."
    )
    rules = sorted({*tally.runs_before, *tally.runs_after, *(rule for rule, _ in tally.changes)})
    kinds = [kind for kind in ChangeKind if any(change[1] is kind for change in tally.changes)]
    rows = [(rule, tally.runs_before[rule], tally.runs_after[rule], *(tally.changes[rule, kind] or "" for kind in kinds)) for rule in rules]
    print_table(("rule", "runs now", "would run", *kinds), rows, nothing="No rule takes any of them.")
    for (rule, kind), uids in sorted(tally.examples.items()):
        for uid in uids:
            typer.echo(f"  {rule}, {kind}: {uid}")


def _as_json(replayed: Replayed) -> dict[str, object]:
    tally = replayed.tally
    rules = sorted({*tally.runs_before, *tally.runs_after, *(rule for rule, _ in tally.changes)})
    return {
        "studies": tally.studies,
        "changed": tally.changed,
        "rules": [
            {
                "rule": rule,
                "runs_now": tally.runs_before[rule],
                "would_run": tally.runs_after[rule],
                "changes": {
                    str(kind): {"studies": count, "examples": tally.examples.get((rule, kind), [])}
                    for kind in ChangeKind
                    if (count := tally.changes[rule, kind])
                },
            }
            for rule in rules
        ],
        "decided_by_other_versions": tally.by_other_rules,
        "decided_otherwise_then": {"studies": tally.unlike_then, "examples": tally.unlike_examples},
        "headers_not_kept": replayed.not_kept,
    }


def _notes(request: ReplayRequest, replayed: Replayed) -> Iterator[str]:
    """Say what a replay cannot know, and where it differs from what happened."""
    tally, files = replayed.tally, (request.active, request.draft)
    if tally.by_other_rules:
        yield f"{tally.by_other_rules} of the studies were decided by other versions than the one in force"
    if tally.unlike_then:
        shown = f", for example {tally.unlike_examples[0]}" if tally.unlike_examples else ""
        yield f"on {tally.unlike_then} studies the rules in force, asked today, run otherwise than what was run then{shown}"
    if replayed.not_kept:
        yield f"{replayed.not_kept} studies of that time are left out: their headers were indexed before the index kept what a replay reads"
    yield "waiting is not replayed: every study counts as complete, with all that came up to its last revision"
    if names := _names(files, "prior"):
        yield f"priors are not looked for; these rules count as if theirs were found: {names}"
    if names := _names(files, "after"):
        yield f"rules that follow a result are left out: {names}"
    if not request.ignore_schedule and (names := _names(files, "schedule")):
        yield f"these rules are asked by their schedule at the time of each study (--ignore-schedule asks them always): {names}"


def _names(files: tuple[RulesFile, ...], what: str) -> str:
    found = []
    for rule in (rule for file in files for rule in file.rules):
        scheduled = rule.schedule.active_from is not None or rule.schedule.active_until is not None
        has = {"prior": any(i.prior for i in rule.inputs.values()), "after": rule.after is not None, "schedule": scheduled}
        if has[what]:
            found.append(rule.name)
    return ", ".join(dict.fromkeys(found))
