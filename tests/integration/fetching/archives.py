"""What goes into the archives."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset

from tests.acceptance.orthanc import Orthanc
from tests.integration.query_peers import Dcmqrscp
from tests.phantoms import write


def archived(pacs: Orthanc | Dcmqrscp, folder: Path, data_sets: list[Dataset]) -> None:
    paths = write(data_sets, folder)
    if isinstance(pacs, Dcmqrscp):
        pacs.add(folder)
    else:
        pacs.add(paths)


def patient(number: str, **elements: object) -> dict[str, object]:
    return {"PatientID": number, **elements}


def uids(data_sets: list[Dataset]) -> set[str]:
    return {str(ds.SOPInstanceUID) for ds in data_sets}
