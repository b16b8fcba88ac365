"""Where the instances of a job's inputs lie, and what the index knows of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlmodel import Session, col, select

from dicom_node.domain.routing import JobInput
from dicom_node.errors import StorageError
from dicom_node.storage.tables import InstanceRow, SeriesRow, StudyRow

_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class InputInstance:
    """One instance of an input.

    Attributes:
        sha256: Of the data set as received, hexadecimal.
        decoded_bytes: What it takes in memory as float32, by its header; at least the size of its file.
    """

    sop_instance_uid: str
    path: Path
    sha256: str
    decoded_bytes: int


def input_instances(session: Session, wanted: JobInput) -> list[InputInstance]:
    """List the instances of a job's input, in the order asked for.

    Raises:
        StorageError: one is not in the index.
    """
    statement = (
        select(InstanceRow, SeriesRow)
        .join(SeriesRow, col(SeriesRow.id) == col(InstanceRow.series_id))
        .join(StudyRow, col(StudyRow.id) == col(SeriesRow.study_id))
        .where(
            StudyRow.study_instance_uid == wanted.study_instance_uid,
            SeriesRow.series_instance_uid == wanted.series_instance_uid,
            InstanceRow.variant == 0,
        )
    )
    found = {row.sop_instance_uid: _instance(row, series) for row, series in session.exec(statement)}
    missing = [uid for uid in wanted.sop_instance_uids if uid not in found]
    if missing:
        raise StorageError(f"{len(missing)} of {len(wanted.sop_instance_uids)} instances are not in the index")
    return [found[uid] for uid in wanted.sop_instance_uids]


def _instance(row: InstanceRow, series: SeriesRow) -> InputInstance:
    decoded = _FLOAT_BYTES
    for keyword in ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel"):
        values = row.attributes.get(keyword, series.attributes.get(keyword)) or ["1"]
        decoded *= int(values[0]) if str(values[0]).isdecimal() else 1
    return InputInstance(row.sop_instance_uid, Path(row.path), row.sha256, max(decoded, row.size_bytes))
