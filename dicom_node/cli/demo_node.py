"""A node and an archive on free loopback ports in a temporary folder, for the demonstration and the end-to-end benchmark."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, time
from types import TracebackType
from typing import Self

import pydicom
import yaml

import dicom_node
from dicom_node.config import Peer
from dicom_node.delivery import scu
from dicom_node.delivery.outcomes import Outcome, Verdict
from dicom_node.domain.destinations import StorageScp
from dicom_node.domain.durability import Durability
from dicom_node.domain.jobs import Job, JobState
from dicom_node.errors import DeliveryError, DicomNodeError
from dicom_node.jobs import queue
from dicom_node.scp.door import Door, DoorSettings
from dicom_node.scp.listener import ListenOn
from dicom_node.scp.places import Places
from dicom_node.scp.policy import AccessPolicy
from dicom_node.scp.server import Receiver
from dicom_node.storage import Database, InstanceFiles, queries

QUIET_S = 2.0
MODEL = "chest-ct-densitometry"
_NODE_AE, _ARCHIVE_AE, _SENDER_AE = "AINODE", "ARCHIVE", "CTSCANNER"
_START_LIMIT_S = 60.0


class DemoError(DicomNodeError):
    """The demonstration did not come to its end."""

    code = "demo-failed"


@dataclass(frozen=True, slots=True)
class Arrived:
    """A result in the archive: when it was durable there (seconds since the epoch), and the file."""

    at: float
    path: Path


class DemoNode:
    """Both sides, started on entry, ended and removed on exit."""

    def __init__(self, quiet_s: float = QUIET_S) -> None:
        """Prepare the folder; nothing listens yet."""
        self.folder = Path(tempfile.mkdtemp(prefix="dicom-node-demo-"))
        self.config = self.folder / "node.yaml"
        self.log = self.folder / "node.log"
        self.port = _free_port()
        self._quiet_s = quiet_s
        self._archive_files = InstanceFiles(self.folder / "archive")
        self._archived = threading.Event()
        self._archive: Receiver | None = None
        self._node: subprocess.Popen[bytes] | None = None
        self._database = Database(f"sqlite:///{self.folder / 'data' / 'node.db'}")  # opened at the first use

    def __enter__(self) -> Self:
        try:
            self._write_configuration(self._start_archive())
            self._start_node()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the node, the archive, and remove the folder."""
        if self._node is not None and self._node.poll() is None:
            self._node.send_signal(signal.SIGTERM)
            try:
                self._node.wait(20)
            except subprocess.TimeoutExpired:
                self._node.kill()
                self._node.wait()
        if self._archive is not None:
            self._archive.drain(1.0)
        self._database.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def push(self, paths: Sequence[Path], stored: Callable[[], None]) -> float:
        """Send files to the node as a scanner would; return when the last one was acknowledged, seconds since the epoch.

        Raises:
            DemoError: the node did not take one.
        """
        refused: list[str] = []

        def answered(_index: int, outcome: Outcome) -> None:
            stored()
            if outcome.verdict is not Verdict.STORED:
                refused.append(outcome.reason)

        scu.send(_SENDER_AE, self._destination(_NODE_AE, self.port), paths, answered)
        if refused:
            raise DemoError(f"the node refused {len(refused)} of {len(paths)} instances: {refused[0]}")
        return time()

    def newest_job(self) -> Job | None:
        """Return the newest job, if there is one yet."""
        with self._database.transaction() as session:
            ids = queries.job_ids(session, 1)
            return queue.get(session, ids[0]) if ids else None

    def timings(self, job: Job) -> dict[str, float]:
        """Return the durations that the worker measured, seconds."""
        with self._database.transaction() as session:
            return queries.job_timings(session, job.id)

    def wait_for_results(self, limit_s: float, changed: Callable[[Job], None]) -> Job:
        """Wait until the newest job is delivered; tells each change of state or stage.

        Raises:
            DemoError: the job failed, the node ended, or the time ran out.
        """
        deadline, last = monotonic() + limit_s, None
        while monotonic() < deadline:
            job = self.newest_job()
            if job is not None and (job.state, job.stage) != last:
                last = (job.state, job.stage)
                changed(job)
            if job is not None and job.state is JobState.DONE:
                return job
            if job is not None and job.state in (JobState.FAILED, JobState.CANCELLED):
                raise DemoError(f"job {job.state}: {job.reason}")
            self._check_alive()
            self._archived.wait(0.05)
            self._archived.clear()
        raise DemoError(f"no results within {limit_s:g} s", hint=f"the node's log: {self._tail()}")

    def archived(self) -> list[Arrived]:
        """List what the archive holds, oldest first."""
        return [Arrived(int(path.name.split("-")[0]) / 1e9, path) for path in self._archive_files.pending()]

    def archived_objects(self) -> dict[str, list[pydicom.FileDataset]]:
        """Read what the archive holds, by Modality."""
        found: dict[str, list[pydicom.FileDataset]] = {}
        for arrived in self.archived():
            data_set = pydicom.dcmread(arrived.path)
            found.setdefault(str(data_set.Modality), []).append(data_set)
        for data_sets in found.values():
            data_sets.sort(key=lambda d: int(d.InstanceNumber))
        return found

    def _start_archive(self) -> int:
        self._archive_files.prepare()
        peer = Peer(name="node", ae_title=_NODE_AE, host="localhost")
        door = Door(self._archive_files, DoorSettings("archive", Durability.STRICT, min_free_bytes=0), self._archived.set)
        self._archive = Receiver(door, AccessPolicy(_ARCHIVE_AE, [peer], 10), Places(self._archive_files.run))
        return self._archive.start(ListenOn("127.0.0.1", 0, 131072, 10.0, 60.0))

    def _write_configuration(self, archive_port: int) -> None:
        models = bundled_models()
        if not (models / MODEL / "model.yaml").exists():
            raise DemoError(f"the model bundle {MODEL} is not in {models}", hint="run the demonstration from the source tree: make demo")
        node = {
            "ae_title": _NODE_AE,
            "dicom": {"host": "127.0.0.1", "port": self.port, "min_free": "64MiB"},
            "data_dir": str(self.folder / "data"),
            "database": f"sqlite:///{self.folder / 'data' / 'node.db'}",
            "peers": [{"name": "scanner", "ae_title": _SENDER_AE, "host": "localhost"}],
            "destinations": [{"name": "archive", "ae_title": _ARCHIVE_AE, "host": "127.0.0.1", "port": archive_port}],
            "models_dir": str(models),
        }
        rule = {
            "name": MODEL,
            "match": {"Modality": "CT", "BodyPartExamined": ["CHEST", "LUNG", "THORAX"], "ImageType": "!LOCALIZER"},
            "complete_when": {"quiet": f"{self._quiet_s:g}s", "max_wait": "10m"},
            "model": MODEL,
            "send_to": ["archive"],
        }
        self.config.write_text(yaml.safe_dump(node, sort_keys=False), "utf-8")
        (self.folder / "rules.yaml").write_text(yaml.safe_dump({"rules": [rule]}, sort_keys=False), "utf-8")

    def _start_node(self) -> None:
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "dicom_node", "serve", "--config", str(self.config)]
            self._node = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL, env=os.environ)
        deadline = monotonic() + _START_LIMIT_S
        while True:
            try:
                scu.echo(_SENDER_AE, self._destination(_NODE_AE, self.port))
                break
            except DeliveryError as error:
                self._check_alive()
                if monotonic() > deadline:
                    raise DemoError(f"the node did not start within {_START_LIMIT_S:g} s: {self._tail()}") from error
                self._archived.wait(0.1)

    def _check_alive(self) -> None:
        if self._node is not None and self._node.poll() is not None:
            raise DemoError(f"the node ended with status {self._node.returncode}: {self._tail()}")

    def _tail(self) -> str:
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-5:])

    @staticmethod
    def _destination(ae_title: str, port: int) -> StorageScp:
        return StorageScp("node", ae_title, "127.0.0.1", port, "generic-pacs", 30.0)


def bundled_models() -> Path:
    """Return the folder of the bundles that come with the source tree."""
    return Path(dicom_node.__file__).parents[1] / "config" / "models"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
