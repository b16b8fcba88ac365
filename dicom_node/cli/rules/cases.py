"""`rules test`: run the cases that stand beside the rules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from dicom_node.cli.output import print_json
from dicom_node.config import load_configuration, load_draft
from dicom_node.config.cases import PlacedCase, load_cases
from dicom_node.routing import render
from dicom_node.routing.cases import Verdict, judge

Draft = Annotated[Path | None, typer.Option("--rules", help="A draft in place of the rules that node.yaml names.")]
Cases = Annotated[Path | None, typer.Option("--cases", help="Default: rules.test.yaml beside the rules.")]
Only = Annotated[str, typer.Option("--only", help="Cases whose name contains this text.")]


def run_cases(
    config: ConfigPath = DEFAULT_CONFIG, cases: Cases = None, rules: Draft = None, only: Only = "", as_json: AsJson = False
) -> None:
    """Run every case of rules.test.yaml; exit status 1 with what differs, and why, where a decision is not as wanted."""
    configuration = load_configuration(config)
    path = cases or configuration.node.rules.with_suffix(".test.yaml")
    if rules is not None:
        configuration = load_draft(configuration, rules)
    chosen = [placed for placed in load_cases(path, configuration.rules) if only.lower() in placed.case.name.lower()]
    verdicts = [(placed, judge(configuration.rules, placed.case)) for placed in chosen]
    failed = sum(bool(verdict.differences) for _, verdict in verdicts)
    if as_json:
        print_json([{"case": p.case.name, "place": p.place, "ok": not v.differences, "differences": v.differences} for p, v in verdicts])
    else:
        for placed, verdict in verdicts:
            _print_verdict(placed, verdict)
        typer.echo(f"{len(verdicts) - failed} of {len(verdicts)} cases as wanted.")
    if failed:
        raise typer.Exit(1)


def _print_verdict(placed: PlacedCase, verdict: Verdict) -> None:
    if not verdict.differences:
        typer.echo(f"ok    {placed.case.name}")
        return
    typer.echo(f"WRONG {placed.case.name} ({placed.place})")
    width = max(len(difference.field) for difference in verdict.differences)
    for difference in verdict.differences:
        typer.echo(f"      {difference.field:<{width}}  wanted {difference.wanted}, got {difference.got}")
    for line in _named(render(verdict.routing), verdict).splitlines():
        typer.echo(f"      | {line}")


def _named(explanation: str, verdict: Verdict) -> str:
    """Say the case's own names of series instead of the UIDs that were made up for it."""
    by_uid = {key.partition("/")[2]: name for key, name in verdict.names.items()}
    return re.sub(r"(?<![\d.])(?:\d+\.)+0(?![\d.])", lambda found: by_uid.get(found[0], found[0]), explanation)
