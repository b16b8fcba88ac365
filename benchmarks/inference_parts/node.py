"""A worker as it runs beside a PACS, with its database and files, and jobs made by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from time import monotonic, perf_counter
from typing import Self

import yaml
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.dsutils import encode

from dicom_node.config import load_configuration
from dicom_node.domain.durability import Durability
from dicom_node.domain.instances import AssociationPeer
from dicom_node.domain.jobs import JobKey, JobState
from dicom_node.domain.routing import JobInput, RouteDecision
from dicom_node.inference import find_bundles
from dicom_node.jobs import queue
from dicom_node.ops.wakeup import ring
from dicom_node.pipeline.intake import Intake
from dicom_node.scp.door import Door, DoorSettings, InstanceKind
from dicom_node.storage import Database, InstanceFiles, queries

_PAUSE = Event()
_LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class EndedJob:
    """One job.

    Attributes:
        whole_s: From the row in the queue to the transaction that recorded the results.
        timings: As the worker measured them, seconds.
    """

    whole_s: float
    timings: dict[str, float]


class WorkerNode:
    """Starts with the bundles of a folder; a context."""

    def __init__(self, folder: Path, models_dir: Path, threads: int, package: Path | None = None) -> None:
        """Write the configuration; nothing runs yet.

        Args:
            folder: For everything but the bundles.
            models_dir: Bundles.
            threads: Of a network on the CPU.
            package: Folder of a package of models that the worker shall know.
        """
        self._environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])}
        if package is None:
            self._environment = dict(os.environ)
        else:
            sys.path.append(str(package))  # bundles are checked against what is installed
        self._folder = folder
        names = sorted(path.name for path in models_dir.iterdir())
        node = {
            "ae_title": "BENCH",
            "dicom": {"host": "127.0.0.1"},
            "data_dir": str(folder / "data"),
            "database": f"sqlite:///{folder / 'node.db'}",
            "models_dir": str(models_dir),
            "workers": {"threads": threads},
        }
        rules = [{"name": name, "match": {"Modality": "OT"}, "model": name} for name in names]
        (folder / "node.yaml").write_text(yaml.safe_dump(node), "utf-8")
        (folder / "rules.yaml").write_text(yaml.safe_dump({"rules": rules}), "utf-8")
        self._configuration = load_configuration(folder / "node.yaml")
        self._files = InstanceFiles(self._configuration.data_dir)
        self._files.prepare()
        self._database = Database(self._configuration.node.database)
        self._database.migrate()
        self._bundles = find_bundles(models_dir)
        self._worker: subprocess.Popen[bytes] | None = None
        self._orders = 0

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "dicom_node", "work", "--config", str(self._folder / "node.yaml")]
        with (self._folder / "worker.log").open("wb") as log:
            self._worker = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL, env=self._environment)
        return self

    def __exit__(self, *_error: object) -> None:
        if self._worker is not None:
            self._worker.terminate()
            self._worker.wait(60)
        self._database.close()

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._worker.pid if self._worker else 0

    def receive(self, series: Sequence[Dataset]) -> JobInput:
        """Take a series as the receiver would."""
        door = Door(self._files, DoorSettings("bench", Durability.NONE, min_free_bytes=0))
        for data_set in series:
            content = encode(data_set, is_implicit_vr=False, is_little_endian=True)
            if content is None:
                raise RuntimeError("not encoded")
            kind = InstanceKind(data_set.SOPClassUID, data_set.SOPInstanceUID, ExplicitVRLittleEndian)
            door.keep(AssociationPeer("BENCH", "BENCH", "127.0.0.1"), kind, [content])
        Intake(self._configuration, self._database, self._files, {}).index_pending(lambda: True)
        uids = tuple(str(d.SOPInstanceUID) for d in series)
        return JobInput("image", str(series[0].StudyInstanceUID), str(series[0].SeriesInstanceUID), uids)

    def run(self, model: str, images: JobInput, count: int) -> tuple[float, list[EndedJob]]:
        """Queue jobs, all at once, and wait until the last has its results; returns the seconds it took."""
        with self._database.transaction() as session:
            now = datetime.now(UTC)
            made = [queue.create(session, self._new(model, images), now) for _ in range(count)]
        begin = perf_counter()
        ring(self._files.run, "worker")
        ids = [job.id for job in made if job is not None]
        deadline = monotonic() + _LIMIT_S
        while not self._all_done(ids):
            if monotonic() > deadline or (self._worker and self._worker.poll() is not None):
                raise RuntimeError((self._folder / "worker.log").read_text("utf-8")[-2000:])
            _PAUSE.wait(0.01)
        return perf_counter() - begin, [self._ended(job_id) for job_id in ids]

    def _new(self, model: str, images: JobInput) -> queue.NewJob:
        self._orders += 1
        key = JobKey(images.study_instance_uid, 1, f"order-{self._orders}", self._bundles[model].digest)
        return queue.NewJob(key, RouteDecision(key.rule, model, (images,), ()), "1.0", 1)

    def _all_done(self, ids: list[int]) -> bool:
        with self._database.reading() as session:
            found = [queue.get(session, job_id) for job_id in ids]
        if failed := [job for job in found if job and job.state in (JobState.FAILED, JobState.CANCELLED)]:
            raise RuntimeError(f"job {failed[0].id}: {failed[0].reason}")
        return all(job and job.state is JobState.DONE for job in found)

    def _ended(self, job_id: int) -> EndedJob:
        with self._database.reading() as session:
            events = queries.job_events(session, job_id)
            return EndedJob((events[-1].at - events[0].at).total_seconds(), queries.job_timings(session, job_id))
