"""`results prune`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath, opened
from dicom_node.cli.output import print_json, print_table
from dicom_node.config.values import parse_duration
from dicom_node.errors import ConfigError
from dicom_node.pipeline.results.retention import old_results, prune_results
from dicom_node.storage import InstanceFiles

app = typer.Typer(no_args_is_help=True, help="Results on disk.")
_SHORTEST = timedelta(hours=1)


@app.callback()
def _group() -> None:
    """Keep `prune` a command of its own while it is the only one."""


@app.command("prune")
def prune(
    config: ConfigPath = DEFAULT_CONFIG,
    keep: Annotated[str, typer.Option("--keep", help="In place of results.keep, as 30d.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove results older than results.keep that nothing needs any more, as the node does every hour; records stay."""
    configuration, database = opened(config)
    limit = _limit(keep) or configuration.node.results.keep
    if limit is None:
        raise ConfigError("results are kept for ever", hint="set results.keep in node.yaml, or give --keep 30d")
    files, now = InstanceFiles(configuration.data_dir), datetime.now(UTC)
    found = old_results(database, files, limit, now) if dry_run else prune_results(database, files, limit, now)
    if as_json:
        print_json(found)
        return
    rows = [(one.job_id, one.ended_at, one.files, f"{one.size_bytes / (1 << 20):.1f}") for one in found]
    print_table(("job", "last change", "files", "MiB"), rows, nothing="No results are older than that.")
    size_mib = sum(one.size_bytes for one in found) / (1 << 20)
    typer.echo(f"{len(found)} job(s), {size_mib:.1f} MiB {'would be removed; nothing was changed' if dry_run else 'removed'}.")


def _limit(keep: str) -> timedelta | None:
    if not keep:
        return None
    try:
        limit = parse_duration(keep)
    except ValueError as error:
        raise ConfigError(f"--keep {keep}: {error}") from error
    if limit < _SHORTEST:
        raise ConfigError(f"--keep {keep}: at least 1h", hint="destinations need time to say that they keep what was sent")
    return limit
