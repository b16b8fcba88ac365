"""Removing results from disk that nobody needs any more; what is on record of them stays."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from dicom_node.errors import StorageError
from dicom_node.jobs import queue
from dicom_node.ops.logs import get_logger
from dicom_node.pipeline.results.folder_lock import held_alone
from dicom_node.storage import Database, InstanceFiles
from dicom_node.storage.result_retention import no_longer_needed

_FOLDER = re.compile(r"job-(\d+)")
_REMOVING = ".removing-"


@dataclass(frozen=True, slots=True)
class OldResults:
    """The results of one job that may go.

    Attributes:
        ended_at: When the job or one of its deliveries changed last.
    """

    job_id: int
    ended_at: datetime
    files: int
    size_bytes: int


def old_results(database: Database, files: InstanceFiles, keep: timedelta, now: datetime) -> list[OldResults]:
    """List what may go, the oldest jobs first; nothing is changed.

    Raises:
        StorageError: disk or database failed.
    """
    try:
        there = {int(found[1]): path for path in files.results.iterdir() if (found := _FOLDER.fullmatch(path.name))}
    except OSError as error:
        raise StorageError(f"cannot read {files.results}: {error.strerror}", hint="is data_dir mounted?") from error
    with database.reading() as session:
        old = no_longer_needed(session, there, now - keep)
    return [OldResults(job_id, ended_at, *_size(there[job_id])) for job_id, ended_at in old]


def prune_results(database: Database, files: InstanceFiles, keep: timedelta, now: datetime) -> list[OldResults]:
    """Remove what may go; each job is asked about once more in the transaction that takes its folder away.

    Returns:
        What was removed.

    Raises:
        StorageError: disk or database failed; may be called again.
    """
    _clear(files.results)
    removed = [old for old in old_results(database, files, keep, now) if _take_away(database, files, old.job_id, now - keep, now)]
    _clear(files.results)
    if removed:
        size_mib = sum(one.size_bytes for one in removed) >> 20
        get_logger().info("results_removed", jobs=len(removed), files=sum(one.files for one in removed), size_mib=size_mib)
    return removed


def _take_away(database: Database, files: InstanceFiles, job_id: int, before: datetime, now: datetime) -> bool:
    folder = files.results_of(job_id)
    try:
        with held_alone(folder, wait=False), database.transaction() as session:
            if not no_longer_needed(session, [job_id], before):
                return False
            folder.rename(folder.with_name(f"{_REMOVING}{folder.name}"))
            queue.remark(session, job_id, "results removed from disk, results.keep is over", now)
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError as error:
        raise StorageError(f"cannot remove {folder.name}: {error.strerror}", hint="check permissions of data_dir") from error
    return True


def _clear(results: Path) -> None:
    """Delete what was taken away, by this call or by one that was killed."""
    for folder in results.glob(f"{_REMOVING}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _size(folder: Path) -> tuple[int, int]:
    sizes: Sequence[int] = [path.stat().st_size for path in folder.iterdir() if path.is_file()]
    return len(sizes), sum(sizes)
