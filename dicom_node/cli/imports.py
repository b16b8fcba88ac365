"""`import`: files, folders, DICOMDIR media and zips into the node, as if a peer had sent them."""

from __future__ import annotations

import os
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from dicom_node.cli.output import print_json
from dicom_node.config import Configuration, load_configuration
from dicom_node.errors import StorageError
from dicom_node.ops.wakeup import ring
from dicom_node.pipeline.imports import Importer, Outcome, Result, importing_door, origin_of_imports
from dicom_node.pipeline.imports.importer import VisitingDoor, find
from dicom_node.scp.part_10_stream import CheckingSink
from dicom_node.scp.visits import VisitBook
from dicom_node.storage import InstanceFiles

_RING_EVERY = 100

Paths = Annotated[list[Path], typer.Argument(help="Files, folders (with all below them), DICOMDIRs, zips.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, store nothing.")]


def import_(paths: Paths, config: ConfigPath = DEFAULT_CONFIG, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Import DICOM files. The calling AE title of what is imported is IMPORT. Exit status 1 if any file failed."""
    configuration = load_configuration(config)
    found = list(find(paths))
    files = InstanceFiles(configuration.data_dir)
    door = None if dry_run else _door(configuration, files)
    begin = door.begin if door else CheckingSink
    results: list[Result] = []
    with _progress(quiet=as_json) as progress:
        task = progress.add_task("checking" if dry_run else "importing", total=sum(item.size_bytes for item in found))
        importer = Importer(begin, progress=lambda size_bytes: progress.advance(task, size_bytes))
        for result in importer.files(found):
            results.append(result)
            if not as_json and result.outcome is Outcome.FAILED:
                progress.console.print(f"failed   {result.name}: {result.reason}", markup=False, highlight=False, soft_wrap=True)
            if not dry_run and len(results) % _RING_EVERY == 0:
                ring(files.run, "pipeline")
    if door:
        door.leave(released=not any(result.retryable for result in results))
        ring(files.run, "pipeline")
    _report(results, dry_run=dry_run, as_json=as_json)


def _door(configuration: Configuration, files: InstanceFiles) -> VisitingDoor:
    files.prepare()
    owner = files.data_dir.stat().st_uid
    if owner != os.geteuid():
        raise StorageError(
            f"{files.data_dir} belongs to user {owner}, this command runs as user {os.geteuid()}",
            hint=f"the node could not read what is imported; run it as that user, for example: sudo -u '#{owner}' dicom-node import ...",
        )
    name = f"import-{os.getpid()}"
    book = VisitBook(files.run, name, wanted=configuration.asks_for_release)
    return VisitingDoor(importing_door(configuration, files, name), origin_of_imports(configuration), book)


def _progress(*, quiet: bool) -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, console=console, transient=True, disable=quiet or not sys.stderr.isatty())


def _report(results: list[Result], *, dry_run: bool, as_json: bool) -> None:
    counts = Counter(result.outcome for result in results)
    summary = {str(outcome): counts[outcome] for outcome in Outcome}
    if as_json:
        print_json({"dry_run": dry_run, **summary, "files": [{"name": r.name, **asdict(r)} for r in results]})
    else:
        reasons = Counter(r.reason for r in results if r.outcome is Outcome.SKIPPED)
        for reason, count in reasons.most_common():
            typer.echo(f"skipped  {count} x {reason}")
        word = "would be stored" if dry_run else "stored"
        typer.echo(f"{counts[Outcome.STORED]} {word}, {counts[Outcome.SKIPPED]} skipped, {counts[Outcome.FAILED]} failed")
    if counts[Outcome.FAILED]:
        raise typer.Exit(1)
