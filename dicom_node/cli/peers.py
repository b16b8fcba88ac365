"""`echo` and `send`: speak to a destination as the node does."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import typer
from rich.progress import track

from dicom_node.cli.options import DEFAULT_CONFIG, ConfigPath
from dicom_node.config import Configuration, load_configuration
from dicom_node.delivery.channel import channel_to
from dicom_node.delivery.outcomes import Outcome, Verdict
from dicom_node.domain.destinations import Destination
from dicom_node.errors import DeliveryError


def echo(destination: str, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Ask a destination of node.yaml whether it answers; a storage SCP by C-ECHO."""
    configuration = load_configuration(config)
    begin = perf_counter()
    channel_to(configuration.ae_title, _named(configuration, destination)).probe()
    typer.echo(f"{destination}: answered in {(perf_counter() - begin) * 1000:.0f} ms")


def send(
    destination: str,
    paths: list[Path] = typer.Argument(exists=True, help="Files, or folders that are searched for them."),
    config: ConfigPath = DEFAULT_CONFIG,
    dry_run: bool = typer.Option(False, "--dry-run", help="Name the files that would be sent, and send nothing."),
) -> None:
    """Send files to a destination of node.yaml."""
    configuration = load_configuration(config)
    target = _named(configuration, destination)
    files = sorted(f for p in paths for f in (p.rglob("*") if p.is_dir() else [p]) if f.is_file())
    if not files:
        raise DeliveryError("there is no file to send")
    if dry_run:
        for file in files:
            typer.echo(str(file))
        typer.echo(f"{len(files)} file(s) would be sent to {target.name}.")
        return
    outcomes: list[Outcome] = []
    with_progress = iter(track(files, description=f"to {target.name}"))

    def answered(index: int, outcome: Outcome) -> None:
        outcomes.append(outcome)
        next(with_progress, None)
        if outcome.verdict is not Verdict.STORED:
            typer.echo(f"{files[index].name}: {outcome.reason}", err=True)

    channel_to(configuration.ae_title, target).send(files, answered)
    stored = sum(o.verdict is Verdict.STORED for o in outcomes)
    typer.echo(f"{stored} of {len(files)} stored at {target.name}.")
    if stored < len(files):
        raise typer.Exit(1)


def _named(configuration: Configuration, name: str) -> Destination:
    try:
        return configuration.destinations[name]
    except KeyError:
        raise DeliveryError(f"no destination is named {name!r}", hint=f"known: {', '.join(configuration.destinations) or 'none'}") from None
