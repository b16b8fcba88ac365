"""`fetch`: bring a study from a query source into the node."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import TaskID

from dicom_node.cli.options import DEFAULT_CONFIG, ConfigPath
from dicom_node.config import Configuration, load_configuration
from dicom_node.errors import SourceError
from dicom_node.ops.wakeup import ring
from dicom_node.pipeline.sources import Archive, opened
from dicom_node.scp.door import Door, DoorSettings
from dicom_node.scp.query_retrieve.counts import InstanceCount, counted, counted_by_series
from dicom_node.scp.query_retrieve.retrieval import Progress, RetrieveRequest, RetrieveResult, Watcher
from dicom_node.storage import InstanceFiles

SeriesOption = Annotated[list[str] | None, typer.Option("--series", help="Series Instance UID; may be repeated. Default: the whole study.")]


def fetch(
    source: str,
    study_instance_uid: str,
    series: SeriesOption = None,
    config: ConfigPath = DEFAULT_CONFIG,
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what the source has, and fetch nothing."),
) -> None:
    """Fetch a study, or some of its series, by C-GET, C-MOVE or WADO-RS as the source is configured."""
    configuration = load_configuration(config)
    archive = opened(configuration, source)
    wanted = tuple(series or ())
    known = _count(archive, study_instance_uid, wanted)
    count = known.instances
    if count == 0:
        raise SourceError(f"{archive.place} has no instance of that study or series", hint=f"look with: dicom-node query {archive.name}")
    if dry_run:
        typer.echo(f"{count} instance(s) would be fetched from {archive.place} by {archive.service}; counted by {known.counted_by}.")
        return
    result = _with_bar(configuration, archive, RetrieveRequest(study_instance_uid, wanted), count)
    ring(InstanceFiles(configuration.data_dir).run, "pipeline")
    result.require_complete(archive.name)
    came = result.completed + result.warning
    where_now = "sent to this node's receiver" if archive.moves_from else "on disk"
    typer.echo(f"{came} of {count} instance(s) {where_now}.")
    if came < count:
        raise typer.Exit(1)


def _count(archive: Archive, study_instance_uid: str, wanted: tuple[str, ...]) -> InstanceCount:
    with archive.asking() as ask:
        if not wanted:
            return counted(ask, study_instance_uid)
        found = counted_by_series(ask, study_instance_uid)
    chosen = tuple(s for s in found.series if s.series_instance_uid in wanted)
    return InstanceCount(sum(s.instances for s in chosen), found.counted_by, chosen)


def _with_bar(configuration: Configuration, archive: Archive, request: RetrieveRequest, count: int) -> RetrieveResult:
    files = InstanceFiles(configuration.data_dir)
    files.prepare()
    dicom = configuration.node.dicom
    door = Door(files, DoorSettings("fetch", dicom.durability, dicom.min_free, dicom.max_instance))
    console = Console(stderr=True)
    with Bar(console=console, transient=True, disable=not console.is_terminal) as bar:
        task: TaskID = bar.add_task(f"from {archive.name}", total=count)

        def show(progress: Progress) -> None:
            bar.update(task, completed=progress.completed + progress.failed + progress.warning)

        return archive.retrieve(request, door, Watcher(show))
