"""`models build` and `models engines`: which engines may serve a model, which one does, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer

from dicom_node.cli.model_verification import ModelName, Wanted, opened_model, verify_engines
from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from dicom_node.cli.output import print_json, print_table
from dicom_node.errors import DicomNodeError
from dicom_node.inference import ModelBundle
from dicom_node.inference.gate.choice import Choice, Standing
from dicom_node.inference.gate.summary import figures, finite
from dicom_node.pipeline.model_engines import NodeEngines, chosen, engine_standings

Backend = Annotated[str, typer.Option("--backend", help="Only this back end, for example tensorrt.")]
PrecisionName = Annotated[str, typer.Option("--precision", help="Only this precision, for example fp16.")]

_COLUMNS = ("engine", "device", "state", "serves", "cases", "max error", "argmax", "Dice", "measurements", "verified", "why")


@dataclass(frozen=True, slots=True)
class _Report:
    """What is known of a model's engines.

    Attributes:
        choice: None if nothing may serve; `refusal` says why.
    """

    bundle: ModelBundle
    standings: tuple[Standing, ...]
    choice: Choice | None
    refusal: str


def build(
    name: ModelName, backend: Backend = "", precision: PrecisionName = "", config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False
) -> None:
    """Build and verify the engines of a model anew, and say which one serves; exit status 1 if one failed."""
    bundle, node = opened_model(config, name)
    passed, _ = verify_engines(bundle, node, Wanted(backend, precision, again=True), quiet=as_json)
    _show(_report(bundle, node), as_json)
    if not passed:
        raise typer.Exit(1)


def engines(name: ModelName, config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show which engines may serve a model, which one does, and why; exit status 1 if none may."""
    report = _report(*opened_model(config, name))
    _show(report, as_json)
    if report.choice is None:
        raise typer.Exit(1)


def _report(bundle: ModelBundle, node: NodeEngines) -> _Report:
    found = engine_standings(bundle, node)
    try:
        return _Report(bundle, found, chosen(bundle, node, datetime.now(UTC)), "")
    except DicomNodeError as error:
        return _Report(bundle, found, None, f"{error}. {error.hint}".strip())


def _show(report: _Report, as_json: bool) -> None:
    if as_json:
        print_json(_as_json(report))
        return
    print_table(_COLUMNS, (_row(s, report.choice) for s in report.standings), nothing="The model names no engine.")
    if report.choice is None:
        typer.echo(f"Nothing serves: {report.refusal}")
        return
    title = f"{report.bundle.manifest.name} {report.bundle.manifest.version}"
    typer.echo(f"{title} runs on {report.choice.backend} {report.choice.precision}, device {report.choice.device}.")
    if report.choice.fallback:
        typer.echo(f"Fallback: {report.choice.fallback}.")
    if report.choice.generated:
        typer.echo("Generated parity check only: the model brings no verification cases.")


def _row(standing: Standing, choice: Choice | None) -> Sequence[object]:
    record = standing.record
    worst = figures(record) if record else None
    return (
        standing.candidate.engine,
        standing.candidate.device,
        standing.state,
        "yes" if _serves(standing, choice) else "",
        _cases(standing),
        *(_figure(value) for value in ((worst.max_error, worst.argmax, worst.dice, worst.measurements) if worst else (None,) * 4)),
        record.when if record else None,
        standing.reason,
    )


def _serves(standing: Standing, choice: Choice | None) -> bool:
    candidate = standing.candidate
    place = (candidate.engine.backend, candidate.engine.precision, candidate.device)
    return choice is not None and standing.may_serve and place == (choice.backend, choice.precision, choice.device)


def _cases(standing: Standing) -> str:
    record = standing.record
    if record is None:
        return ""
    return f"{len(record.cases)} generated" if record.generated else str(len(record.cases))


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


def _as_json(report: _Report) -> Mapping[str, object]:
    manifest = report.bundle.manifest
    return {
        "model": manifest.name,
        "version": manifest.version,
        "digest": report.bundle.digest,
        "serves": report.choice,
        "refused": report.refusal,
        "engines": [_standing_as_json(s, report.choice) for s in report.standings],
    }


def _standing_as_json(standing: Standing, choice: Choice | None) -> Mapping[str, object]:
    record = standing.record
    return {
        "backend": standing.candidate.engine.backend,
        "precision": standing.candidate.engine.precision,
        "device": standing.candidate.device,
        "state": standing.state,
        "serves": _serves(standing, choice),
        "reason": standing.reason,
        "record": record.digest if record else None,
        "generated": record.generated if record else None,
        "when": record.when if record else None,
        "seconds": record.seconds if record else None,
        "figures": finite(figures(record)) if record else None,
        "failed": record.failed if record else (),
        "cases": [{"name": c.name, "kind": c.kind, "failed": c.failed, "seconds": c.seconds} for c in record.cases] if record else (),
    }
