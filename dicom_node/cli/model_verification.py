"""Verifying a model's engines from the command line: with a progress bar, and case by case for `models verify`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from dicom_node.cli.options import ConfigPath
from dicom_node.cli.output import print_table
from dicom_node.config import load_configuration
from dicom_node.errors import ConfigError, EngineUnavailableError, ModelError
from dicom_node.inference import ModelBundle, find_bundles
from dicom_node.inference.gate.records import Record
from dicom_node.inference.gate.subject import Engine
from dicom_node.inference.gate.summary import case_figures, finite
from dicom_node.pipeline.model_engines import NodeEngines, engine_standings, verify_engine

ModelName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the model, as `models list` shows it.")]

_COLUMNS = ("engine", "case", "compared with", "max error", "argmax", "Dice", "measurements", "seconds", "result")
_WITH = {"expectations": "what must come out", "reference": "the reference", "parity": "the reference", "loaded": ""}


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


def print_cases(records: Mapping[Engine, Record]) -> None:
    """Print what came of each case, engine by engine."""
    print_table(_COLUMNS, (row for engine, record in records.items() for row in _rows(engine, record)), nothing="No engine is here.")


def cases_as_json(records: Mapping[Engine, Record]) -> dict[str, object]:
    """Write what came of each case, by engine."""
    return {str(engine): _cases_as_json(record) for engine, record in records.items()}


def verify_engines(bundle: ModelBundle, node: NodeEngines, wanted: Wanted, *, quiet: bool = False) -> tuple[bool, dict[Engine, Record]]:
    """Verify the engines of a model that are here, with a progress bar.

    Args:
        bundle: The model.
        node: How this node runs engines.
        wanted: Which engines.
        quiet: Show no progress.

    Returns:
        Whether all of them agree with the reference, or with the expectations if they are the reference; and their records.

    Raises:
        ModelError: the model names no such engine.
    """
    standings = sorted(engine_standings(bundle, node), key=lambda s: not s.candidate.reference)  # what the others are compared with
    named = list(dict.fromkeys(s.candidate.engine for s in standings))
    engines = [e for e in named if wanted.backend in ("", e.backend) and wanted.precision in ("", e.precision)]
    if not engines:
        raise ModelError(
            f"{bundle.manifest.name} names no engine {wanted.backend} {wanted.precision}; it names {', '.join(map(str, named))}",
            hint="engines.backends and engines.precisions of model.yaml say where a model may run.",
        )
    good, records = True, {}
    with _progress(node, quiet=quiet) as shown:
        for engine in engines:
            try:
                record = verify_engine(bundle, engine.backend, engine.precision, shown, again=wanted.again)
            except ModelError as error:
                good = good and isinstance(error, EngineUnavailableError) and not wanted.backend
                typer.echo(str(error), err=True)
                continue
            good, records[engine] = good and not record.failed, record
    return good, records


@contextmanager
def _progress(node: NodeEngines, *, quiet: bool) -> Iterator[NodeEngines]:
    if quiet:
        yield node
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0)

        def show(words: str, share: float) -> None:
            bar.update(task, description=words, completed=share)

        yield replace(node, on_build=lambda p: show(p.phase, p.fraction), on_verify=show)
        show("done", 1.0)


def opened_model(config: ConfigPath, name: str) -> tuple[ModelBundle, NodeEngines]:
    """Read the configuration and a model of its models_dir.

    Raises:
        ConfigError: there is no such model.
    """
    configuration = load_configuration(config)
    bundles = find_bundles(configuration.node.models_dir, configuration.bundles_dir)
    if name not in bundles:
        raise ConfigError(f"models_dir holds no model {name}; it holds {', '.join(bundles) or 'none'}")
    return bundles[name], NodeEngines(configuration.node.data_dir, configuration.workers.threads)


def _rows(engine: Engine, record: Record) -> Iterator[Sequence[object]]:
    for case in record.cases:
        worst = case_figures(case)
        figures = ("" if f is None else f"{f:.5g}" for f in (worst.max_error, worst.argmax, worst.dice, worst.measurements))
        yield engine, case.name, _WITH[case.kind], *figures, f"{case.seconds:.2f}", "; ".join(case.failed) or "passed"


def _cases_as_json(record: Record) -> list[dict[str, object]]:
    return [
        {"name": c.name, "kind": c.kind, "figures": finite(case_figures(c)), "failed": c.failed, "seconds": c.seconds} for c in record.cases
    ]
