"""Result objects as durable Part 10 files."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from dicom_node.domain.jobs import StoredResult
from dicom_node.errors import StorageError
from dicom_node.sr_writer import ResultObject, encoded
from dicom_node.storage import InstanceFiles
from dicom_node.storage.files import make_names_durable, sync_folder, write_content

_WRITERS = 4

_PROGRAM_OUTPUT = "program-output.txt"


def write_results(files: InstanceFiles, job_id: int, objects: Sequence[ResultObject]) -> list[StoredResult]:
    """Write each object below `results/`; a later attempt of the same job replaces what an earlier one left.

    The next object is encoded while the disk takes the last ones. All files and their names are durable when this returns.

    Raises:
        StorageError: disk full or broken.
    """
    folder = _folder(files, job_id)
    paths = [folder / f"{item.kind}-{item.number}{variant_suffix(item.variant)}.dcm" for item in objects]
    under_way: deque[Future[None]] = deque()
    with ThreadPoolExecutor(_WRITERS, thread_name_prefix="result") as pool:
        for item, path in zip(objects, paths, strict=True):
            if len(under_way) == _WRITERS:  # what is encoded and not written yet is held in memory
                under_way.popleft().result()
            content = encoded(item.data_set)
            under_way.append(pool.submit(write_content, path, [content], partial=folder / f".{path.name}.partial"))
        for written in under_way:
            written.result()
    make_names_durable(folder)
    return [_stored(item, path) for item, path in zip(objects, paths, strict=True)]


def _stored(item: ResultObject, path: Path) -> StoredResult:
    uids = (item.data_set.SOPClassUID, item.data_set.SOPInstanceUID, item.data_set.SeriesInstanceUID)
    return StoredResult(item.kind, item.number, str(uids[0]), str(uids[1]), str(uids[2]), path, item.variant)


def program_output(files: InstanceFiles, job_id: int) -> Path:
    """Name the file for what a model's program writes in a run of a job, beside its results; the folder is made.

    Raises:
        StorageError: it cannot be made.
    """
    return _folder(files, job_id) / _PROGRAM_OUTPUT


def found_program_output(files: InstanceFiles, job_id: int) -> Path | None:
    """Find what a model's program wrote in the last run of a job; None if there was none."""
    path = files.results_of(job_id) / _PROGRAM_OUTPUT
    return path if path.is_file() else None


def _folder(files: InstanceFiles, job_id: int) -> Path:
    folder = files.results_of(job_id)
    if not folder.exists():
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            sync_folder(files.results)
        except OSError as error:
            raise StorageError(f"{folder} cannot be made: {error.strerror}", hint="check free space and owner of data_dir") from error
    return folder


def variant_suffix(variant: str) -> str:
    """Tell files of one kind and number apart; a digest, since a variant holds what an operator wrote."""
    return f"-{sha256(variant.encode()).hexdigest()[:12]}" if variant else ""
