"""`models build`, `models engines`, and the running part of `models verify`: what an engine may do, and why."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from dicom_node.cli.output import print_json, print_table
from dicom_node.config import Configuration, load_configuration
from dicom_node.errors import ConfigError, DicomNodeError, EngineUnavailableError, ModelError
from dicom_node.inference import ModelBundle, find_bundles
from dicom_node.inference.gate.choice import Choice, Standing
from dicom_node.inference.gate.summary import figures
from dicom_node.pipeline.model_engines import NodeEngines, chosen, engine_standings, verify_engine

ModelName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the model, as `models list` shows it.")]
Backend = Annotated[str, typer.Option("--backend", help="Only this back end, for example tensorrt.")]
PrecisionName = Annotated[str, typer.Option("--precision", help="Only this precision, for example fp16.")]

_COLUMNS = ("engine", "device", "state", "serves", "cases", "max error", "argmax", "Dice", "measurements", "verified", "why")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which engines are verified.

    Attributes:
        backend: Only this one, which then has to be here; empty: all.
        precision: Only this one; empty: all.
        again: Also those that have a record.
    """

    backend: str = ""
    precision: str = ""
    again: bool = False


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
    bundle, node = _opened(config, name)
    passed = verify_engines(bundle, node, Wanted(backend, precision, again=True), quiet=as_json)
    _show(_report(bundle, node), as_json)
    if not passed:
        raise typer.Exit(1)


def engines(name: ModelName, config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show which engines may serve a model, which one does, and why; exit status 1 if none may."""
    report = _report(*_opened(config, name))
    _show(report, as_json)
    if report.choice is None:
        raise typer.Exit(1)


def verify_engines(bundle: ModelBundle, node: NodeEngines, wanted: Wanted, *, quiet: bool = False) -> bool:
    """Verify the engines of a model that are here, with a progress bar.

    Args:
        bundle: The model.
        node: How this node runs engines.
        wanted: Which engines.
        quiet: Show no progress.

    Returns:
        Whether all of them agree with the reference, or with the expectations if they are the reference.

    Raises:
        ModelError: the model names no such engine, or its reference fails.
    """
    named = [s.candidate.engine for s in engine_standings(bundle, node)]
    engines = [e for e in named if wanted.backend in ("", e.backend) and wanted.precision in ("", e.precision)]
    if not engines:
        raise ModelError(
            f"{bundle.manifest.name} names no engine {wanted.backend} {wanted.precision}; it names {', '.join(map(str, named))}",
            hint="engines.backends and engines.precisions of model.yaml say where a model may run.",
        )
    good = True
    with _progress(node, quiet=quiet) as shown:
        for engine in engines:
            try:
                record = verify_engine(bundle, engine.backend, engine.precision, shown, again=wanted.again)
            except EngineUnavailableError as error:
                good = good and not wanted.backend
                if not quiet:
                    typer.echo(f"{engine}: {error}", err=True)
                continue
            good = good and not record.failed
    return good


@contextmanager
def _progress(node: NodeEngines, *, quiet: bool) -> Iterator[NodeEngines]:
    if quiet:
        yield node
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=1.0)

        def show(words: str, share: float) -> None:
            bar.update(task, description=words, completed=share)

        yield replace(node, on_build=lambda p: show(p.phase, p.fraction), on_verify=show)


def _opened(config: ConfigPath, name: str) -> tuple[ModelBundle, NodeEngines]:
    configuration: Configuration = load_configuration(config)
    bundles = find_bundles(configuration.node.models_dir)
    if name not in bundles:
        raise ConfigError(f"models_dir holds no model {name}; it holds {', '.join(bundles) or 'none'}")
    return bundles[name], NodeEngines(configuration.node.data_dir, configuration.workers.threads)


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
        "figures": _finite(asdict(figures(record))) if record else None,
        "failed": record.failed if record else (),
        "cases": [{"name": c.name, "kind": c.kind, "failed": c.failed, "seconds": c.seconds} for c in record.cases] if record else (),
    }


def _finite(values: Mapping[str, float | None]) -> Mapping[str, float | str | None]:
    """JSON has no infinity."""
    return {name: value if value is None or math.isfinite(value) else str(value) for name, value in values.items()}
