"""Result objects as durable Part 10 files."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from io import BytesIO

from dicom_node.domain.jobs import StoredResult
from dicom_node.sr_writer import ResultObject
from dicom_node.storage import InstanceFiles
from dicom_node.storage.files import sync_folder, write_durably


def write_results(files: InstanceFiles, job_id: int, objects: Sequence[ResultObject]) -> list[StoredResult]:
    """Write each object below `results/`; a later attempt of the same job replaces what an earlier one left.

    Raises:
        StorageError: disk full or broken.
    """
    folder = files.results_of(job_id)
    if not folder.exists():
        folder.mkdir(mode=0o700)
        sync_folder(files.results)
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


def _suffix(variant: str) -> str:
    """Tell files of one kind and number apart; a digest, since a variant holds what an operator wrote."""
    return f"-{sha256(variant.encode()).hexdigest()[:12]}" if variant else ""
