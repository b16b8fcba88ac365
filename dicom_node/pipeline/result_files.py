"""Result objects as durable Part 10 files."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path

from dicom_node.domain.jobs import StoredResult
from dicom_node.errors import StorageError
from dicom_node.sr_writer import ResultObject
from dicom_node.storage import InstanceFiles
from dicom_node.storage.files import sync_folder, write_durably

_PROGRAM_OUTPUT = "program-output.txt"


def write_results(files: InstanceFiles, job_id: int, objects: Sequence[ResultObject]) -> list[StoredResult]:
    """Write each object below `results/`; a later attempt of the same job replaces what an earlier one left.

    Raises:
        StorageError: disk full or broken.
    """
    folder = _folder(files, job_id)
    stored = []
    for item in objects:
        buffer = BytesIO()
        item.data_set.save_as(buffer, enforce_file_format=True)
        path = folder / f"{item.kind}-{item.number}{_suffix(item.variant)}.dcm"
        write_durably(path, [buffer.getbuffer()], partial=folder / f".{path.name}.partial")
        stored.append(
            StoredResult(
                item.kind,
                item.number,
                str(item.data_set.SOPClassUID),
                str(item.data_set.SOPInstanceUID),
                str(item.data_set.SeriesInstanceUID),
                path,
                item.variant,
            )
        )
    return stored


def program_output(files: InstanceFiles, job_id: int) -> Path:
    """Name the file for what a model's program writes in a run of a job, beside its results; the folder is made.

    Raises:
        StorageError: it cannot be made.
    """
    return _folder(files, job_id) / _PROGRAM_OUTPUT


def found_program_output(files: InstanceFiles, job_id: int) -> Path | None:
    """Find what a model's program wrote in the last run of a job; None if there was none."""
    path = files.results / f"job-{job_id}" / _PROGRAM_OUTPUT
    return path if path.is_file() else None


def _folder(files: InstanceFiles, job_id: int) -> Path:
    folder = files.results / f"job-{job_id}"
    if not folder.exists():
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            sync_folder(files.results)
        except OSError as error:
            raise StorageError(f"{folder} cannot be made: {error.strerror}", hint="check free space and owner of data_dir") from error
    return folder


def _suffix(variant: str) -> str:
    """Tell files of one kind and number apart; a digest, since a variant holds what an operator wrote."""
    return f"-{sha256(variant.encode()).hexdigest()[:12]}" if variant else ""
