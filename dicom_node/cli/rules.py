"""`rules test`: run the cases that stand beside the rules."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dicom_node.cli.options import DEFAULT_CONFIG, ConfigPath
from dicom_node.config import load_configuration
from dicom_node.domain.studies import ClosedBecause, Series, Study, StudyInstance
from dicom_node.errors import ConfigError
from dicom_node.routing import decide, render

app = typer.Typer(no_args_is_help=True, help="Routing rules.")


class SeriesCase(BaseModel):
    """One series of a case: how many instances, and their header."""

    model_config = ConfigDict(extra="forbid")
    instances: int = Field(1, ge=1)
    header: dict[str, str | int | float | list[str | int | float]]


class RuleCase(BaseModel):
    """A study and the rules that must run, or the one that must hold it."""

    model_config = ConfigDict(extra="forbid")
    name: str
    senders: list[str] = []
    series: list[SeriesCase] = Field(min_length=1)
    runs: list[str] = []
    held_by: str | None = None


class CasesFile(BaseModel):
    """The whole of rules.test.yaml."""

    model_config = ConfigDict(extra="forbid")
    cases: list[RuleCase]


@app.callback()
def rules() -> None:
    """Group of commands, even while it has one."""


@app.command("test")
def run_cases(
    config: ConfigPath = DEFAULT_CONFIG,
    cases: Annotated[Path | None, typer.Option("--cases", help="Default: rules.test.yaml beside the rules.")] = None,
) -> None:
    """Run every case of rules.test.yaml; exit status 1 with the reasons where a decision differs."""
    configuration = load_configuration(config)
    path = cases or configuration.node.rules.with_suffix(".test.yaml")
    try:
        found = CasesFile.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise ConfigError(f"{path}: {error}") from error
    failed = 0
    for case in found.cases:
        routing = decide(configuration.rules, _study(case))
        runs = sorted(d.rule for d in routing.decisions)
        if runs == sorted(case.runs) and routing.held_by == case.held_by:
            typer.echo(f"ok    {case.name}")
            continue
        failed += 1
        typer.echo(f"WRONG {case.name}: runs {runs}, held by {routing.held_by}; wanted {sorted(case.runs)}, {case.held_by}")
        typer.echo(render(routing))
    typer.echo(f"{len(found.cases) - failed} of {len(found.cases)} cases as wanted.")
    if failed:
        raise typer.Exit(1)


def _study(case: RuleCase) -> Study:
    series = []
    for number, entry in enumerate(case.series, start=1):
        header = {k: tuple(str(v) for v in (w if isinstance(w, list) else [w])) for k, w in entry.header.items()}
        instances = tuple(StudyInstance(f"1.{number}.{i}", "", Path(), header) for i in range(entry.instances))
        series.append(Series(f"1.{number}", instances))
    return Study("1", 1, datetime(2000, 1, 1, tzinfo=UTC), ClosedBecause.QUIET, tuple(case.senders), tuple(series))
