"""Debian's Orthanc as the PACS: on free loopback ports, ended by process id."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from time import monotonic

import httpx
import pydicom

from tests.conftest import free_port


class Orthanc:
    """A PACS in a folder of its own; `start` after `stop` finds what it had."""

    def __init__(self, folder: Path, node_port: int, **options: object) -> None:
        """`options` are further lines of its configuration."""
        folder.mkdir()
        self.folder = folder
        self.dicom_port, self.http_port = free_port(), free_port()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.http_port}", timeout=120)
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "orthanc.json").write_text(
            json.dumps(
                {
                    "Name": "PACS",
                    "StorageDirectory": str(folder / "storage"),
                    "IndexDirectory": str(folder / "storage"),
                    "HttpPort": self.http_port,
                    "DicomPort": self.dicom_port,
                    "DicomAet": "ORTHANC",
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": False,
                    "DicomModalities": {
                        "ainode": {"AET": "AINODE", "Host": "127.0.0.1", "Port": node_port, "AllowStorageCommitment": True}
                    },
                    "OverwriteInstances": True,
                    "StableAge": 1,
                    "Plugins": [],
                    **options,
                }
            )
        )

    def start(self) -> None:
        with (self.folder / "orthanc.log").open("ab") as log:
            self._process = subprocess.Popen(["/usr/sbin/Orthanc", str(self.folder / "orthanc.json")], stdout=log, stderr=log)
        self.wait_until(self._answers, 30)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def close(self) -> None:
        self.stop()
        self.client.close()

    def add(self, paths: Sequence[Path]) -> str:
        """Import files; returns Orthanc's id of their study."""
        for path in paths:
            answer = self.client.post("/instances", content=path.read_bytes())
            answer.raise_for_status()
        return str(answer.json()["ParentStudy"])

    def push(self, study: str) -> None:
        """Send a study to the node, as a PACS user would; raises if the node did not take all of it."""
        self.client.post("/modalities/ainode/store", json={"Resources": [study], "Synchronous": True}).raise_for_status()

    def instances(self, study_instance_uid: str) -> dict[str, list[str]]:
        """SOP Instance UIDs of a study by modality."""
        query = {"Level": "Instance", "Query": {"StudyInstanceUID": study_instance_uid}, "Expand": True, "RequestedTags": ["Modality"]}
        found: dict[str, list[str]] = {}
        for series in self.client.post("/tools/find", json={**query, "Level": "Series"}).json():
            uids = [self.client.get(f"/instances/{i}/simplified-tags").json()["SOPInstanceUID"] for i in series["Instances"]]
            found.setdefault(series["MainDicomTags"]["Modality"], []).extend(uids)
        return found

    def results(self, study_instance_uid: str) -> dict[str, int]:
        """How many result objects of each modality a study has."""
        return {modality: len(uids) for modality, uids in self.instances(study_instance_uid).items() if modality != "CT"}

    def read(self, study_instance_uid: str, modality: str) -> list[pydicom.FileDataset]:
        """Fetch a study's objects of one modality."""
        query = {"Level": "Instance", "Query": {"StudyInstanceUID": study_instance_uid, "Modality": modality}}
        ids = self.client.post("/tools/find", json=query).json()
        return [pydicom.dcmread(BytesIO(self.client.get(f"/instances/{i}/file").content)) for i in ids]

    @staticmethod
    def wait_until(condition, limit_s: float, every_s: float = 0.1) -> None:  # type: ignore[no-untyped-def]
        """Wait on the peer's own state; fails loudly when the time is up."""
        deadline, pause = monotonic() + limit_s, threading.Event()
        begun = monotonic()
        while not condition():
            assert monotonic() < deadline, f"not so within {limit_s} s"
            pause.wait(max(every_s, monotonic() - begun))  # a condition that starts a program must not take all of the machine
            begun = monotonic()

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "orthanc.log").read_text()[-2000:]
        try:
            return self.client.get("/system").is_success
        except httpx.TransportError:
            return False
